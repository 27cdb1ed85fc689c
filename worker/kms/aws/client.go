// Package aws makes keys in AWS KMS: a new key that is like the one in use (strategy new-key), or new material
// for the same key (in-place). docs/kms.md has the permissions.
package aws

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/kms"
)

// Config is what a Client needs.
type Config struct {
	Spec keyturn.AWSKMS
	// The secrets themselves, not references. All empty: as AWS's own tools find them.
	AccessKeyID, SecretAccessKey, SessionToken string
	// Timeout bounds one call, with the repetitions of those that only read; 0: kms.DefaultTimeout.
	Timeout time.Duration
	// Backoff is the longest wait before such a repetition; 0: 2s.
	Backoff time.Duration
	Logger  *zap.Logger // nil: nobody is told
	Version string      // of Keyturn, for the name of sessions
}

// Client makes and describes keys of AWS KMS, in all regions. It is safe for concurrent use.
type Client struct {
	spec    keyturn.AWSKMS
	timeout time.Duration
	log     *zap.Logger
	http    *http.Client
	base    sdk.Config
	secrets []string

	mu      sync.Mutex
	regions map[string]*region
}

// region is one region's KMS, and what is known of its keys.
type region struct {
	api  *awskms.Client
	name string

	mu   sync.Mutex
	born map[string]time.Time  // when keys were made, by the id in ListKeys: it never changes
	made map[keyturn.ID]string // the ARNs of keys that we made
}

// New returns a client. It reads the environment and the files of AWS's own tools, and calls nobody.
func New(ctx context.Context, cfg Config) (*Client, error) {
	if err := validate(cfg); err != nil {
		return nil, err
	}
	options := []func(*config.LoadOptions) error{
		config.WithAppID("keyturn"),
		config.WithLogger(logging.Nop{}),
		config.WithRetryer(func() sdk.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = 3, cmp.Or(cfg.Backoff, 2*time.Second) })
		}),
	}
	if cfg.AccessKeyID != "" {
		options = append(options, config.WithCredentialsProvider(
			credentials.NewStaticCredentialsProvider(cfg.AccessKeyID, cfg.SecretAccessKey, cfg.SessionToken)))
	}
	base, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration of AWS's tools: %w", err)
	}
	client, err := kms.Connections{
		Roots: rootsOf(base.HTTPClient),
		Ours: func(req *http.Request) bool {
			return strings.HasPrefix(req.Header.Get("X-Amz-Target"), "TrentService.")
		},
	}.Client()
	if err != nil {
		return nil, err
	}
	base.HTTPClient = client
	c := &Client{
		spec: cfg.Spec, timeout: cmp.Or(cfg.Timeout, kms.DefaultTimeout), log: cmp.Or(cfg.Logger, zap.NewNop()),
		http: client, base: base, regions: map[string]*region{},
		secrets: []string{cfg.SecretAccessKey, cfg.SessionToken},
	}
	c.spec.Strategy = cmp.Or(cfg.Spec.Strategy, keyturn.StrategyNewKey)
	return c, nil
}

// rootsOf returns the authorities of AWS_CA_BUNDLE, or of the setting of the same meaning.
func rootsOf(client sdk.HTTPClient) *x509.CertPool {
	if b, ok := client.(*awshttp.BuildableClient); ok {
		if t := b.GetTransport(); t.TLSClientConfig != nil {
			return t.TLSClientConfig.RootCAs
		}
	}
	return nil
}

func validate(cfg Config) error {
	switch cfg.Spec.Strategy {
	case "", keyturn.StrategyNewKey, keyturn.StrategyInPlace, keyturn.StrategyProvided:
	default:
		return fmt.Errorf("spec.kms.aws.strategy %q is unknown: write new-key, in-place or provided", cfg.Spec.Strategy)
	}
	if (cfg.AccessKeyID == "") != (cfg.SecretAccessKey == "") {
		return errors.New("spec.kms.aws: accessKeyId and secretAccessKey go together")
	}
	if cfg.Spec.Alias != "" && !strings.HasPrefix(cfg.Spec.Alias, "alias/") {
		return fmt.Errorf("spec.kms.aws.alias is %q: write alias/NAME", cfg.Spec.Alias)
	}
	if e := cfg.Spec.Endpoint; e != "" {
		if u, err := url.Parse(e); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			return errors.New("spec.kms.aws.endpoint: write https://HOST")
		}
	}
	return nil
}

// Close gives up idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// in returns the KMS of a region.
func (c *Client) in(name string) *region {
	c.mu.Lock()
	defer c.mu.Unlock()
	if held := c.regions[name]; held != nil {
		return held
	}
	cfg := c.base.Copy()
	cfg.Region = name
	if c.spec.RoleARN != "" {
		cfg.Credentials = sdk.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), c.spec.RoleARN,
			func(o *stscreds.AssumeRoleOptions) { o.RoleSessionName = "keyturn" }))
	}
	r := &region{name: name, born: map[string]time.Time{}, made: map[keyturn.ID]string{}}
	r.api = awskms.NewFromConfig(cfg, func(o *awskms.Options) {
		if c.spec.Endpoint != "" {
			o.BaseEndpoint = sdk.String(c.spec.Endpoint)
		}
	})
	c.regions[name] = r
	return r
}

// once keeps the library from sending a change again.
func once(o *awskms.Options) { o.Retryer = sdk.NopRetryer{} }

// locate finds the region of a key, and checks that its id is one.
func (c *Client) locate(ref keyturn.KMSRef) (*region, error) {
	name := strings.ToLower(strings.ReplaceAll(ref.Region, "_", "-"))
	if strings.HasPrefix(ref.ID, "arn:") {
		parts := strings.SplitN(ref.ID, ":", 6) // arn:aws:kms:REGION:ACCOUNT:key/ID
		if len(parts) != 6 || parts[2] != "kms" || parts[3] == "" {
			return nil, invalid("%q is no ARN of a KMS key: it is like arn:aws:kms:eu-west-1:111122223333:key/ID", ref.ID)
		}
		name = parts[3]
	}
	switch {
	case ref.ID == "":
		return nil, invalid("the key in use has no id")
	case !isRegion(name):
		return nil, invalid("the region of key %q is not known (%q): give the project the key's full ARN, or a region", ref.ID, ref.Region)
	}
	return c.in(name), nil
}

// isRegion keeps what is none out of host names.
func isRegion(s string) bool {
	parts := strings.Split(s, "-") // eu-west-1, us-gov-west-1
	return len(parts) >= 3 && !slices.Contains(parts, "") && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

func invalid(format string, args ...any) error {
	return &keyturn.SystemError{Kind: keyturn.KindPermanent, Code: kms.CodeInvalid, Err: fmt.Errorf(format, args...)}
}

// remember keeps what was made, so that this process finds it at once: AWS may show it a little later.
// https://docs.aws.amazon.com/kms/latest/developerguide/accessing-kms.html#programming-eventual-consistency
func (r *region) remember(task keyturn.ID, arn string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	const most = 4096 // tasks end; the oldest are the first that nobody asks for
	if len(r.made) >= most {
		oldest := slices.SortedFunc(maps.Keys(r.made), func(a, b keyturn.ID) int { return slices.Compare(a[:], b[:]) })
		for _, id := range oldest[:most/2] {
			delete(r.made, id)
		}
	}
	r.made[task] = arn
}

func (r *region) remembered(task keyturn.ID) (arn string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	arn, ok = r.made[task]
	return arn, ok
}
