// Package gcp makes versions of keys in Google Cloud KMS. docs/kms.md has the permissions.
package gcp

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
	kmsapi "cloud.google.com/go/kms/apiv1"
	"github.com/googleapis/gax-go/v2"
	"go.uber.org/zap"
	"google.golang.org/api/option"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/kms"
)

// scope is what tokens are asked for. https://cloud.google.com/kms/docs/reference/rest
const scope = "https://www.googleapis.com/auth/cloudkms"

// Config is what a Client needs.
type Config struct {
	Spec keyturn.GCPKMS
	// CredentialsJSON is the content of a key file itself, no reference. Empty: Application Default Credentials.
	CredentialsJSON string
	Timeout         time.Duration // bounds one call; 0: kms.DefaultTimeout
	Logger          *zap.Logger   // nil: nobody is told
	Version         string        // of Keyturn, for the User-Agent
}

// Client makes and describes versions of keys. It is safe for concurrent use.
type Client struct {
	spec    keyturn.GCPKMS
	timeout time.Duration
	log     *zap.Logger
	api     *kmsapi.KeyManagementClient
	http    *http.Client          // without credentials
	called  *http.Client          // with them
	options []option.ClientOption // of api, but for its http.Client

	mu   sync.Mutex
	made map[string]keyturn.ID // the tasks of versions that this process made
}

// New returns a client. It calls nobody.
func New(ctx context.Context, cfg Config) (*Client, error) {
	plain, err := validate(cfg)
	if err != nil {
		return nil, err
	}
	base, err := kms.Connections{Ours: func(req *http.Request) bool { return strings.Contains(req.URL.Path, "/v1/projects/") }}.Client()
	if err != nil {
		return nil, err
	}
	called := *base
	if !plain {
		tokens, err := newTokens(cfg.CredentialsJSON, base)
		if err != nil {
			return nil, fmt.Errorf("spec.kms.gcp.credentialsJson: %w", err)
		}
		called.Transport = &authorized{base: base.Transport, tokens: tokens}
	}
	options := []option.ClientOption{
		option.WithUserAgent("keyturn/" + cmp.Or(cfg.Version, "dev")),
		option.WithTelemetryDisabled(),
	}
	if cfg.Spec.Endpoint != "" {
		options = append(options, option.WithEndpoint(strings.TrimSuffix(cfg.Spec.Endpoint, "/")))
	}
	c := &Client{
		spec: cfg.Spec, timeout: cmp.Or(cfg.Timeout, kms.DefaultTimeout), log: cmp.Or(cfg.Logger, zap.NewNop()),
		http: base, called: &called, options: options, made: map[string]keyturn.ID{},
	}
	if c.api, err = c.open(ctx, &called); err != nil {
		return nil, err
	}
	c.spec.Strategy = cmp.Or(cfg.Spec.Strategy, keyturn.StrategyNewVersion)
	return c, nil
}

func (c *Client) open(ctx context.Context, client *http.Client) (*kmsapi.KeyManagementClient, error) {
	api, err := kmsapi.NewKeyManagementRESTClient(ctx, append(slices.Clone(c.options), option.WithHTTPClient(client))...)
	if err != nil {
		return nil, fmt.Errorf("making a client of Google Cloud KMS: %w", err)
	}
	return api, nil
}

// within returns a client all of whose requests obey ctx: the library's calls that list (v1.34.0) make requests
// without one, which nothing would end. It costs no connection.
func (c *Client) within(ctx context.Context) (*kmsapi.KeyManagementClient, error) {
	bound := *c.called
	bound.Transport = &inContext{ctx: ctx, base: c.called.Transport}
	return c.open(ctx, &bound)
}

// inContext gives requests that have no context of their own one.
type inContext struct {
	ctx  context.Context // of one call, and no longer
	base http.RoundTripper
}

func (t *inContext) RoundTrip(req *http.Request) (*http.Response, error) {
	return t.base.RoundTrip(req.WithContext(t.ctx))
}

