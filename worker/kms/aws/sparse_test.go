package aws_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	fault "github.com/keyturn/keyturn/internal/simulator/kms"
	double "github.com/keyturn/keyturn/internal/simulator/kms/aws"
)

func TestKeysWithoutADateAreKnownByTheirTag(t *testing.T) {
	t.Parallel()
	w := newWorld(t, keyturn.AWSKMS{}, double.Config{})
	other := w.kms.Add(region, double.Key{CreatedAt: time.Now().Add(-time.Hour)})
	left := regexp.MustCompile(`"(CreationDate|KeyState)":[^,}]*,?`)
	server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, req *http.Request) {
		whole := httptest.NewRecorder()
		w.kms.ServeHTTP(whole, req)
		out.Header().Set("Content-Type", whole.Header().Get("Content-Type"))
		out.WriteHeader(whole.Code)
		_, _ = out.Write(left.ReplaceAll(whole.Body.Bytes(), nil))
	}))
	defer server.Close()
	w.url = server.URL
	order := w.order()
	w.kms.Fail("CreateKey", fault.FaultLost)
	if _, err := w.open(t, keyturn.AWSKMS{}).Make(t.Context(), order); err == nil {
		t.Fatal("the answer was not lost")
	}
	made, err := w.open(t, keyturn.AWSKMS{}).Make(t.Context(), order)
	if keys := w.kms.MadeFor(order.Task); err != nil || len(keys) != 1 || made.ID != keys[0] || made.ID == other.ARN {
		t.Errorf("made %+v, %v, of %v", made, err, keys)
	}
}
