// Package azure makes versions of keys in Azure Key Vault. docs/kms.md has the permissions.
package azure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/kms"
)

// Config is what a Client needs.
type Config struct {
	Spec keyturn.AzureKMS
	// ClientSecret is the secret itself, no reference. Empty: credentials as Azure's own tools find them.
	ClientSecret string
	Timeout      time.Duration    // bounds one call; 0: kms.DefaultTimeout
	Logger       *zap.Logger      // nil: nobody is told
	Version      string           // of Keyturn, for the User-Agent
	Now          func() time.Time // nil: time.Now
}

// Client makes and describes versions of keys, in all vaults. It is safe for concurrent use.
type Client struct {
	spec    keyturn.AzureKMS
	secret  string
	timeout time.Duration
	log     *zap.Logger
	now     func() time.Time
	http    *http.Client
	common  azcore.ClientOptions

	mu     sync.Mutex
	vaults map[string]*azkeys.Client
	creds  map[string]azcore.TokenCredential // by authority
}

// New returns a client. It calls nobody.
func New(_ context.Context, cfg Config) (*Client, error) {
	if err := validate(cfg); err != nil {
		return nil, err
	}
	client, err := kms.Connections{
		CAFile: cfg.Spec.CAFile,
		// A request without a token only asks what token is wanted.
		Ours: func(req *http.Request) bool {
			return req.Header.Get("Authorization") != "" && strings.Contains(req.URL.Path, "/keys/")
		},
		Check: checkChallenge,
	}.Client()
	if err != nil {
		return nil, fmt.Errorf("spec.kms.azure.caFile: %w", err)
	}
	c := &Client{
		spec: cfg.Spec, secret: cfg.ClientSecret, timeout: cmp.Or(cfg.Timeout, kms.DefaultTimeout),
		log: cmp.Or(cfg.Logger, zap.NewNop()), now: cfg.Now, http: client,
		common: azcore.ClientOptions{
			Transport: client,
			Retry:     policy.RetryOptions{MaxRetries: -1},
			Telemetry: policy.TelemetryOptions{ApplicationID: "keyturn/" + cmp.Or(cfg.Version, "dev")},
		},
		vaults: map[string]*azkeys.Client{}, creds: map[string]azcore.TokenCredential{},
	}
	if c.now == nil {
		c.now = time.Now
	}
	c.spec.Strategy = cmp.Or(cfg.Spec.Strategy, keyturn.StrategyNewVersion)
	return c, nil
}

func validate(cfg Config) error {
	switch cfg.Spec.Strategy {
	case "", keyturn.StrategyNewVersion, keyturn.StrategyProvided:
	default:
		return fmt.Errorf("spec.kms.azure.strategy %q is unknown: write new-version or provided", cfg.Spec.Strategy)
	}
	if cfg.ClientSecret != "" && (cfg.Spec.TenantID == "" || cfg.Spec.ClientID == "") {
		return errors.New("spec.kms.azure: clientSecret needs tenantId and clientId")
	}
	for field, value := range map[string]string{"endpoint": cfg.Spec.Endpoint, "authority": cfg.Spec.Authority} {
		if u, err := url.Parse(value); value != "" && (err != nil || u.Host == "" || u.Scheme != "https") {
			return fmt.Errorf("spec.kms.azure.%s: write https://HOST; Azure's library calls nothing else", field)
		}
	}
	return nil
}

// checkChallenge refuses a challenge without a tenant in it, which the library takes apart without looking.
// https://learn.microsoft.com/azure/key-vault/general/authentication-requests-and-responses
func checkChallenge(resp *http.Response) error {
	if resp.StatusCode != http.StatusUnauthorized {
		return nil
	}
	_, rest, found := strings.Cut(resp.Header.Get("WWW-Authenticate"), "authorization=")
	address, _, _ := strings.Cut(strings.TrimPrefix(rest, `"`), `"`)
	if found && address != "" && strings.Count(address, "/") < 3 {
		return errors.New("the vault asks for a token of no tenant: is it an Azure Key Vault?")
	}
	return nil
}

// Close gives up idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// version is the identifier of a key version, taken apart.
type version struct {
	vault   string // https://NAME.vault.azure.net
	name    string
	version string
}

func (v version) String() string { return v.withVersion(v.version) }

