package azure_test

import (
	"context"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	fault "github.com/keyturn/keyturn/internal/simulator/kms"
	double "github.com/keyturn/keyturn/internal/simulator/kms/azure"
	"github.com/keyturn/keyturn/worker/kms/azure"
)

const (
	name   = "atlas-cmk"
	secret = "the-client-secret"
)

// world is a vault with a key of one version, which is in use.
type world struct {
	kms    *double.KMS
	server *double.Server
	ca     string // file
	old    string
	now    *atomic.Int64 // added to the time, for Azure and for us
	client *azure.Client
}

func newWorld(t *testing.T, cfg double.Config) *world {
	t.Helper()
	w := &world{now: &atomic.Int64{}}
	cfg.ClientSecret, cfg.Now = secret, w.time
	w.kms = double.New(cfg)
	server, err := double.Listen(t.Context(), "127.0.0.1:0", w.kms)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	w.server, w.ca = server, filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(w.ca, server.CAPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	w.old = w.kms.Add(name, double.Version{CreatedAt: time.Now().Add(-90 * 24 * time.Hour), Tags: map[string]string{"team": "data"}})
	w.client = w.open(t, keyturn.AzureKMS{})
	return w
}

func (w *world) time() time.Time { return time.Now().Add(time.Duration(w.now.Load())) }

// open returns a client as a new process has it.
func (w *world) open(t *testing.T, spec keyturn.AzureKMS) *azure.Client {
	t.Helper()
	spec.Endpoint, spec.Authority, spec.CAFile = w.server.URL, w.server.URL, w.ca
	if spec.TenantID == "" {
		spec.TenantID, spec.ClientID = double.Tenant, double.Client
	}
	c, err := azure.New(t.Context(), azure.Config{Spec: spec, ClientSecret: secret, Timeout: 20 * time.Second, Now: w.time})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (w *world) order() keyturn.KMSOrder {
	return keyturn.KMSOrder{Task: keyturn.NewID(w.time()), Unit: "atlas.p1.azure", Current: keyturn.KMSRef{ID: w.old}}
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
	if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "eyJ.") || strings.ContainsAny(err.Error(), "\r\n") {
		t.Errorf("error %q has a secret or a line break in it", err)
	}
	return se.Kind, se.Code
}

func TestMake(t *testing.T) {
	t.Parallel()

	t.Run("MakesOneVersionForATaskAndTagsIt", func(t *testing.T) {
		t.Parallel()
		for _, inherit := range []bool{false, true} {
			w := newWorld(t, double.Config{Inherit: inherit})
			order := w.order()
			first, err := w.client.Make(t.Context(), order)
			if err != nil {
				t.Fatal(err)
			}
			second, err := w.open(t, keyturn.AzureKMS{}).Make(t.Context(), order)
			if err != nil {
				t.Fatal(err)
			}
			versions := w.kms.Versions(name)
			if len(versions) != 2 || first.ID != versions[1].ID || second.ID != first.ID || !first.Usable() || first.CreatedAt.IsZero() {
				t.Fatalf("made %+v, then %+v, of %+v", first, second, versions)
			}
			tags := versions[1].Tags
			if tags["keyturn-task"] != order.Task.String() || tags["keyturn-unit"] != order.Unit || inherit != (tags["team"] == "data") {
				t.Errorf("tags are %v", tags)
			}
			if ok, state := w.kms.Usable(w.old); !ok {
				t.Errorf("the old version is %s", state)
			}
		}
	})

	t.Run("MakesAnotherForTheNextTaskThoughTagsAreInherited", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, double.Config{Inherit: true})
		first, err := w.client.Make(t.Context(), w.order())
		if err != nil {
			t.Fatal(err)
		}
		w.now.Store(int64(time.Hour))
		next := w.order()
		next.Current.ID = first.ID
		second, err := w.client.Make(t.Context(), next)
		if err != nil || second.ID == first.ID {
			t.Fatalf("made %+v, %v, after %s", second, err, first.ID)
		}
		if got := w.kms.Versions(name)[2].Tags["keyturn-task"]; got != next.Task.String() {
			t.Errorf("the third version is tagged %s", got)
		}
	})

	t.Run("FindsItBeforeItIsTaggedThoughTagsAreInherited", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, double.Config{Inherit: true})
		first, err := w.client.Make(t.Context(), w.order())
		if err != nil {
			t.Fatal(err)
		}
		w.now.Store(int64(time.Hour))
		next := w.order()
		next.Current.ID = first.ID
		w.kms.Fail("update", fault.FaultReset) // the process dies in between
		_, err = w.client.Make(t.Context(), next)
		if kind, _ := kindOf(t, err, "tagging"); kind != keyturn.KindAmbiguous {
			t.Errorf("kind is %s: nobody may look for the version at once", kind)
		}
		made, err := w.open(t, keyturn.AzureKMS{}).Make(t.Context(), next)
		versions := w.kms.Versions(name)
		if err != nil || len(versions) != 3 || made.ID != versions[2].ID || versions[2].Tags["keyturn-task"] != next.Task.String() {
			t.Errorf("made %+v, %v, of %+v", made, err, versions)
		}
	})

	t.Run("KeepsAVersionThatItMayNotTag", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, double.Config{})
		w.kms.FailAlways("update", fault.FaultDenied)
		order := w.order()
		first, err := w.client.Make(t.Context(), order)
		if err != nil {
			t.Fatal(err)
		}
		second, err := w.open(t, keyturn.AzureKMS{}).Make(t.Context(), order)
		if err != nil || second.ID != first.ID || len(w.kms.Versions(name)) != 2 {
			t.Errorf("made %+v, %v, after %s", second, err, first.ID)
		}
	})

	t.Run("LeavesVersionsOfOtherTasksAndOldOnesAlone", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, double.Config{})
		for range 12 { // several pages
			w.kms.Add(name, double.Version{CreatedAt: time.Now().Add(-time.Hour)})
		}
		first, err := w.client.Make(t.Context(), w.order())
		if err != nil {
			t.Fatal(err)
		}
		second, err := w.client.Make(t.Context(), w.order())
		if err != nil || first.ID == second.ID || len(w.kms.Versions(name)) != 15 {
			t.Errorf("made %+v, %v, after %s", second, err, first.ID)
		}
	})

	t.Run("FindsItOnceAzureShowsIt", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, double.Config{Propagation: time.Minute})
		order := w.order()
		w.kms.Fail("rotate", fault.FaultLost)
		_, err := w.client.Make(t.Context(), order)
		if kind, _ := kindOf(t, err); kind != keyturn.KindAmbiguous {
			t.Errorf("kind is %s", kind)
		}
		w.now.Store(int64(2 * time.Minute)) // spec.timeouts.settle
		for range 3 {
			if _, err = w.open(t, keyturn.AzureKMS{}).Make(t.Context(), order); err != nil {
				t.Fatal(err)
			}
		}
		if got := len(w.kms.Versions(name)); got != 2 {
			t.Errorf("there are %d versions", got)
		}
	})

	t.Run("RefusesVersionsThatExpireSoon", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, double.Config{Lifetime: 24 * time.Hour})
		order := w.order()
		for range 2 {
			_, err := w.client.Make(t.Context(), order)
			if kind, code := kindOf(t, err, "48 hours", "rotation policy"); kind != keyturn.KindPermanent || code != "kms_key_unusable" {
				t.Errorf("%s %s", kind, code)
			}
		}
		if got := len(w.kms.Versions(name)); got != 2 {
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
	faults := map[fault.Fault]want{
		fault.FaultLost:        {keyturn.KindAmbiguous, "kms_unanswered"},
		fault.FaultReset:       {keyturn.KindAmbiguous, "kms_unanswered"},
		fault.FaultErrorBefore: {keyturn.KindAmbiguous, "kms_server_error"},
		fault.FaultErrorAfter:  {keyturn.KindAmbiguous, "kms_server_error"},
		fault.FaultGarbage:     {keyturn.KindAmbiguous, "kms_server_error"},
		fault.FaultThrottle:    {keyturn.KindTransient, "kms_throttled"},
		fault.FaultDenied:      {keyturn.KindPermanent, "kms_denied"},
	}
	for _, operation := range []string{"rotate", "update", "versions"} {
		for f, expected := range faults {
			if operation == "update" && f == fault.FaultDenied {
				continue // see KeepsAVersionThatItMayNotTag
			}
			if operation != "rotate" && expected.code == "kms_unanswered" {
				expected.code = "kms_network"
			}
			if operation == "versions" && expected.kind == keyturn.KindAmbiguous {
				expected.kind = keyturn.KindTransient
			}
			if operation == "update" {
				expected.kind = keyturn.KindAmbiguous
			}
			t.Run(operation+"/"+string(f), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, double.Config{})
				calls := 1
				if w.kms.Fail(operation, f); operation == "versions" && expected.code == "kms_network" {
					w.kms.Fail(operation, f) // net/http asks again by itself: it may, to read
					calls = 2
				}
				order := w.order()
				_, err := w.client.Make(t.Context(), order)
				if kind, code := kindOf(t, err, name); kind != expected.kind || code != expected.code {
					t.Errorf("%v is %s %s, want %v", err, kind, code, expected)
				}
				if got := w.kms.Calls(operation); got != calls {
					t.Errorf("it was sent %d times, want %d", got, calls)
				}
				made, err := w.open(t, keyturn.AzureKMS{}).Make(t.Context(), order)
				versions := w.kms.Versions(name)
				if err != nil || len(versions) != 2 || versions[1].ID != made.ID || versions[1].Tags["keyturn-task"] != order.Task.String() {
					t.Errorf("made %+v, %v, of %+v", made, err, versions)
				}
			})
		}
	}
}

func TestMakeRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, double.Config{})
	for id, code := range map[string]string{
		"https://keyturn.vault.azure.net/keys/" + name:                    "kms_invalid_key_id",
		"https://keyturn.vault.azure.net/keys/" + name + "/a/b":           "kms_invalid_key_id",
		"http://keyturn.vault.azure.net/keys/" + name + "/a":              "kms_invalid_key_id",
		"https://u:p@keyturn.vault.azure.net/keys/" + name + "/a":         "kms_invalid_key_id",
		"https://keyturn.vault.azure.net/keys/../a":                       "kms_invalid_key_id",
		"https://keyturn.vault.azure.net/keys/" + name + "/a?b=c":         "kms_invalid_key_id",
		"https://keyturn.vault.azure.net/keys/other/0123456789abcdef":     "kms_not_found",
		"https://keyturn.vault.azure.net/secrets/" + name + "/0123456789": "kms_invalid_key_id",
	} {
		order := w.order()
		order.Current.ID = id
		_, err := w.client.Make(t.Context(), order)
		if kind, got := kindOf(t, err); kind != keyturn.KindPermanent || got != code {
			t.Errorf("%s: %v is %s %s, want permanent %s", id, err, kind, got, code)
		}
	}
	_, err := w.open(t, keyturn.AzureKMS{Strategy: keyturn.StrategyProvided}).Make(t.Context(), w.order())
	if kind, code := kindOf(t, err, "provided"); kind != keyturn.KindPermanent || code != "kms_unusable_config" {
		t.Errorf("%s %s", kind, code)
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		spec   keyturn.AzureKMS
		secret string
		fault  fault.Fault
		kind   keyturn.ErrorKind
		words  []string
	}{
		"expired":             {fault: fault.FaultDenied, kind: keyturn.KindPermanent, words: []string{"AADSTS7000222", "expired", "spec.kms.azure.clientSecret"}},
		"wrong secret":        {secret: "another-secret", kind: keyturn.KindPermanent, words: []string{"AADSTS7000215", "not to its id"}},
		"unknown application": {spec: keyturn.AzureKMS{TenantID: double.Tenant, ClientID: double.Tenant}, kind: keyturn.KindPermanent, words: []string{"AADSTS700016", "clientId"}},
		"outage":              {fault: fault.FaultErrorBefore, kind: keyturn.KindTransient, words: []string{"AADSTS90033"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, double.Config{})
			if tt.fault != fault.FaultNone {
				w.kms.FailAlways("token", tt.fault)
			}
			spec := keyturn.AzureKMS{TenantID: double.Tenant, ClientID: double.Client}
			if tt.spec.TenantID != "" {
				spec = tt.spec
			}
			if tt.secret == "" {
				tt.secret = secret
			}
			spec.Endpoint, spec.Authority, spec.CAFile = w.server.URL, w.server.URL, w.ca
			c, err := azure.New(t.Context(), azure.Config{Spec: spec, ClientSecret: tt.secret})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, err = c.Make(t.Context(), w.order())
			if kind, code := kindOf(t, err, tt.words...); kind != tt.kind || code != "kms_credentials" {
				t.Errorf("%v is %s %s", err, kind, code)
			}
			if strings.Contains(err.Error(), "another-secret") || len(w.kms.Versions(name)) > 1 {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestCredentialsOfTheEnvironment(t *testing.T) {
	w := newWorld(t, double.Config{})
	t.Setenv("AZURE_TENANT_ID", double.Tenant)
	t.Setenv("AZURE_CLIENT_ID", double.Client)
	t.Setenv("AZURE_CLIENT_SECRET", secret)
	t.Setenv("AZURE_TOKEN_CREDENTIALS", "prod") // no tools of developers
	spec := keyturn.AzureKMS{Endpoint: w.server.URL, Authority: w.server.URL, CAFile: w.ca}
	c, err := azure.New(t.Context(), azure.Config{Spec: spec})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Make(t.Context(), w.order()); err != nil {
		t.Error(err)
	}
}

func TestTokensAreKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, double.Config{})
	for range 3 {
		if _, err := w.client.Make(t.Context(), w.order()); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.kms.Calls("token"); got != 1 {
		t.Errorf("%d tokens were asked for", got)
	}
}

func TestConfigOfNoUse(t *testing.T) {
	t.Parallel()
	for _, cfg := range []azure.Config{
		{Spec: keyturn.AzureKMS{Strategy: keyturn.StrategyInPlace}},
		{Spec: keyturn.AzureKMS{Endpoint: "http://127.0.0.1:1"}},
		{Spec: keyturn.AzureKMS{Authority: "login.example.com"}},
		{Spec: keyturn.AzureKMS{CAFile: "/nowhere/ca.pem"}},
		{ClientSecret: secret},
	} {
		_, err := azure.New(t.Context(), cfg)
		if err == nil || !strings.Contains(err.Error(), "spec.kms.azure") || strings.Contains(err.Error(), secret) {
			t.Errorf("%+v: %v", cfg.Spec, err)
		}
	}
}

func TestNoVaultThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, double.Config{})
	spec := keyturn.AzureKMS{TenantID: double.Tenant, ClientID: double.Client, Authority: w.server.URL}
	open := func(spec keyturn.AzureKMS) *azure.Client {
		c, err := azure.New(t.Context(), azure.Config{Spec: spec, ClientSecret: secret})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}

	spec.Endpoint = w.server.URL
	_, err := open(spec).Make(t.Context(), w.order())
	if kind, code := kindOf(t, err, "spec.kms.azure.caFile"); kind != keyturn.KindTransient || code != "kms_tls" {
		t.Errorf("without the authority: %v is %s %s", err, kind, code)
	}

	odd := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer authorization="login", resource="https://vault.azure.net"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(odd.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pemOf(odd), 0o600); err != nil {
		t.Fatal(err)
	}
	spec.Endpoint, spec.CAFile = odd.URL, ca
	_, err = open(spec).Make(t.Context(), w.order())
	if kind, code := kindOf(t, err, "Azure Key Vault"); kind != keyturn.KindTransient || code != "kms_network" {
		t.Errorf("at no vault: %v is %s %s", err, kind, code)
	}
}

func TestGivesUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, double.Config{})
	if _, err := w.client.Describe(t.Context(), w.order().Current); err != nil { // gets a token
		t.Fatal(err)
	}
	w.kms.Fail("rotate", fault.FaultHang)
	w.kms.Fail("get", fault.FaultHang)
	order := w.order()
	for what, ask := range map[string]func(context.Context) error{
		"make":     func(ctx context.Context) error { _, err := w.client.Make(ctx, order); return err },
		"describe": func(ctx context.Context) error { _, err := w.client.Describe(ctx, order.Current); return err },
		"newest":   func(ctx context.Context) error { _, err := w.client.Newest(ctx, order.Current); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
		wantKind, wantCode := keyturn.KindTransient, "kms_timeout"
		switch what {
		case "newest":
			w.kms.Fail("versions", fault.FaultHang)
		case "make":
			wantKind, wantCode = keyturn.KindAmbiguous, "kms_unanswered"
			cancel()
			ctx, cancel = context.WithCancel(t.Context())
			w.kms.OnHang(cancel)
		}
		err := ask(ctx)
		cancel()
		w.kms.OnHang(nil)
		if kind, code := kindOf(t, err); kind != wantKind || code != wantCode {
			t.Errorf("%s: %v is %s %s", what, err, kind, code)
		}
	}
}

