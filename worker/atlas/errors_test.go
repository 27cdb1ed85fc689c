package atlas_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	simulator "github.com/keyturn/keyturn/internal/simulator/atlas"
)

func TestApply_KnowsWhatAtlasAnswers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		code string
		kind keyturn.ErrorKind
		want string
	}{
		{"ENCRYPTION_AT_REST_SETTINGS_INVALID", keyturn.KindPermanent, "a person must act"},
		{"AWS_KMS_CUSTOMER_MASTER_KEY_NOT_ENABLED", keyturn.KindPermanent, "the new key is disabled"},
		{"AWS_KMS_CUSTOMER_MASTER_KEY_PENDING_DELETION", keyturn.KindPermanent, "about to be deleted"},
		{"AWS_KMS_CUSTOMER_MASTER_KEY_PENDING_IMPORT", keyturn.KindPermanent, "import it"},
		{"AWS_KMS_REGION_NOT_SUPPORTED", keyturn.KindPermanent, "in the region that the project names"},
		{"AWS_CUSTOMER_MASTER_KEY_NOT_FOUND", keyturn.KindPermanent, "must be named by its full ARN"},
		{"INVALID_AWS_CREDENTIALS", keyturn.KindTransient, "tried again"},
		{"CANNOT_ASSUME_ROLE", keyturn.KindTransient, "tried again"},
		{"CLOUD_PROVIDER_ACCESS_ROLE_NOT_AUTHORIZED", keyturn.KindTransient, "tried again"},
		{"NO_PERMISSION_TO_ENCRYPT_DECRYPT", keyturn.KindTransient, "describe it, encrypt and decrypt"},
		{"AWS_KMS_CREDENTIALS_AUTH_DEPRECATED", keyturn.KindPermanent, "AWS role"},
		{"AZURE_KEY_VAULT_KEY_NOT_FOUND", keyturn.KindTransient, "the vault that the project names"},
		{"AZURE_KEY_VAULT_KEY_NOT_ENABLED", keyturn.KindPermanent, "disabled"},
		{"AZURE_KEY_VAULT_KEY_EXPIRED", keyturn.KindPermanent, "has expired"},
		{"AZURE_KEY_VAULT_KEY_EXPIRING", keyturn.KindPermanent, "48 hours"},
		{"AZURE_KEY_VAULT_KEY_NOT_ACTIVE", keyturn.KindPermanent, "not valid yet"},
		{"AZURE_KEY_VAULT_KEY_IDENTIFIER_INVALID_FORMAT", keyturn.KindPermanent, "with its version"},
		{"INVALID_AZURE_CREDENTIALS", keyturn.KindPermanent, "wrong or expired secret"},
		{"GOOGLE_CLOUD_KMS_KEY_VERSION_PENDING_GENERATION", keyturn.KindTransient, "still making"},
		{"GOOGLE_CLOUD_KMS_KEY_VERSION_DISABLED", keyturn.KindPermanent, "disabled"},
		{"GOOGLE_CLOUD_KMS_KEY_VERSION_DESTROY_SCHEDULED", keyturn.KindPermanent, "restore it"},
		{"INVALID_GOOGLE_CLOUD_CREDENTIALS", keyturn.KindPermanent, "service account key"},
		{"WRITES_NOT_ALLOWED_DURING_APP_UPGRADES", keyturn.KindTransient, "being upgraded"},
		{"CANNOT_ROTATE_KEY_ENCRYPTION_DISABLED", keyturn.KindPermanent, "never turns it on"},
		{"CANNOT_CHANGE_ENCRYPTION_AT_REST_PROVIDER", keyturn.KindPermanent, "provider"},
		{"SOMETHING_NEW", keyturn.KindPermanent, "Atlas answered 400 SOMETHING_NEW: As the test wants it."},
		{"UNEXPECTED_ERROR", keyturn.KindAmbiguous, "500"},
	}
	for _, tc := range tests {
		t.Run(tc.code, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(s *setup) { s.cfg.Faults.Codes = []string{tc.code} })
			_, err := w.turn(awsUnit, newID())
			e := kindOf(t, err)
			if e.Kind != tc.kind || e.Target || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), tc.code) {
				t.Errorf("got %+v: %v\nwant %s: %s", e, err, tc.kind, tc.want)
			}
			if len(w.sim.Truth()) != 0 || w.sim.Requests("PATCH encryptionAtRest") != 1 {
				t.Errorf("%d changes, %d PATCHes", len(w.sim.Truth()), w.sim.Requests("PATCH encryptionAtRest"))
			}
		})
	}
}