func (v version) withVersion(id string) string { return v.vault + "/keys/" + v.name + "/" + id }

// parse reads the identifier of a key version.
// https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates#vault-name-and-object-name
func parse(id string) (version, error) {
	u, err := url.Parse(id)
	if err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == "" {
		parts := strings.Split(u.Path, "/")
		if len(parts) == 4 && parts[1] == "keys" && isName(parts[2]) && isName(parts[3]) {
			return version{vault: u.Scheme + "://" + u.Host, name: parts[2], version: parts[3]}, nil
		}
	}
	return version{}, &keyturn.SystemError{Kind: keyturn.KindPermanent, Code: kms.CodeInvalid, Err: fmt.Errorf(
		"%q is no key identifier with a version: it is like https://VAULT.vault.azure.net/keys/NAME/VERSION", kms.Clean(id))}
}

func isName(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == ""
}

// vault returns the client of a vault.
func (c *Client) vault(of version) (*azkeys.Client, error) {
	address := cmp.Or(c.spec.Endpoint, of.vault)
	c.mu.Lock()
	defer c.mu.Unlock()
	if held := c.vaults[address]; held != nil {
		return held, nil
	}
	cred, err := c.credential(of.vault)
	if err != nil {
		return nil, &keyturn.SystemError{Kind: keyturn.KindPermanent, Code: kms.CodeCredentials, Err: fmt.Errorf(
			"no credentials for Azure: %s (check spec.kms.azure)", firstLine(err, c.secret))}
	}
	client, err := azkeys.NewClient(address, cred, &azkeys.ClientOptions{
		ClientOptions: c.common,
		// A vault elsewhere can't be in the domain that its tokens are for. Whoever sets the endpoint says that it is right.
		DisableChallengeResourceVerification: c.spec.Endpoint != "",
	})
	if err != nil {
		return nil, &keyturn.SystemError{Kind: keyturn.KindPermanent, Code: kms.CodeConfig, Err: fmt.Errorf("calling vault %s: %w", address, err)}
	}
	c.vaults[address] = client
	return client, nil
}

// credential returns what tokens for a vault come from: one for each identity provider, so that tokens are shared.
func (c *Client) credential(vault string) (cred azcore.TokenCredential, err error) {
	options := c.common
	options.Cloud = cloudOf(vault)
	if c.spec.Authority != "" {
		options.Cloud = cloud.Configuration{ActiveDirectoryAuthorityHost: c.spec.Authority}
	}
	authority := options.Cloud.ActiveDirectoryAuthorityHost
	if held := c.creds[authority]; held != nil {
		return held, nil
	}
	own := c.spec.Authority != ""
	if c.secret != "" {
		cred, err = azidentity.NewClientSecretCredential(c.spec.TenantID, c.spec.ClientID, c.secret,
			&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: own})
	} else {
		cred, err = azidentity.NewDefaultAzureCredential(
			&azidentity.DefaultAzureCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: own, TenantID: c.spec.TenantID})
	}
	if err != nil {
		return nil, err
	}
	c.creds[authority] = cred
	return cred, nil
}

// cloudOf finds the cloud by the vault's domain; the zero value is the public one, or that of the environment.
// https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates#dns-suffixes-for-object-identifiers
func cloudOf(vault string) cloud.Configuration {
	switch {
	case strings.HasSuffix(vault, ".azure.cn"):
		return cloud.AzureChina
	case strings.HasSuffix(vault, ".usgovcloudapi.net"):
		return cloud.AzureGovernment
	default:
		return cloud.Configuration{}
	}
}

// call is one call of Azure Key Vault.
type call struct {
	doing      string // "making a version of"
	what       string // the key or version
	permission string // what it needs: "keys/rotate"
	change     bool   // doing it twice would be wrong
}

// do makes one call, within the time limit, and says what its error means.
func (c *Client) do(ctx context.Context, of version, what call, f func(ctx context.Context, vault *azkeys.Client) error) error {
	vault, err := c.vault(of)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	ctx, flight := kms.Follow(ctx, what.change)
	if err := f(ctx, vault); err != nil {
		return c.fail(ctx, failed{Call: kms.Call{Doing: what.doing, What: what.what, Flight: flight}, permission: what.permission, vault: of.vault}, err)
	}
	return nil
}