func TestNewest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, double.Config{})
	ref := w.order().Current
	if newest, err := w.client.Newest(t.Context(), ref); err != nil || newest.ID != w.old {
		t.Errorf("newest is %+v, %v", newest, err)
	}
	best := w.kms.Add(name, double.Version{CreatedAt: time.Now().Add(-time.Hour)})
	for range 6 {
		w.kms.Add(name, double.Version{CreatedAt: time.Now().Add(-24 * time.Hour)})
	}
	w.kms.Add(name, double.Version{Expires: time.Now().Add(time.Hour)})
	w.kms.Add(name, double.Version{NotBefore: time.Now().Add(time.Hour)})
	disabled := w.kms.Add(name, double.Version{})
	w.kms.Change(disabled, func(v *double.Version) { v.Enabled = false })
	if newest, err := w.client.Newest(t.Context(), ref); err != nil || newest.ID != best {
		t.Errorf("newest is %+v, %v, want %s", newest, err, best)
	}
	for _, v := range w.kms.Versions(name) {
		w.kms.Change(v.ID, func(v *double.Version) { v.Enabled = false })
	}
	_, err := w.client.Newest(t.Context(), ref)
	if kind, code := kindOf(t, err, name); kind != keyturn.KindPermanent || code != "kms_key_unusable" {
		t.Errorf("%s %s", kind, code)
	}
}

