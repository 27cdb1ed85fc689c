package webhook_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker/webhook"
	"github.com/keyturn/keyturn/worker/webhook/webhooktest"
)

// reference writes a secret where a reference can name it.
func reference(t *testing.T, value string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(value+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return "file:" + path
}

func newSender(t *testing.T, loopback bool) *webhook.Sender {
	t.Helper()
	s := webhook.New(webhook.Config{Version: "test", AllowLoopback: loopback})
	t.Cleanup(s.Close)
	return s
}

func delivery(t *testing.T, event string, data any) keyturn.Delivery {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"specversion": "1.0", "id": event + "/1", "source": "/keyturn", "type": "keyturn." + event, "subject": "1",
		"time": "2026-03-01T12:00:00Z", "datacontenttype": "application/json", "data": data,
	})
	if err != nil {
		t.Fatal(err)
	}
	return keyturn.Delivery{ID: keyturn.NewID(time.Now()), Webhook: "w", EventID: event + "/1", Event: event, Body: body}
}

func TestStandardIsSignedWithEachSecret(t *testing.T) {
	t.Parallel()
	current, previous := webhooktest.NewSecret(), webhooktest.NewSecret()
	hook := keyturn.Webhook{Name: "w", Secret: reference(t, current), PreviousSecret: reference(t, previous)}
	s := newSender(t, true)
	d := delivery(t, "rotation.completed", map[string]string{"id": "x"})
	for name, secret := range map[string]string{"current": current, "previous": previous} {
		r := webhooktest.New(t, secret)
		hook.URL, hook.Name = r.URL, name
		for range 2 {
			if got := s.Send(t.Context(), hook, d); got.Err != nil || got.Status != 200 {
				t.Fatalf("%s: answered %+v", name, got)
			}
		}
		messages := r.Messages()
		if len(messages) != 2 || messages[0].ID != d.ID.String() || messages[1].ID != messages[0].ID || !messages[0].Valid {
			t.Errorf("%s: arrived %+v, want the same id twice, signed", name, messages)
		}
		if string(messages[0].Body) != string(d.Body) || messages[0].EventID != "rotation.completed/1" {
			t.Errorf("%s: the body is %s", name, messages[0].Body)
		}
	}
	wrong := webhooktest.New(t, webhooktest.NewSecret())
	hook.URL = wrong.URL
	if got := s.Send(t.Context(), hook, d); got.Status != http.StatusUnauthorized || got.Err == nil {
		t.Errorf("another secret verified it: %+v", got)
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	elsewhere := webhooktest.New(t, "")
	tests := map[string]struct {
		answer webhooktest.Answer
		want   keyturn.SendResult
		text   string
	}{
		"taken":     {webhooktest.Answer{Status: 204}, keyturn.SendResult{Status: 204}, ""},
		"broken":    {webhooktest.Fail(), keyturn.SendResult{Status: 500, Whole: true, Answer: "broken"}, "it answered 500: broken"},
		"too many":  {webhooktest.TooMany(90 * time.Second), keyturn.SendResult{Status: 429, Whole: true, RetryAfter: 90 * time.Second}, "it answered 429"},
		"gone":      {webhooktest.Gone(), keyturn.SendResult{Status: 410, Whole: true, Gone: true}, "410 Gone"},
		"this one":  {webhooktest.Answer{Status: 400, Body: "no"}, keyturn.SendResult{Status: 400, Answer: "no"}, "it answered 400: no"},
		"elsewhere": {webhooktest.Redirect(elsewhere.URL), keyturn.SendResult{Status: 307, Whole: true}, "redirect, which is not followed"},
		"hangs":     {webhooktest.Hang(), keyturn.SendResult{Whole: true}, "no answer in time"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := webhooktest.New(t, "")
			r.Answer(tc.answer)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			got := newSender(t, true).Send(ctx, keyturn.Webhook{Name: "w", URL: r.URL + "/a/hook"}, delivery(t, "webhook.test", nil))
			if tc.text == "" != (got.Err == nil) || got.Err != nil && !strings.Contains(got.Err.Error(), tc.text) {
				t.Errorf("error is %v, want %q", got.Err, tc.text)
			}
			got.Err = nil
			if got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
	if n := len(elsewhere.Messages()); n != 0 {
		t.Errorf("a redirect was followed %d times", n)
	}
}

func TestPrivateAddressesAreRefused(t *testing.T) {
	t.Parallel()
	r := webhooktest.New(t, "")
	u, err := url.Parse(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	byName := "http://localhost:" + u.Port()
	d := delivery(t, "webhook.test", nil)
	tests := map[string]struct {
		url      string
		allow    []string
		loopback bool
		taken    bool
	}{
		"loopback":           {url: r.URL},
		"by name":            {url: byName},
		"mapped":             {url: "http://[::ffff:127.0.0.1]:" + u.Port()},
		"a small shop":       {url: r.URL, loopback: true, taken: true},
		"listed address":     {url: r.URL, allow: []string{"127.0.0.1"}, taken: true},
		"listed network":     {url: r.URL, allow: []string{"10.0.0.0/8", "127.0.0.0/8"}, taken: true},
		"listed name":        {url: byName, allow: []string{"localhost"}, taken: true},
		"other network":      {url: r.URL, allow: []string{"10.0.0.0/8"}},
		"other name":         {url: byName, allow: []string{"*.example.com"}},
		"metadata":           {url: "http://169.254.169.254/latest/meta-data", loopback: true},
		"private":            {url: "http://10.1.2.3/", loopback: true},
		"unspecified":        {url: "http://0.0.0.0:" + u.Port(), loopback: true},
		"carrier":            {url: "http://100.64.0.1/", loopback: true},
		"nat64 of a private": {url: "http://[64:ff9b::10.0.0.1]/", loopback: true},
		"unique local":       {url: "http://[fd00:ec2::254]/", loopback: true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := newSender(t, tc.loopback).Send(t.Context(), keyturn.Webhook{Name: "w", URL: tc.url, AllowPrivate: tc.allow, Proxy: "none"}, d)
			if tc.taken {
				if got.Err != nil {
					t.Errorf("refused: %v", got.Err)
				}
				return
			}
			if got.Err == nil || !strings.Contains(got.Err.Error(), "private address") {
				t.Errorf("got %+v, want it refused as private", got)
			}
		})
	}
}

func TestNothingShowsTheURLOrASecret(t *testing.T) {
	t.Parallel()
	const hidden = "T00000000B00000000XXXXXXXXXXXXXXXX"
	r := webhooktest.New(t, "")
	key := webhooktest.NewSecret()
	r.AnswerWith(func(m webhooktest.Message) webhooktest.Answer {
		return webhooktest.Answer{Status: 404, Body: "Cannot POST " + m.Path + " with " + m.Header.Get("Authorization") + "\x1b[2J " + strings.Repeat("x", 99999)}
	})
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	for name, base := range map[string]string{"echo": r.URL, "down": down.URL, "no host": "http://nothing.invalid"} {
		t.Run(name, func(t *testing.T) { //nolint:paralleltest // the receiver is looked at when all have ended
			got := newSender(t, true).Send(t.Context(), keyturn.Webhook{
				Name: "w", URL: reference(t, base+"/services/"+hidden+"?code="+hidden), Secret: reference(t, key), Proxy: "none",
				Headers: keyturn.Headers{"Authorization": reference(t, "Bearer hunter2hunter2"), "X-Team": "security"},
			}, delivery(t, "webhook.test", nil))
			if got.Err == nil {
				t.Fatal("it was taken")
			}
			all := got.Err.Error() + got.Answer
			for _, secret := range []string{hidden, "hunter2", key, "\x1b"} {
				if strings.Contains(all, secret) {
					t.Errorf("%q is shown: %.500s", secret, all)
				}
			}
			if len(all) > 2000 {
				t.Errorf("%d bytes of an answer are shown", len(all))
			}
		})
	}
	messages := r.Messages()
	if len(messages) == 0 || messages[0].Header.Get("Authorization") != "Bearer hunter2hunter2" || messages[0].Header.Get("X-Team") != "security" {
		t.Errorf("the headers did not arrive: %+v", messages)
	}
}

func TestWebhookThatCantBeUsed(t *testing.T) {
	t.Parallel()
	good := webhooktest.NewSecret()
	tests := map[string]struct {
		hook keyturn.Webhook
		want string
	}{
		"no secret there":    {keyturn.Webhook{URL: "https://h", Secret: "env:KEYTURN_TEST_NOT_SET"}, "the environment variable is not set"},
		"not a secret":       {keyturn.Webhook{URL: "https://h", Secret: reference(t, "hunter2!")}, "expected whsec_ and base64"},
		"not a URL":          {keyturn.Webhook{URL: reference(t, "hunter2!"), Secret: reference(t, good)}, "url: write http"},
		"a header not there": {keyturn.Webhook{URL: "https://h", Headers: keyturn.Headers{"X-A": "env:KEYTURN_TEST_NOT_SET"}}, "headers.X-A"},
		"no authorities":     {keyturn.Webhook{URL: "https://h", TLS: keyturn.TargetTLS{CAFile: strings.TrimPrefix(reference(t, "x"), "file:")}}, "holds no certificate"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.hook.Name = "w"
			got := newSender(t, true).Send(t.Context(), tc.hook, delivery(t, "webhook.test", nil))
			if got.Err == nil || !got.Whole || !strings.Contains(got.Err.Error(), tc.want) || strings.Contains(got.Err.Error(), "hunter2") {
				t.Errorf("got %+v, want %q and no secret", got, tc.want)
			}
		})
	}
}

func TestCertificatesAreVerified(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	server.Config.ErrorLog = zap.NewStdLog(zap.NewNop())
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	d := delivery(t, "webhook.test", nil)
	hook := keyturn.Webhook{Name: "w", URL: server.URL, Proxy: "none"}
	s := newSender(t, true)
	if got := s.Send(t.Context(), hook, d); got.Err == nil || !strings.Contains(got.Err.Error(), "certificate") {
		t.Errorf("an unknown certificate was taken: %+v", got)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(file, block, 0o600); err != nil {
		t.Fatal(err)
	}
	hook.TLS.CAFile = file
	if got := s.Send(t.Context(), hook, d); got.Err != nil {
		t.Errorf("a certificate of the authority named was refused: %v", got.Err)
	}
}

func TestProxyIsUsedAndGuarded(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 10)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.String()
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(proxy.Close)
	s := newSender(t, false) // the proxy is on this machine, and may be
	hook := keyturn.Webhook{Name: "w", URL: "http://hooks.example.com/x", Proxy: proxy.URL}
	if got := s.Send(t.Context(), hook, delivery(t, "webhook.test", nil)); got.Status != http.StatusAccepted || got.Err != nil {
		t.Errorf("by the proxy: %+v", got)
	}
	hook.URL = "http://169.254.169.254/latest"
	if got := s.Send(t.Context(), hook, delivery(t, "webhook.test", nil)); got.Err == nil || !strings.Contains(got.Err.Error(), "private address") {
		t.Errorf("a private address by the proxy: %+v", got)
	}
	if first := <-asked; len(asked) != 0 || first != "http://hooks.example.com/x" {
		t.Errorf("the proxy was asked for %s and %d more", first, len(asked))
	}
}

func TestConnectionsAreReused(t *testing.T) {
	t.Parallel()
	r := webhooktest.New(t, "")
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(r)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	s := newSender(t, true)
	for range 5 {
		if got := s.Send(t.Context(), keyturn.Webhook{Name: "w", URL: server.URL}, delivery(t, "webhook.test", nil)); got.Err != nil {
			t.Fatal(got.Err)
		}
	}
	if connections.Load() != 1 {
		t.Errorf("%d connections for 5 messages", connections.Load())
	}
}
