package kmip

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// double is a KMIP server in this process, for what no real one does on demand and to measure the client alone.
type double struct {
	address string
	cert    tls.Certificate
	roots   *x509.CertPool

	keys      int           // ids from 0: all active
	wait      time.Duration // before each answer
	maxBatch  int           // more are refused; 0: none are
	hangsUp   bool          // instead of refusing
	noOffsets bool          // Locate answers with the first page again and again
	messages  atomic.Int64
	conns     atomic.Int64
}

func newDouble(tb testing.TB, set func(*double)) *double {
	tb.Helper()
	d := &double{keys: 100_000}
	set(d)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	d.cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	d.roots = x509.NewCertPool()
	d.roots.AddCert(parsed)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{d.cert}, MinVersion: tls.VersionTLS12})
	if err != nil {
		tb.Fatal(err)
	}
	d.address = l.Addr().String()
	var serving sync.WaitGroup
	var open sync.Map
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			d.conns.Add(1)
			open.Store(conn, true)
			serving.Go(func() { d.serve(conn) })
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		open.Range(func(conn, _ any) bool {
			c, _ := conn.(net.Conn)
			_ = c.Close()
			return true
		})
		serving.Wait()
	})
	return d
}

func (d *double) client(tb testing.TB, batch int) *Client {
	tb.Helper()
	c, err := New(Config{Address: d.address, Batch: batch, TLS: &tls.Config{
		Certificates: []tls.Certificate{d.cert}, RootCAs: d.roots, MinVersion: tls.VersionTLS12,
	}})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return c
}

func (d *double) serve(conn net.Conn) {
	defer conn.Close() //nolint:errcheck // the client knows
	header := make([]byte, headerSize)
	for {
		if _, err := io.ReadFull(conn, header); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(header[4:]))
		if _, err := io.ReadFull(conn, body); err != nil {
			return
		}
		d.messages.Add(1)
		answer, err := d.answer(append(slices.Clone(header), body...))
		if err != nil {
			return
		}
		if d.wait > 0 {
			<-time.After(d.wait) // a real network's
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

func (d *double) answer(b []byte) ([]byte, error) {
	asked, err := parse(b)
	if err != nil {
		return nil, err
	}
	head, _ := asked.get(tagRequestHeader)
	version, _ := head.get(tagProtocolVersion)
	reply := structure(tagResponseMessage, structure(tagResponseHeader, version))
	batch := slices.DeleteFunc(slices.Clone(asked.items), func(i item) bool { return i.tag != tagBatchItem })
	if d.maxBatch > 0 && len(batch) > d.maxBatch {
		if d.hangsUp {
			return nil, errors.New("hangs up")
		}
		reply.items = append(reply.items, structure(tagBatchItem, enumeration(tagResultStatus, uint32(1)),
			enumeration(tagResultReason, reasonInvalidMessage), text(tagResultMessage, "one at a time")))
		return reply.append(nil), nil
	}
	for _, one := range batch {
		reply.items = append(reply.items, d.one(one))
	}
	return reply.append(nil), nil
}

func (d *double) one(asked item) item {
	op, _ := asked.number(tagOperation)
	payload, _ := asked.get(tagRequestPayload)
	id, batched := asked.get(tagUniqueBatchItemID)
	var out []item
	switch operation(op) {
	case opDiscoverVersions:
		out = append(out, Version{2, 0}.item())
	case opLocate:
		offset, _ := payload.number(tagOffsetItems)
		if d.noOffsets {
			offset = 0
		}
		for n := int(offset); n < min(d.keys, int(offset)+locatePage); n++ {
			out = append(out, text(tagUniqueID, strconv.Itoa(n)))
		}
	case opGetAttributes:
		made := binary.BigEndian.AppendUint64(nil, 1_750_000_000)
		out = append(out, text(tagUniqueID, payload.text(tagUniqueID)), structure(tagAttributes,
			enumeration(tagState, uint32(2)), item{tag: tagInitialDate, kind: kindDateTime, value: made},
			item{tag: tagActivationDate, kind: kindDateTime, value: made}, structure(tagName, text(tagNameValue, "mongodb-key"))))
	}
	items := []item{enumeration(tagResultStatus, uint32(statusSuccess)), structure(tagResponsePayload, out...)}
	if batched {
		items = append([]item{id}, items...)
	}
	return structure(tagBatchItem, items...)
}

func ids(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = strconv.Itoa(i)
	}
	return list
}

func TestBatchesThatAreNotTaken(t *testing.T) {
	t.Parallel()
	for name, hangsUp := range map[string]bool{"Refused": false, "HungUp": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDouble(t, func(d *double) { d.maxBatch, d.hangsUp = 1, hangsUp })
			c := d.client(t, 0)
			const n = 200
			keys, err := c.Keys(t.Context(), ids(n))
			if err != nil || len(keys) != n || keys[n-1].ID != strconv.Itoa(n-1) || keys[n-1].State != StateActive {
				t.Fatalf("%d keys, %v", len(keys), err)
			}
			again, err := c.Keys(t.Context(), ids(n))
			if err != nil || len(again) != n {
				t.Fatalf("%d keys, %v", len(again), err)
			}
			// Discover Versions, and what the server said no to.
			if got := d.messages.Load(); got > 2*n+5 {
				t.Errorf("%d messages for %d keys", got, 2*n)
			}
		})
	}
}

func TestConnectionIsReused(t *testing.T) {
	t.Parallel()
	d := newDouble(t, func(*double) {})
	c := d.client(t, 0)
	for range 20 {
		if keys, err := c.Keys(t.Context(), ids(64)); err != nil || len(keys) != 64 {
			t.Fatal(len(keys), err)
		}
	}
	if d.conns.Load() != 1 || d.messages.Load() != 21 || c.RoundTrips() != 21 {
		t.Errorf("%d connections, %d messages, %d counted; want 1 and 21: one to discover the versions", d.conns.Load(), d.messages.Load(), c.RoundTrips())
	}
}

func TestLocateEnds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		noOffsets bool
		want      int
	}{"WithOffsets": {false, 2500}, "WithAServerThatKnowsNone": {true, locatePage}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDouble(t, func(d *double) { d.keys, d.noOffsets = 2500, test.noOffsets })
			got, err := d.client(t, 0).Locate(t.Context(), "")
			if err != nil || len(got) != test.want {
				t.Errorf("%d keys, %v, want %d", len(got), err, test.want)
			}
		})
	}
}

// BenchmarkKeys asks about 100,000 keys: what the client itself costs, and what a network adds.
func BenchmarkKeys(b *testing.B) {
	all := ids(100_000)
	for _, wait := range []time.Duration{0, time.Millisecond} {
		for _, batch := range []int{1, 64} {
			if wait > 0 && batch == 1 {
				continue // waits for 100,000 answers
			}
			b.Run(fmt.Sprintf("Wait%s/Batch%d", wait, batch), func(b *testing.B) {
				d := newDouble(b, func(d *double) { d.wait = wait })
				for b.Loop() {
					keys, err := d.client(b, batch).Keys(b.Context(), all)
					if err != nil || len(keys) != len(all) {
						b.Fatal(len(keys), err)
					}
				}
				b.ReportMetric(float64(len(all)*b.N)/b.Elapsed().Seconds(), "keys/s")
				b.ReportMetric(float64(d.messages.Load())/float64(b.N), "messages")
			})
		}
	}
}
