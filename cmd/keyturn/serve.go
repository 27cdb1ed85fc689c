package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/term"

	"github.com/keyturn/keyturn/internal/app"
	"github.com/keyturn/keyturn/internal/heap"
)

// serverFlags are the flags of the commands that are, or need, a server's configuration.
type serverFlags struct {
	file string
	cmd  *cobra.Command
}

func addServerFlags(cmd *cobra.Command) *serverFlags {
	f := &serverFlags{cmd: cmd}
	flags := cmd.Flags()
	flags.StringVar(&f.file, "config", "", "YAML file with the settings (KEYTURN_CONFIG)")
	flags.String("listen", "", "address of the API (default 127.0.0.1:7390)")
	flags.String("data-dir", "", "folder for everything that is embedded (default ./keyturn-data)")
	flags.String("database-url", "", "postgres://… (default: SQLite in the data directory)")
	flags.String("nats-url", "", "nats://… (default: an embedded server in the data directory)")
	flags.String("nats-listen", "", "where other NATS clients may reach the embedded server (default: nowhere)")
	flags.StringSlice("roles", nil, "scheduler, worker, api (default all)")
	flags.String("log-level", "", "debug, info, warn or error (default info)")
	return f
}

// load merges defaults, file, environment and flags.
func (f *serverFlags) load(e *env) (app.Config, error) {
	set := map[string]any{}
	for flag, setting := range map[string]string{
		"listen": "listen", "data-dir": "data_dir", "database-url": "database_url", "nats-url": "nats_url",
		"nats-listen": "nats_listen", "log-level": "log_level",
	} {
		if value := f.cmd.Flags().Lookup(flag); value.Changed {
			set[setting] = value.Value.String()
		}
	}
	if f.cmd.Flags().Changed("roles") {
		roles, err := f.cmd.Flags().GetStringSlice("roles")
		if err != nil {
			return app.Config{}, err
		}
		set["roles"] = roles
	}
	cfg, err := app.LoadConfig(firstOf(f.file, e.getenv("KEYTURN_CONFIG")), app.Environ, set)
	if err != nil {
		return app.Config{}, &exitError{code: exitUsage, err: err}
	}
	return cfg, nil
}

func newServeCommand(e *env) *cobra.Command {
	var flags *serverFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server: scheduler, workers and API",
		Long: `Run the server. Without settings it is everything in one process, with an embedded
NATS and SQLite in ./keyturn-data. With --database-url and --nats-url any number of
servers share the work; --roles splits them.

Settings: flags, then KEYTURN_* in the environment, then the file, then defaults.
The first start writes an administrator's token into the data directory.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := flags.load(e)
			if err != nil {
				return err
			}
			log, err := newLogger(cfg.LogLevel, e.stderr)
			if err != nil {
				return &exitError{code: exitUsage, err: err}
			}
			memory := uint64(heap.Size)
			if cfg.DatabaseURL != "" {
				memory += heap.Database
			}
			stopKeeping := heap.Keep(memory)
			defer stopKeeping()
			server, err := app.Open(cmd.Context(), cfg, version, log)
			if err != nil {
				return err
			}
			return server.Run(cmd.Context())
		},
	}
	flags = addServerFlags(cmd)
	return cmd
}

// newLogger writes JSON, or lines for people when it writes to a terminal.
func newLogger(level string, w io.Writer) (*zap.Logger, error) {
	parsed, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, fmt.Errorf("log_level %q is unknown: give debug, info, warn or error", level)
	}
	cfg := zap.NewProductionEncoderConfig()
	cfg.TimeKey, cfg.EncodeTime, cfg.EncodeDuration = "time", zapcore.RFC3339NanoTimeEncoder, zapcore.StringDurationEncoder
	encoder := zapcore.NewJSONEncoder(cfg)
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		cfg.EncodeLevel, cfg.EncodeTime = zapcore.CapitalColorLevelEncoder, zapcore.TimeEncoderOfLayout("15:04:05.000")
		encoder = zapcore.NewConsoleEncoder(cfg)
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.AddSync(w), parsed)), nil
}
