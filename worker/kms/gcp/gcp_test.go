package gcp_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	fault "github.com/keyturn/keyturn/internal/simulator/kms"
	double "github.com/keyturn/keyturn/internal/simulator/kms/gcp"
	"github.com/keyturn/keyturn/worker/kms/gcp"
)

const key = "projects/p-1/locations/europe-west3/keyRings/atlas/cryptoKeys/cmk"

// world is a key with one version, which is in use.
type world struct {
	kms    *double.KMS
	url    string
	old    string
	now    *atomic.Int64 // added to the time, for Google
	client *gcp.Client
}

func newWorld(t *testing.T, spec keyturn.GCPKMS, cfg double.Config) *world {
	t.Helper()
	w := &world{now: &atomic.Int64{}}
	cfg.Now = func() time.Time { return time.Now().Add(time.Duration(w.now.Load())) }
	w.kms = double.New(cfg)
	server := httptest.NewServer(w.kms)
	t.Cleanup(server.Close)
	w.url = server.URL
	w.old = w.kms.Add(key, time.Now().Add(-90*24*time.Hour))
	w.client = w.open(t, spec)
	return w
}

// open returns a client as a new process has it.
func (w *world) open(t *testing.T, spec keyturn.GCPKMS) *gcp.Client {
	t.Helper()
	spec.Endpoint = w.url
	c, err := gcp.New(t.Context(), gcp.Config{Spec: spec, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (w *world) order() keyturn.KMSOrder {
	return keyturn.KMSOrder{Task: keyturn.NewID(time.Now()), Unit: "atlas.p1.gcp", Current: keyturn.KMSRef{ID: w.old}}
}

// kindOf fails unless err is a SystemError that mentions all the words.
func kindOf(t *testing.T, err error, words ...string) (keyturn.ErrorKind, string) {
	t.Helper()
	se, ok := errors.AsType[*keyturn.SystemError](err)
	if !ok {
		t.Fatalf("error is %v, want a SystemError", err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q does not mention %q", err, word)
		}
	}
	if strings.Contains(err.Error(), "ya29.") || strings.Contains(err.Error(), "PRIVATE KEY") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %q has a secret or a line break in it", err)
	}
	return se.Kind, se.Code
}

func TestMake(t *testing.T) {
	t.Parallel()

	t.Run("MakesOneVersionForATask", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, keyturn.GCPKMS{}, double.Config{})
		order := w.order()
		first, err := w.client.Make(t.Context(), order)
		if err != nil {
			t.Fatal(err)
		}
		second, err := w.open(t, keyturn.GCPKMS{}).Make(t.Context(), order)
		if err != nil {
			t.Fatal(err)
		}
		versions := w.kms.Versions(key)
		if len(versions) != 2 || first.ID != versions[1].Name || first != second || !first.Usable() || first.CreatedAt.IsZero() || first.Version != first.ID {
			t.Errorf("made %+v, then %+v, of %+v", first, second, versions)
		}
	})

	t.Run("MakesAnotherForTheNextTask", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, keyturn.GCPKMS{}, double.Config{})
		first, err := w.client.Make(t.Context(), w.order())
		if err != nil {
			t.Fatal(err)
		}
		next := w.order()
		next.Current.ID = first.ID
		second, err := w.client.Make(t.Context(), next)
		if err != nil || second.ID == first.ID {
			t.Errorf("made %+v, %v, after %s", second, err, first.ID)
		}
	})

	t.Run("MakesOneForEachOfTheUnitsThatShareAKey", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, keyturn.GCPKMS{}, double.Config{})
		one, other := w.order(), w.order()
		for range 2 {
			first, err := w.client.Make(t.Context(), one)
			if err != nil {
				t.Fatal(err)
			}
			second, err := w.client.Make(t.Context(), other)
			if err != nil || second.ID == first.ID || len(w.kms.Versions(key)) != 3 {
				t.Errorf("made %s and %+v, %v", first.ID, second, err)
			}
		}
	})

	t.Run("DoesNotTakeVersionsOlderThanTheTask", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, keyturn.GCPKMS{}, double.Config{})
		for range 30 { // several pages
			w.kms.Add(key, time.Now().Add(-time.Hour))
		}
		made, err := w.client.Make(t.Context(), w.order())
		if err != nil || len(w.kms.Versions(key)) != 32 || made.ID != w.kms.Versions(key)[31].Name {
			t.Errorf("made %+v, %v", made, err)
		}
	})

	t.Run("WaitsUntilItIsGenerated", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, keyturn.GCPKMS{}, double.Config{GenerationTakes: time.Minute})
		order := w.order()
		for range 2 {
			_, err := w.client.Make(t.Context(), order)
			if kind, code := kindOf(t, err, key+"/cryptoKeyVersions/2"); kind != keyturn.KindTransient || code != "kms_pending" {
				t.Fatalf("%s %s", kind, code)
			}
		}
		w.now.Store(int64(2 * time.Minute))
		made, err := w.client.Make(t.Context(), order)
		if err != nil || !made.Usable() || len(w.kms.Versions(key)) != 2 {
			t.Errorf("made %+v, %v", made, err)
		}
	})

	t.Run("MakesNoSecondIfTheFirstWasDisabled", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, keyturn.GCPKMS{}, double.Config{})
		order := w.order()
		made, err := w.client.Make(t.Context(), order)
		if err != nil {
			t.Fatal(err)
		}
		for _, state := range []string{"DISABLED", "DESTROY_SCHEDULED", "DESTROYED", "GENERATION_FAILED"} {
			w.kms.SetState(made.ID, state)
			_, err = w.client.Make(t.Context(), order)
			if kind, code := kindOf(t, err, made.ID); kind != keyturn.KindPermanent || code != "kms_key_unusable" {
				t.Errorf("%s: %s %s", state, kind, code)
			}
		}
		if got := len(w.kms.Versions(key)); got != 2 {
			t.Errorf("there are %d versions", got)
		}
	})
}