// validate also reports whether calls go without credentials: over plain HTTP nothing is sent that is secret.
func validate(cfg Config) (plain bool, err error) {
	switch cfg.Spec.Strategy {
	case "", keyturn.StrategyNewVersion, keyturn.StrategyProvided:
	default:
		return false, fmt.Errorf("spec.kms.gcp.strategy %q is unknown: write new-version or provided", cfg.Spec.Strategy)
	}
	if cfg.Spec.Endpoint == "" {
		return false, nil
	}
	u, err := url.Parse(cfg.Spec.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return false, errors.New("spec.kms.gcp.endpoint: write https://HOST")
	}
	if u.Scheme == "https" {
		return false, nil
	}
	if cfg.CredentialsJSON != "" && !isLoopback(u.Hostname()) {
		return false, errors.New("spec.kms.gcp.endpoint: credentials are only sent over https")
	}
	return cfg.CredentialsJSON == "", nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Close gives up idle connections.
func (c *Client) Close() {
	_ = c.api.Close() // closes idle connections only
	c.http.CloseIdleConnections()
}

// newTokens returns what tokens come from. Application Default Credentials are looked for when the first token is
// asked for, since that may need a call.
func newTokens(key string, client *http.Client) (func(context.Context) (*auth.Credentials, error), error) {
	options := &credentials.DetectOptions{Scopes: []string{scope}, DisableAsyncRefresh: true, Client: client}
	if key == "" {
		turn := make(chan struct{}, 1)
		var found *auth.Credentials
		return func(ctx context.Context) (_ *auth.Credentials, err error) {
			select {
			case turn <- struct{}{}:
				defer func() { <-turn }()
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
			if found == nil {
				found, err = credentials.DetectDefault(options)
			}
			return found, err
		}, nil
	}
	var file struct {
		Type credentials.CredType `json:"type"`
	}
	if json.Unmarshal([]byte(key), &file) != nil || file.Type == "" {
		return nil, errors.New("it is no key file of Google Cloud in JSON")
	}
	creds, err := credentials.NewCredentialsFromJSON(file.Type, []byte(key), options)
	if err != nil {
		return nil, fmt.Errorf("it can't be used as a key file of Google Cloud of type %q", kms.Clean(string(file.Type))) // the cause may quote it
	}
	return func(context.Context) (*auth.Credentials, error) { return creds, nil }, nil
}

// authorized puts a token on each request.
type authorized struct {
	base   http.RoundTripper
	tokens func(context.Context) (*auth.Credentials, error)
}

// tokenError says that there was no token.
type tokenError struct{ err error }

func (e *tokenError) Error() string { return "getting a token: " + e.err.Error() }

func (e *tokenError) Unwrap() error { return e.err }

func (a *authorized) RoundTrip(req *http.Request) (*http.Response, error) {
	creds, err := a.tokens(req.Context())
	if err != nil {
		return nil, &tokenError{err}
	}
	token, err := creds.Token(req.Context())
	if err != nil {
		return nil, &tokenError{err}
	}
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+token.Value)
	if project, err := creds.QuotaProjectID(req.Context()); err == nil && project != "" && req.Header.Get("X-Goog-User-Project") == "" {
		req.Header.Set("X-Goog-User-Project", project)
	}
	return a.base.RoundTrip(req)
}

// version is the name of a key version, taken apart.
type version struct {
	key    string // projects/P/locations/L/keyRings/R/cryptoKeys/K
	number int64
}

func (v version) String() string {
	return v.key + "/cryptoKeyVersions/" + strconv.FormatInt(v.number, 10)
}

// parse reads the name of a key version.
func parse(id string) (version, error) {
	parts := strings.Split(id, "/")
	names := []string{"projects", "", "locations", "", "keyRings", "", "cryptoKeys", "", "cryptoKeyVersions", ""}
	ok := len(parts) == len(names)
	for i := 0; ok && i < len(names); i++ {
		ok = parts[i] == names[i] || names[i] == "" && isName(parts[i])
	}
	if ok {
		if n, err := strconv.ParseInt(parts[9], 10, 64); err == nil && n > 0 {
			return version{key: strings.Join(parts[:8], "/"), number: n}, nil
		}
	}
	return version{}, &keyturn.SystemError{Kind: keyturn.KindPermanent, Code: kms.CodeInvalid, Err: fmt.Errorf(
		"%q is no version of a key: it is like projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/1", kms.Clean(id))}
}

// isName keeps what is none out of paths. A project's id may name its domain: example.com:project.
func isName(s string) bool {
	return s != "" && s != "." && s != ".." &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:") == ""
}

// call is one call of Google Cloud KMS.
type call struct {
	doing      string // "making a version of"
	what       string // the key or version
	permission string // what it needs: "cloudkms.cryptoKeyVersions.create"
	change     bool   // doing it twice would be wrong
}

// do makes one call, within the time limit and without the library's repetitions, and says what its error means.
func (c *Client) do(ctx context.Context, what call, f func(ctx context.Context, opts ...gax.CallOption) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	ctx, flight := kms.Follow(ctx, what.change)
	err := f(ctx, gax.WithRetry(func() gax.Retryer { return nil }))
	if err == nil {
		return nil
	}
	return fail(ctx, failed{Call: kms.Call{Doing: what.doing, What: what.what, Flight: flight}, permission: what.permission}, err)
}
