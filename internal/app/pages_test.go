package app_test

import (
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/app"
)

func TestLoadConfig(t *testing.T) {
	t.Parallel()
	oidc := func(change map[string]any) map[string]any {
		set := map[string]any{
			"public_url": "https://keyturn.example.com", "oidc_issuer": "https://login.example.com", "oidc_client_id": "keyturn",
			"oidc_roles": []string{"CN=ops,DC=example=operator", "staff=viewer"},
		}
		for k, v := range change {
			set[k] = v
		}
		return set
	}
	for name, tc := range map[string]struct {
		set  map[string]any
		want string // part of the error; empty: none
	}{
		"TakesAProvider":                {oidc(nil), ""},
		"ProviderNeedsAClient":          {oidc(map[string]any{"oidc_client_id": ""}), "oidc_client_id"},
		"ProviderNeedsAnAddress":        {oidc(map[string]any{"public_url": ""}), "public_url"},
		"ProviderNeedsRoles":            {oidc(map[string]any{"oidc_roles": []string{}}), "oidc_roles"},
		"RolesAreThoseThatThereAre":     {oidc(map[string]any{"oidc_roles": []string{"staff=root"}}), `"staff=root" is not GROUP=ROLE`},
		"GroupHasOneRole":               {oidc(map[string]any{"oidc_roles": []string{"a=viewer", "a=admin"}}), "two roles"},
		"ClientNeedsAProvider":          {map[string]any{"oidc_client_id": "keyturn"}, "need oidc_issuer"},
		"PublicURLHasNoPath":            {map[string]any{"public_url": "https://example.com/keyturn"}, "without a path"},
		"PublicURLIsOne":                {map[string]any{"public_url": "keyturn.example.com"}, "public_url"},
		"TrustedProxiesAreAddresses":    {map[string]any{"trusted_proxies": []string{"proxy"}}, "trusted_proxies"},
		"TakesAddressesAndNetworks":     {map[string]any{"trusted_proxies": []string{"10.0.0.0/8", "::1"}}, ""},
		"SessionsEndAfterTheyHaveBegun": {map[string]any{"session_idle": "-1h"}, "session_idle"},
		"SoDoThoseOfAProvider":          {oidc(map[string]any{"oidc_session_max": "-1h"}), "oidc_session_max"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := app.LoadConfig("", func() []string { return nil }, tc.set)
			switch {
			case tc.want == "" && err != nil:
				t.Error(err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("error is %v, want one about %s", err, tc.want)
			}
		})
	}
	t.Run("ListsInTheEnvironmentHaveCommas", func(t *testing.T) {
		t.Parallel()
		cfg, err := app.LoadConfig("", func() []string { return []string{"KEYTURN_TRUSTED_PROXIES=10.0.0.1,::1", "KEYTURN_OIDC_ROLES="} }, nil)
		if err != nil || len(cfg.TrustedProxies) != 2 || len(cfg.OIDCRoles) != 0 {
			t.Errorf("got %q and %q, %v", cfg.TrustedProxies, cfg.OIDCRoles, err)
		}
	})
}
