// Package kmip asks a KMIP server about keys: whether they exist, in which state they are, since when. It
// changes nothing and never asks for key material.
//
// The protocol is OASIS KMIP 1.0 to 2.0 in its TTLV encoding over mutual TLS; sections are those of
// https://docs.oasis-open.org/kmip/spec/v1.4/os/kmip-spec-v1.4-os.html unless 2.0 is named,
// https://docs.oasis-open.org/kmip/kmip-spec/v2.0/os/kmip-spec-v2.0-os.html.
package kmip

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	defaultPort    = "5696"
	defaultTimeout = 30 * time.Second
	defaultBatch   = 64
	maxIdle        = 16
	locatePage     = 1000
)

// Config says which server to ask, and how.
type Config struct {
	Address string      // HOST or HOST:PORT; port 5696 unless given
	TLS     *tls.Config // with our certificate and whom to trust; the server's name is set from Address
	Timeout time.Duration
	// Batch is how many keys are asked about in one message; 0 means 64. A server that takes no batches
	// is found out and asked one by one.
	Batch int
}

// Client asks one server. It is safe for concurrent use; connections are reused.
type Client struct {
	address string
	tls     *tls.Config
	timeout time.Duration

	mu      sync.Mutex
	idle    []net.Conn
	version Version // zero: not agreed upon yet
	batch   int
	broken  int // batches in a row after which the server hung up

	exchanged atomic.Int64
}

// New returns a client. It connects when it is first asked.
func New(cfg Config) (*Client, error) {
	if cfg.TLS == nil || len(cfg.TLS.Certificates) == 0 && cfg.TLS.GetClientCertificate == nil {
		return nil, errors.New("a KMIP server is asked over mutual TLS: give a client certificate")
	}
	if cfg.TLS.InsecureSkipVerify {
		return nil, errors.New("a KMIP server's certificate is always verified")
	}
	host, port, err := net.SplitHostPort(cfg.Address)
	if err != nil {
		host, port = cfg.Address, defaultPort
	}
	if host == "" {
		return nil, fmt.Errorf("KMIP server %q has no host: write HOST:%s", cfg.Address, defaultPort)
	}
	t := cfg.TLS.Clone()
	t.ServerName = cmp.Or(t.ServerName, host)
	t.MinVersion = max(t.MinVersion, tls.VersionTLS12)
	if t.CipherSuites == nil {
		t.CipherSuites = cipherSuites()
	}
	return &Client{
		address: net.JoinHostPort(host, port), tls: t,
		timeout: cmp.Or(cfg.Timeout, defaultTimeout), batch: cmp.Or(cfg.Batch, defaultBatch),
	}, nil
}

// Close closes the connections that are not in use.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.idle {
		_ = conn.Close() // nothing is under way on it
	}
	c.idle = nil
}

// RoundTrips counts the messages that were exchanged so far.
func (c *Client) RoundTrips() int { return int(c.exchanged.Load()) }

// Version returns the version that the server and we agree upon, asking it if need be: Discover
// Versions, section 4.26, which 1.0 does not have.
func (c *Client) Version(ctx context.Context) (Version, error) {
	c.mu.Lock()
	agreed := c.version
	c.mu.Unlock()
	if agreed != (Version{}) {
		return agreed, nil
	}
	offer := make([]item, 0, len(known()))
	for _, v := range known() {
		offer = append(offer, v.item())
	}
	for _, ask := range []Version{{1, 1}, {2, 0}} {
		got, err := c.send(ctx, ask, []call{{op: opDiscoverVersions, payload: offer}})
		if err == nil {
			err = got[0].err
		}
		if err == nil {
			return c.agree(got[0].payload)
		}
		if refused, ok := errors.AsType[*Error](err); !ok || refused.Denied() {
			return Version{}, fmt.Errorf("asking KMIP server %s for its versions: %w", c.address, err)
		}
	}
	return c.settle(Version{1, 0}), nil // it does not know the question
}

func (c *Client) agree(payload item) (Version, error) {
	var theirs []Version
	for _, v := range payload.items {
		major, ok := v.number(tagVersionMajor)
		minor, also := v.number(tagVersionMinor)
		if v.tag == tagProtocolVersion && ok && also {
			theirs = append(theirs, Version{int32(major), int32(minor)}) //nolint:gosec // two's complement, as the format has it
		}
	}
	for _, v := range known() {
		if slices.Contains(theirs, v) {
			return c.settle(v), nil
		}
	}
	return Version{}, fmt.Errorf("KMIP server %s speaks %v, this client %v: no version in common", c.address, theirs, known())
}

func (c *Client) settle(v Version) Version {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version = v
	return v
}

// Server is what a server says about itself.
type Server struct {
	Vendor  string
	Version Version
	// Audits reports whether it lets a client ask for keys and their attributes.
	Audits bool
}

