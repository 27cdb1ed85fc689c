package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn/internal/api"
	"github.com/keyturn/keyturn/internal/app"
)

// newTokenRecoverCommand is for those who lost every admin token: it needs no
// token, but the right to open the database and to write into the data directory.
func newTokenRecoverCommand(e *env) *cobra.Command {
	var flags *serverFlags
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Make a new admin token in the database, for those who are locked out",
		Long: `Makes one more admin token directly in the database and writes it into the data
directory. It takes the server's settings and runs on the server's machine; the
server may go on running. Tokens that exist stay valid.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := flags.load(e)
			if err != nil {
				return err
			}
			store, err := app.OpenStore(cmd.Context(), cfg, zap.NewNop())
			if err != nil {
				return err
			}
			defer func() { _ = store.Close() }() // the token is durable already
			path := filepath.Join(cfg.DataDir, tokenFile)
			if err := api.ResetAdminToken(cmd.Context(), store, path); err != nil {
				return err
			}
			_, _ = fmt.Fprintf(e.stdout, "a new admin token is in %s\n", path)
			return nil
		},
	}
	flags = addServerFlags(cmd)
	return cmd
}
