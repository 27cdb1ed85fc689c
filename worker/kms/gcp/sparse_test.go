package gcp_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	fault "github.com/keyturn/keyturn/internal/simulator/kms"
	double "github.com/keyturn/keyturn/internal/simulator/kms/gcp"
	"github.com/keyturn/keyturn/worker/kms/gcp"
)

func TestVersionsWithoutADateAreKnownByTheirNumber(t *testing.T) {
	t.Parallel()
	k := double.New(double.Config{})
	date := regexp.MustCompile(`"createTime":"[^"]*",?`)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		whole := httptest.NewRecorder()
		k.ServeHTTP(whole, req)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(whole.Code)
		_, _ = w.Write(date.ReplaceAll(whole.Body.Bytes(), nil))
	}))
	defer server.Close()
	k.Add(key, time.Now().Add(-time.Hour))
	old := k.Add(key, time.Now().Add(-time.Hour))
	c, err := gcp.New(t.Context(), gcp.Config{Spec: keyturn.GCPKMS{Endpoint: server.URL}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	order := keyturn.KMSOrder{Task: keyturn.NewID(time.Now()), Unit: "u", Current: keyturn.KMSRef{ID: old}}
	k.Fail("cryptoKeyVersions.create", fault.FaultLost)
	if _, err := c.Make(t.Context(), order); err == nil {
		t.Fatal("the answer was not lost")
	}
	made, err := c.Make(t.Context(), order)
	if versions := k.Versions(key); err != nil || len(versions) != 3 || made.ID != versions[2].Name {
		t.Errorf("made %+v, %v, of %+v", made, err, versions)
	}
}
