package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/internal/app"
)

func newMigrateCommand(e *env) *cobra.Command {
	var flags *serverFlags
	var check bool
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database's schema up to date",
		Long: `Bring the database's schema up to date. A server does this at each start; this command
is for those who migrate with another role than the server's, or before it.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := flags.load(e)
			if err != nil {
				return err
			}
			if cfg.DatabaseURL == "" && !check { // a check makes nothing
				if err := app.MakeDataDir(cfg); err != nil {
					return err
				}
			}
			store, err := app.OpenStore(cmd.Context(), cfg, zap.NewNop())
			if err != nil {
				return err
			}
			defer func() { _ = store.Close() }() // nothing is open that could be lost
			before, known, err := store.Version(cmd.Context())
			if err != nil {
				return err
			}
			if check {
				_, _ = fmt.Fprintf(e.stdout, "database at version %d, this keyturn knows %d\n", before, known)
				if before != known {
					return &exitError{code: exitFailed}
				}
				return nil
			}
			if err := store.Migrate(cmd.Context()); err != nil {
				return err
			}
			_, _ = fmt.Fprintf(e.stdout, "database at version %d (was %d)\n", known, before)
			return nil
		},
	}
	flags = addServerFlags(cmd)
	cmd.Flags().BoolVar(&check, "check", false, "only tell the versions; exit code 1 if they differ")
	return cmd
}