// Server asks what the server can do: Query, section 4.25.
func (c *Client) Server(ctx context.Context) (Server, error) {
	got, err := c.ask(ctx, []call{{op: opQuery, payload: []item{
		enumeration(tagQueryFunction, queryOperations), enumeration(tagQueryFunction, queryServerInfo),
	}}})
	if err == nil {
		err = got[0].err
	}
	if err != nil {
		return Server{}, fmt.Errorf("asking KMIP server %s what it can do: %w", c.address, err)
	}
	var can []operation
	for _, i := range got[0].payload.items {
		if v, ok := i.uint32(); ok && i.tag == tagOperation {
			can = append(can, operation(v))
		}
	}
	version, err := c.Version(ctx)
	return Server{
		Vendor: got[0].payload.text(tagVendor), Version: version,
		Audits: slices.Contains(can, opGetAttributes) && slices.Contains(can, opLocate),
	}, err
}

// Keys asks about keys by their ids, in the order of the ids: Get Attributes, section 4.12. An error
// about one key is in its Err; the error returned is about the server.
func (c *Client) Keys(ctx context.Context, ids []string) ([]Key, error) {
	version, err := c.Version(ctx)
	if err != nil {
		return nil, err
	}
	keys := make([]Key, 0, len(ids))
	for len(keys) < len(ids) {
		n := min(c.batchSize(), len(ids)-len(keys))
		part := ids[len(keys) : len(keys)+n]
		got, err := c.ask(ctx, getAttributes(version, part))
		if n > 1 && ctx.Err() == nil && (c.refusesBatches(err) || c.hungUp(err)) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("asking KMIP server %s about %d keys: %w", c.address, n, err)
		}
		for i, id := range part {
			keys = append(keys, keyFrom(id, got[i]))
		}
	}
	return keys, nil
}

func (c *Client) batchSize() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.batch
}

// refusesBatches reports whether the server takes one operation a message only: from then on it gets one.
func (c *Client) refusesBatches(err error) bool {
	refused, ok := errors.AsType[*Error](err)
	if !ok || refused.Denied() {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.batch = 1
	return true
}

// hungUp reports whether the server closed the connection instead of answering to a batch. The first time it may
// have been restarted; the second time it is taken as one that knows no batches.
func (c *Client) hungUp(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		c.broken = 0
		return false
	}
	if c.broken++; c.broken > 1 {
		c.batch = 1
	}
	return true
}

func keyFrom(id string, got answer) Key {
	if got.err == nil {
		k := keyOf(got.payload)
		k.ID = id
		return k
	}
	if refused, ok := errors.AsType[*Error](got.err); ok && refused.notFound() {
		return Key{ID: id}
	}
	return Key{ID: id, Err: got.err}
}

func getAttributes(v Version, ids []string) []call {
	calls := make([]call, len(ids))
	for n, id := range ids {
		payload := []item{text(tagUniqueID, id)}
		for _, a := range attributes() {
			if v.Major >= 2 {
				payload = append(payload, enumeration(tagAttributeReference, uint32(a.tag)))
			} else {
				payload = append(payload, text(tagAttributeName, a.name))
			}
		}
		calls[n] = call{op: opGetAttributes, payload: payload}
	}
	return calls
}

// Locate returns the ids of all symmetric keys that the server shows us, or of those with a name:
// Locate, section 4.9. Servers match names exactly.
func (c *Client) Locate(ctx context.Context, name string) ([]string, error) {
	version, err := c.Version(ctx)
	if err != nil {
		return nil, err
	}
	var ids []string
	had := map[string]bool{}
	for {
		got, err := c.ask(ctx, []call{{op: opLocate, payload: locate(version, name, len(ids))}})
		if err == nil {
			err = got[0].err
		}
		if err != nil {
			return nil, fmt.Errorf("looking for keys on KMIP server %s: %w", c.address, err)
		}
		page, before := 0, len(ids)
		for _, i := range got[0].payload.items {
			if i.tag != tagUniqueID || i.kind != kindText {
				continue
			}
			page++
			if id := string(i.value); !had[id] {
				had[id] = true
				ids = append(ids, id)
			}
		}
		// A server that knows no offsets answers with the same keys again.
		if page < locatePage || !pages(version) || len(ids) == before {
			return ids, nil
		}
	}
}

// pages: Offset Items came with 1.3. Before, all keys come in one answer.
func pages(v Version) bool { return v.Major >= 2 || v.Minor >= 3 }

func locate(v Version, name string, offset int) []item {
	var payload []item
	if pages(v) {
		payload = append(payload, integer(tagMaximumItems, locatePage), integer(tagOffsetItems, int32(offset))) //nolint:gosec // bounded by what fits into messages
	}
	match := []item{enumeration(tagObjectType, objectSymmetric)}
	if name != "" {
		match = append(match, structure(tagName, text(tagNameValue, name), enumeration(tagNameType, nameTypeTextValue)))
	}
	if v.Major >= 2 {
		return append(payload, structure(tagAttributes, match...))
	}
	for i, value := range match {
		value.tag = tagAttributeValue
		payload = append(payload, structure(tagAttribute, text(tagAttributeName, []string{"Object Type", "Name"}[i]), value))
	}
	return payload
}

// ask sends calls in the version that was agreed upon.
func (c *Client) ask(ctx context.Context, calls []call) ([]answer, error) {
	version, err := c.Version(ctx)
	if err != nil {
		return nil, err
	}
	return c.send(ctx, version, calls)
}
