package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn"
)

func newTokenCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make, list and revoke API tokens",
		Args:  noSuchCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newTokenCreateCommand(e), newTokenListCommand(e), newTokenRevokeCommand(e), newTokenRecoverCommand(e))
	return cmd
}

func newTokenCreateCommand(e *env) *cobra.Command {
	role := &choice{of: []string{string(keyturn.RoleViewer), string(keyturn.RoleOperator), string(keyturn.RoleAdmin)}}
	var expires string
	cmd := &cobra.Command{
		Use:   "create NAME --role ROLE",
		Short: "Make a token and show it, once",
		Long: `Makes a token and prints it on stdout. It is not stored and can't be shown again.

Roles: viewer reads; operator also rotates, plans, pauses and resumes; admin also
applies and manages tokens.`,
		Args: arguments(1, 1),
	}
	output := outputFlag(cmd, formatTable, formatJSON)
	cmd.Flags().Var(role, "role", "viewer, operator or admin (required)")
	cmd.Flags().StringVar(&expires, "expires", "", "how long it is valid, such as 90d (default: until it is revoked)")
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(role.of, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if role.value == "" {
			return usageErrorf("--role is missing: give viewer, operator or admin")
		}
		var lifetime keyturn.Duration
		if expires != "" {
			var err error
			if lifetime, err = keyturn.ParseDuration(expires); err != nil || lifetime == 0 {
				return usageErrorf("--expires: %q is not how long a token can live; write 12h, 90d or 52w", expires)
			}
		}
		c, err := e.client()
		if err != nil {
			return err
		}
		defer c.Close()
		token, err := c.CreateToken(cmd.Context(), args[0], keyturn.Role(role.value), lifetime.Std())
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return e.printJSON(token)
		}
		e.notef("token %s (%s), id %s; keep it, it can't be shown again:", token.Name, token.Role, token.ID)
		e.printf("%s\n", token.Secret)
		return nil
	}
	return cmd
}

func newTokenListCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List tokens, without their secrets",
		Args:  arguments(0, 0),
	}
	output := outputFlag(cmd, formatTable, formatJSON)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := e.client()
		if err != nil {
			return err
		}
		defer c.Close()
		tokens, err := c.Tokens(cmd.Context())
		if err != nil {
			return err
		}
		if *output == formatJSON {
			return e.printJSON(tokens)
		}
		t := &table{head: []string{"ID", "NAME", "ROLE", "AGE", "VALID UNTIL (UTC)"}, shrink: []int{1}, state: noStateTint}
		for _, token := range tokens {
			t.add(token.ID.String(), token.Name, string(token.Role), age(&token.CreatedAt, e.now()), e.validity(token))
		}
		e.printTable(t, "no tokens")
		return nil
	}
	return cmd
}

func (e *env) validity(t keyturn.Token) string {
	switch {
	case t.RevokedAt != nil:
		return "revoked " + stamp(t.RevokedAt)
	case t.ExpiresAt == nil:
		return "-"
	case !e.now().Before(*t.ExpiresAt):
		return "expired " + stamp(t.ExpiresAt)
	default:
		return stamp(t.ExpiresAt)
	}
}

func newTokenRevokeCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke ID",
		Short: "Revoke a token, everywhere within seconds",
		Args:  arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := wantID(args[0], "`keyturn token list` shows the ids"); err != nil {
				return err
			}
			c, err := e.client()
			if err != nil {
				return err
			}
			defer c.Close()
			if err := c.RevokeToken(cmd.Context(), args[0]); err != nil {
				return fmt.Errorf("revoking the token: %w", err)
			}
			e.printf("token %s is revoked\n", args[0])
			return nil
		},
	}
}
