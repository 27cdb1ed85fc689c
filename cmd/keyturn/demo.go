package main

import (
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/keyturn/keyturn/internal/demo"
	"github.com/keyturn/keyturn/internal/heap"
)

func newDemoCommand(e *env) *cobra.Command {
	cfg := demo.Config{Out: e.stdout, Version: version}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show everything in one process against a simulated estate",
		Long: `Show everything in one process: a scheduler, a worker and an API on an embedded NATS and
SQLite, against a simulated Ops Manager, with a policy that fires every few seconds.
At the end the history is compared with the simulated estate's own record.
Nothing is left behind.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.Every < 1 || 60%cfg.Every != 0 {
				return usageErrorf("--every %d: give a number of seconds that divides a minute, such as 5, 10 or 30", cfg.Every)
			}
			log, err := newLogger("error", e.stderr)
			if err != nil {
				return err
			}
			cfg.Log, cfg.Program = log, programName()
			if f, ok := e.stdout.(*os.File); ok {
				cfg.Live = term.IsTerminal(int(f.Fd()))
			}
			// A terminal that is closed must not leave the demo's folder behind.
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGHUP)
			defer stop()
			stopKeeping := heap.Keep(heap.Size)
			defer stopKeeping()
			return demo.Run(ctx, cfg)
		},
	}
	cmd.Flags().StringVar(&cfg.Listen, "listen", "127.0.0.1:7390", "address of the API; when it is taken, a free port is used")
	cmd.Flags().IntVar(&cfg.Every, "every", 5, "seconds between rotations: a divisor of 60")
	cmd.Flags().IntVar(&cfg.Rotations, "rotations", 0, "end after so many rotations (default: at Ctrl-C)")
	return cmd
}

// programName is how this program was called: "go run" builds it in a folder
// that is gone afterwards.
func programName() string {
	path, err := os.Executable()
	if err != nil || strings.Contains(path, "go-build") {
		return "go run ./cmd/keyturn"
	}
	return filepath.Base(os.Args[0])
}