// Each call is lost, in each way, and the task comes again in a new process.
func TestMakeComesAgainAfterTrouble(t *testing.T) {
	t.Parallel()
	type want struct {
		kind keyturn.ErrorKind
		code string
	}
	faults := map[fault.Fault][2]want{ // of create, of list
		fault.FaultLost:        {{keyturn.KindAmbiguous, "kms_unanswered"}, {keyturn.KindTransient, "kms_network"}},
		fault.FaultReset:       {{keyturn.KindAmbiguous, "kms_unanswered"}, {keyturn.KindTransient, "kms_network"}},
		fault.FaultErrorBefore: {{keyturn.KindAmbiguous, "kms_server_error"}, {keyturn.KindTransient, "kms_server_error"}},
		fault.FaultErrorAfter:  {{keyturn.KindAmbiguous, "kms_server_error"}, {keyturn.KindTransient, "kms_server_error"}},
		fault.FaultGarbage:     {{keyturn.KindAmbiguous, "kms_server_error"}, {keyturn.KindTransient, "kms_server_error"}},
		fault.FaultThrottle:    {{keyturn.KindTransient, "kms_throttled"}, {keyturn.KindTransient, "kms_throttled"}},
		fault.FaultDenied:      {{keyturn.KindPermanent, "kms_denied"}, {keyturn.KindPermanent, "kms_denied"}},
	}
	for i, operation := range []string{"cryptoKeyVersions.create", "cryptoKeyVersions.list"} {
		for f, wants := range faults {
			t.Run(operation+"/"+string(f), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, keyturn.GCPKMS{}, double.Config{})
				w.kms.Fail(operation, f)
				order := w.order()
				_, err := w.client.Make(t.Context(), order)
				if kind, code := kindOf(t, err, key); kind != wants[i].kind || code != wants[i].code {
					t.Errorf("%v is %s %s, want %v", err, kind, code, wants[i])
				}
				if got := w.kms.Calls(operation); got != 1 {
					t.Errorf("it was sent %d times", got)
				}
				made, err := w.open(t, keyturn.GCPKMS{}).Make(t.Context(), order)
				if versions := w.kms.Versions(key); err != nil || len(versions) != 2 || versions[1].Name != made.ID {
					t.Errorf("made %+v, %v, of %+v", made, err, versions)
				}
			})
		}
	}
}

func TestMakeRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, keyturn.GCPKMS{}, double.Config{})
	for id, code := range map[string]string{
		key:                           "kms_invalid_key_id",
		key + "/cryptoKeyVersions/0":  "kms_invalid_key_id",
		key + "/cryptoKeyVersions/1/": "kms_invalid_key_id",
		"projects/../locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1":  "kms_invalid_key_id",
		"projects/a?b/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1": "kms_invalid_key_id",
		"projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1":   "kms_not_found",
	} {
		order := w.order()
		order.Current.ID = id
		_, err := w.client.Make(t.Context(), order)
		if kind, got := kindOf(t, err); kind != keyturn.KindPermanent || got != code {
			t.Errorf("%s: %v is %s %s, want permanent %s", id, err, kind, got, code)
		}
	}
	_, err := w.open(t, keyturn.GCPKMS{Strategy: keyturn.StrategyProvided}).Make(t.Context(), w.order())
	if kind, code := kindOf(t, err, "provided"); kind != keyturn.KindPermanent || code != "kms_unusable_config" {
		t.Errorf("%s %s", kind, code)
	}
}

func TestServiceAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, keyturn.GCPKMS{}, double.Config{Account: "keyturn@p-1.iam.gserviceaccount.com"})
	_, err := w.client.Make(t.Context(), w.order())
	if kind, code := kindOf(t, err, "spec.kms.gcp.credentialsJson"); kind != keyturn.KindPermanent || code != "kms_credentials" {
		t.Errorf("without a token: %s %s", kind, code)
	}
	file, err := w.kms.CredentialsJSON(w.url)
	if err != nil {
		t.Fatal(err)
	}
	c, err := gcp.New(t.Context(), gcp.Config{Spec: keyturn.GCPKMS{Endpoint: w.url}, CredentialsJSON: file})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w.kms.Fail("token", fault.FaultDenied)
	_, err = c.Make(t.Context(), w.order())
	if kind, code := kindOf(t, err, "invalid_grant", "spec.kms.gcp.credentialsJson"); kind != keyturn.KindPermanent || code != "kms_credentials" {
		t.Errorf("with a refused key: %s %s", kind, code)
	}
	if _, err := c.Make(t.Context(), w.order()); err != nil {
		t.Error(err)
	}
	if _, err := c.Make(t.Context(), w.order()); err != nil || w.kms.Calls("token") != 2 {
		t.Errorf("%v, %d tokens were asked for", err, w.kms.Calls("token"))
	}
}

func TestConfigOfNoUse(t *testing.T) {
	t.Parallel()
	for _, cfg := range []gcp.Config{
		{Spec: keyturn.GCPKMS{Strategy: keyturn.StrategyNewKey}},
		{Spec: keyturn.GCPKMS{Endpoint: "localhost:1"}},
		{Spec: keyturn.GCPKMS{Endpoint: "http://kms.example.com"}, CredentialsJSON: "{}"},
		{CredentialsJSON: "secret-that-is-no-json"},
		{CredentialsJSON: `{"type":"service_account","private_key":"secret-that-is-no-key"}`},
	} {
		_, err := gcp.New(t.Context(), cfg)
		if err == nil || !strings.Contains(err.Error(), "spec.kms.gcp") || strings.Contains(err.Error(), "secret-that") {
			t.Errorf("%+v: %v", cfg.Spec, err)
		}
	}
}

func TestGivesUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, keyturn.GCPKMS{}, double.Config{})
	w.kms.Fail("cryptoKeyVersions.create", fault.FaultHang)
	w.kms.Fail("cryptoKeyVersions.get", fault.FaultHang)
	order := w.order()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.kms.OnHang(cancel)
	_, err := w.client.Make(ctx, order)
	w.kms.OnHang(nil)
	if kind, code := kindOf(t, err); kind != keyturn.KindAmbiguous || code != "kms_unanswered" {
		t.Errorf("%v is %s %s", err, kind, code)
	}
	w.kms.Fail("cryptoKeyVersions.list", fault.FaultHang)
	for name, ask := range map[string]func(context.Context) error{
		"describe": func(ctx context.Context) error { _, err := w.client.Describe(ctx, order.Current); return err },
		"list":     func(ctx context.Context) error { _, err := w.client.Newest(ctx, order.Current); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		err := ask(ctx)
		cancel()
		if kind, code := kindOf(t, err); kind != keyturn.KindTransient || code != "kms_timeout" {
			t.Errorf("%s: %s %s", name, kind, code)
		}
	}
}

func TestNewest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, keyturn.GCPKMS{Strategy: keyturn.StrategyProvided}, double.Config{})
	ref := w.order().Current
	if newest, err := w.client.Newest(t.Context(), ref); err != nil || newest.ID != w.old {
		t.Errorf("newest is %+v, %v", newest, err)
	}
	var last string
	for range 12 {
		last = w.kms.Add(key, time.Now().Add(-time.Hour))
	}
	w.kms.SetState(w.kms.Add(key, time.Now()), "DISABLED")
	if newest, err := w.client.Newest(t.Context(), ref); err != nil || newest.ID != last {
		t.Errorf("newest is %+v, %v, want %s", newest, err, last)
	}
	for _, v := range w.kms.Versions(key) {
		w.kms.SetState(v.Name, "DESTROYED")
	}
	_, err := w.client.Newest(t.Context(), ref)
	if kind, code := kindOf(t, err, key); kind != keyturn.KindPermanent || code != "kms_key_unusable" {
		t.Errorf("%s %s", kind, code)
	}
}

func TestDescribeAndDisable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, keyturn.GCPKMS{}, double.Config{})
	ref := w.order().Current
	got, err := w.client.Describe(t.Context(), ref)
	if err != nil || !got.Usable() || got.State != "ENABLED" || time.Since(got.CreatedAt) < 89*24*time.Hour {
		t.Fatalf("%+v, %v", got, err)
	}
	for range 2 {
		if err := w.client.Disable(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
	}
	if got, err = w.client.Describe(t.Context(), ref); err != nil || !strings.Contains(got.Reason, "disabled") {
		t.Errorf("%+v, %v", got, err)
	}
	for _, state := range []string{"DESTROY_SCHEDULED", "DESTROYED", "GENERATION_FAILED", "PENDING_IMPORT"} {
		w.kms.SetState(w.old, state)
		if got, err = w.client.Describe(t.Context(), ref); err != nil || got.Usable() || !strings.Contains(got.Reason, w.old) {
			t.Errorf("%s: %+v, %v", state, got, err)
		}
	}
	err = w.client.Disable(t.Context(), ref)
	if kind, code := kindOf(t, err, w.old); kind != keyturn.KindPermanent || code != "kms_key_unusable" {
		t.Errorf("%s %s", kind, code)
	}
}
