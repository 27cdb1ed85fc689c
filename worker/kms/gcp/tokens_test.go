package gcp

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	double "github.com/keyturn/keyturn/internal/simulator/kms/gcp"
)

// Application Default Credentials are found by the environment, which tests can't change side by side.
func TestCredentialsOfTheEnvironment(t *testing.T) {
	k := double.New(double.Config{Account: "keyturn@p-1.iam.gserviceaccount.com"})
	server := httptest.NewServer(k)
	defer server.Close()
	file, err := k.CredentialsJSON(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "google.json")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", path)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	tokens, err := newTokens("", client)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		creds, err := tokens(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if token, err := creds.Token(t.Context()); err != nil || token.Value == "" {
			t.Errorf("%v, %v", token, err)
		}
	}
	if got := k.Calls("token"); got != 1 {
		t.Errorf("%d tokens were asked for", got)
	}
}