func TestDescribeAndDisable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, double.Config{})
	ref := w.order().Current
	got, err := w.client.Describe(t.Context(), ref)
	if err != nil || !got.Usable() || got.ID != w.old || got.State != "enabled" || time.Since(got.CreatedAt) < 89*24*time.Hour {
		t.Fatalf("%+v, %v", got, err)
	}
	for word, change := range map[string]func(*double.Version){
		"expired":  func(v *double.Version) { v.Expires = time.Now().Add(-time.Hour) },
		"48 hours": func(v *double.Version) { v.Expires = time.Now().Add(47 * time.Hour) },
		"before":   func(v *double.Version) { v.NotBefore = time.Now().Add(time.Hour) },
	} {
		id := w.kms.Add(name, double.Version{})
		w.kms.Change(id, change)
		if got, err := w.client.Describe(t.Context(), keyturn.KMSRef{ID: id}); err != nil || got.Usable() || !strings.Contains(got.Reason, word) || !strings.Contains(got.Reason, id) {
			t.Errorf("%s: %+v, %v", word, got, err)
		}
	}
	for range 2 {
		if err := w.client.Disable(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
	}
	if got, err = w.client.Describe(t.Context(), ref); err != nil || !strings.Contains(got.Reason, "disabled") {
		t.Errorf("%+v, %v", got, err)
	}
	if tags := w.kms.Versions(name)[0].Tags; tags["team"] != "data" {
		t.Errorf("disabling took the tags away: %v", tags)
	}
}

func pemOf(server *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}