func TestApply_NamesTheRoleThatIsMissing(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, login func(*setup)) {
		w := newWorld(t, login, func(s *setup) { s.cfg.Projects[0].ReadOnly = true })
		_, err := w.turn(awsUnit, newID())
		if e := kindOf(t, err); e.Kind != keyturn.KindPermanent || e.Target || !strings.Contains(err.Error(), "needs the role Project Owner in this project") {
			t.Errorf("got %+v: %v", e, err)
		}
	})
}

func TestVersions_AreReported(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *setup) { s.cfg.Ended = map[string]string{"encryptionAtRest": "2026-01-01"} })
	_, err := w.Current(t.Context(), awsUnit)
	if e := kindOf(t, err); e.Kind != keyturn.KindPermanent || e.Code != "api_version" || !strings.Contains(err.Error(), "version 2023-01-01 of it has ended: update Keyturn") {
		t.Errorf("got %+v: %v", e, err)
	}
	old := newWorld(t, func(s *setup) {
		s.cfg.Deprecated = map[string]string{"encryptionAtRest": "Thu, 31 Dec 2026 00:00:00 GMT"}
	})
	for range 3 {
		if _, err := old.Current(t.Context(), awsUnit); err != nil {
			t.Fatal(err)
		}
	}
	if n := old.logs.FilterMessageSnippet("going to give up a version").Len(); n != 1 {
		t.Errorf("it was logged %d times, want once", n)
	}
	var found keyturn.Check
	for _, check := range old.Check(t.Context()) {
		if check.Name == "api-version" {
			found = check
		}
	}
	if found.State != keyturn.CheckWarning || !strings.Contains(found.Message, "ends on Thu, 31 Dec 2026") || found.Fix == "" {
		t.Errorf("Check: %+v", found)
	}
}

func TestVersions_OfV1ThatEndedNameTheOtherAPI(t *testing.T) {
	t.Parallel()
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/oauth/token" {
			_, _ = w.Write([]byte(`{"access_token":"eyJ1","expires_in":3600}`))
			return
		}
		w.WriteHeader(http.StatusNotAcceptable)
		_, _ = w.Write([]byte(`{"error":406,"errorCode":"INVALID_VERSION_DATE","reason":"Not Acceptable"}`))
	})
	_, err := c.Discover(t.Context(), keyturn.Selection{})
	if e := kindOf(t, err); e.Code != "api_version" || !strings.Contains(err.Error(), "is not served in version 2023-01-01") {
		t.Errorf("got %+v: %v", e, err)
	}
}

func TestRateLimits_AreObeyedByProject(t *testing.T) {
	t.Parallel()
	other := project()
	other.ID, other.Name = "5f1000000000000000000002", "other"
	w := newWorld(t, func(s *setup) {
		s.cfg.Projects = append(s.cfg.Projects, other)
		s.cfg.Faults = simulator.Faults{GET: simulator.Rates{TooMany: 1}, RetryAfter: 60 * time.Second}
	})
	_, err := w.Current(t.Context(), awsUnit)
	e := kindOf(t, err)
	if e.Kind != keyturn.KindTransient || e.Target || e.Code != "rate_limited" || e.RetryAfter != 60*time.Second {
		t.Fatalf("got %+v: %v", e, err)
	}
	w.sim.SetFaults(simulator.Faults{})
	asked := w.sim.Requests("GET encryptionAtRest")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err = w.Current(ctx, awsUnit)
	if e := kindOf(t, err); e.Code != "rate_limited" || e.RetryAfter < 50*time.Second || w.sim.Requests("GET encryptionAtRest") != asked {
		t.Errorf("asked again before its time: %+v", e)
	}
	err = w.Apply(ctx, awsUnit, keyturn.Intent{Before: awsKey, Want: awsKey + "2"})
	if e := kindOf(t, err); e.Kind != keyturn.KindTransient || len(w.sim.Patches()) != 0 {
		t.Errorf("changed before its time: %+v", e)
	}
	if _, err := w.Current(ctx, strings.Replace(awsUnit, "01.aws", "02.aws", 1)); err != nil {
		t.Errorf("the other project: %v", err)
	}
}

func TestRateLimits_AreWaitedForWhereThereIsTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *setup) { s.cfg.Remaining = 3 })
	begin := time.Now()
	for range 2 { // 2 requests each; the bucket is empty after three
		if _, err := w.Discover(t.Context(), keyturn.Selection{}); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(begin); took < 900*time.Millisecond {
		t.Errorf("took %s: did not wait", took)
	}
}
