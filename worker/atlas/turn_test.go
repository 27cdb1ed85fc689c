package atlas_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	simulator "github.com/keyturn/keyturn/internal/simulator/atlas"
	"github.com/keyturn/keyturn/worker/atlas"
)

// both runs a test against both APIs and both ways to log in.
func both(t *testing.T, test func(t *testing.T, login func(*setup))) {
	t.Helper()
	for name, login := range map[string]func(*setup){
		"v2 with a service account": func(*setup) {},
		"v2 with an API key":        func(s *setup) { s.apiKey = true },
		"v1 with an API key":        func(s *setup) { s.target.API = "v1" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, login)
		})
	}
}

func TestTurn_ChangesNothingButTheKey(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, login func(*setup)) {
		w := newWorld(t, login)
		bodies := map[string]string{
			awsUnit:   `{"awsKms":{"customerMasterKeyID":"%s"}}`,
			azureUnit: `{"azureKeyVault":{"keyIdentifier":"%s"}}`,
			gcpUnit:   `{"googleCloudKms":{"keyVersionResourceID":"%s"}}`,
		}
		for unit, body := range bodies {
			before, err := w.Current(t.Context(), unit)
			if err != nil {
				t.Fatal(err)
			}
			intent, err := w.turn(unit, newID())
			if err != nil {
				t.Fatal(err)
			}
			if intent.Before != before || intent.Want == "" || intent.Want == before {
				t.Errorf("%s: intent %+v of a unit with key %s", unit, intent, before)
			}
			w.done(unit, intent)
			now, err := w.Current(t.Context(), unit)
			patches := w.sim.Patches()
			if got, want := string(patches[len(patches)-1].Body), fmt.Sprintf(body, intent.Want); err != nil || now != intent.Want || got != want {
				t.Errorf("%s: key %s, %v; PATCH %s\nwant %s", unit, now, err, got, want)
			}
		}
		if truth := w.sim.Truth(); len(truth) != 3 || len(w.sim.Patches()) != 3 {
			t.Errorf("%d changes by %d PATCHes, want 3 by 3", len(truth), len(w.sim.Patches()))
		}
	})
}

func TestConfirm_WaitsUntilTheClustersAreThrough(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *setup) {
		s.cfg.ValidAfter, s.cfg.ClustersAfter, s.cfg.UpdatingFor = 50*time.Millisecond, 60*time.Millisecond, 100*time.Millisecond
		s.steady = 30 * time.Millisecond
	})
	intent, err := w.turn(awsUnit, newID())
	if err != nil {
		t.Fatal(err)
	}
	seen := w.done(awsUnit, intent)
	var notes []string
	for _, s := range seen {
		if s.Key != intent.Want {
			t.Errorf("saw key %s, want %s", s.Key, intent.Want)
		}
		notes = append(notes, s.Note)
	}
	for _, want := range []string{"Atlas has not found the new key valid yet", "waiting for 1 of 1 clusters: orders (UPDATING)"} {
		if !slices.Contains(notes, want) {
			t.Errorf("saw %q, want %q among them", notes, want)
		}
	}
}

func TestConfirm_DoesNotTakeTheOldKeyOrSomebodyElsesForOurs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	intent := keyturn.Intent{Before: awsKey, Want: awsKey + "2"}
	for _, key := range []string{awsKey, awsKey + "3"} {
		if err := w.sim.SetKey(projectID, "aws", w.ring.add(key)); err != nil {
			t.Fatal(err)
		}
		sight, err := w.Confirm(t.Context(), awsUnit, intent)
		if err != nil || sight != (keyturn.Sight{Key: key, Progress: keyturn.ProgressNone}) {
			t.Errorf("with key %s: %+v, %v", key, sight, err)
		}
	}
}

func TestMake_FindsWhatAnEarlierTryHasMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	task := newID()
	var wants []string
	for range 3 {
		intent, err := w.Make(t.Context(), azureUnit, keyturn.KeyOrder{Task: task}, keyturn.Intent{Before: azureKey})
		if err != nil {
			t.Fatal(err)
		}
		wants = append(wants, intent.Want)
	}
	if wants[0] != wants[1] || wants[1] != wants[2] || len(w.ring.made) != 1 || len(w.sim.Patches()) != 0 {
		t.Errorf("made %v: %q", w.ring.made, wants)
	}
}

func TestApply_ChangesNothingThatSomebodyElseHasChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	task := newID()
	intent, err := w.Prepare(t.Context(), awsUnit, task)
	if err != nil {
		t.Fatal(err)
	}
	if intent, err = w.Make(t.Context(), awsUnit, keyturn.KeyOrder{Task: task}, intent); err != nil {
		t.Fatal(err)
	}
	theirs := w.ring.add(awsKey + "9")
	if err := w.sim.SetKey(projectID, "aws", theirs); err != nil {
		t.Fatal(err)
	}
	err = w.Apply(t.Context(), awsUnit, intent)
	if e := kindOf(t, err); e.Kind != keyturn.KindPermanent || e.Code != "key_moved" || !strings.Contains(err.Error(), "somebody else has changed it meanwhile") {
		t.Errorf("got %+v: %v", e, err)
	}
	if len(w.sim.Patches()) != 0 {
		t.Error("a PATCH was sent")
	}
	// What an earlier try of ours has changed is no reason to fail, and none to send it again.
	if err := w.sim.SetKey(projectID, "aws", intent.Want); err != nil {
		t.Fatal(err)
	}
	if e := kindOf(t, w.Apply(t.Context(), awsUnit, intent)); e.Kind != keyturn.KindAmbiguous || len(w.sim.Patches()) != 0 {
		t.Errorf("got %+v and %d PATCHes", e, len(w.sim.Patches()))
	}
}

func TestApply_SaysAllOfTheProviderIfAtlasWantsItSo(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, login func(*setup)) {
		w := newWorld(t, login, func(s *setup) { s.cfg.WantWhole = true })
		intent, err := w.turn(azureUnit, newID())
		if err != nil {
			t.Fatal(err)
		}
		patches := w.sim.Patches()
		want := `{"azureKeyVault":{"azureEnvironment":"AZURE","clientID":"c","enabled":true,"keyIdentifier":"` + intent.Want +
			`","keyVaultName":"vault","resourceGroupName":"g","subscriptionID":"s","tenantID":"t"}}`
		if len(patches) != 2 || patches[0].Status != http.StatusBadRequest || string(patches[1].Body) != want {
			t.Errorf("got %d PATCHes, the last %s\nwant 2, the last %s", len(patches), patches[len(patches)-1].Body, want)
		}
		if len(w.sim.Truth()) != 1 {
			t.Errorf("%d changes", len(w.sim.Truth()))
		}
	})
}

func TestPrepare_RefusesWhatAtlasCouldNotChange(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*setup)
		code   string
		want   string
	}{
		{"off", func(s *setup) { s.cfg.Projects[0].Providers[0].Disabled = true }, "encryption_off", "Keyturn never turns it on"},
		{"gone", func(s *setup) { s.cfg.Projects[0].Providers = nil }, "not_configured", "does not use AWS KMS"},
		{"no key", func(s *setup) { s.cfg.Projects[0].Providers[0].Key = "" }, "no_key", "names no key"},
		{"invalid", func(s *setup) {
			s.cfg.Keys = func(_, _, _ string) string { return "AWS_KMS_CUSTOMER_MASTER_KEY_NOT_ENABLED" }
		}, "key_invalid", "a person must act: Atlas can't use the key that is in use now"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tc.change)
			_, err := w.Prepare(t.Context(), awsUnit, newID())
			if e := kindOf(t, err); e.Kind != keyturn.KindPermanent || e.Target || e.Code != tc.code || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %+v: %v\nwant %s: %s", e, err, tc.code, tc.want)
			}
		})
	}
}

func TestProvided_UsesTheKeyThatWasNamedOrTheNewest(t *testing.T) {
	t.Parallel()
	provided := func(s *setup) {
		s.target.KMS.AWS.Strategy, s.target.KMS.Azure.Strategy = keyturn.StrategyProvided, keyturn.StrategyProvided
	}
	w := newWorld(t, provided)
	newAWS, newAzure := w.ring.add(awsKey[:len(awsKey)-1]+"7"), ""
	w.ring.n = 9
	newAzure = w.ring.add(azureKey[:len(azureKey)-1] + "8")
	tests := []struct{ name, unit, before, provided, want, err string }{
		{"named", awsUnit, awsKey, newAWS, newAWS, ""},
		{"newest", azureUnit, azureKey, "", newAzure, ""},
		{"in use", awsUnit, awsKey, awsKey, "", "is in use already"},
		{"another region", awsUnit, awsKey, strings.Replace(newAWS, "eu-west-1", "us-east-1", 1), "", "the key is in region us-east-1, and must be in the project's: EU_WEST_1"},
		{"no ARN", awsUnit, awsKey, "00000000-0000-0000-0000-000000000007", "", "name the key by its full ARN"},
		{"no key", awsUnit, awsKey, "alias/new key", "", "is no key of AWS KMS: expected arn:aws:kms:REGION:ACCOUNT:key/ID"},
		{"another vault", azureUnit, azureKey, strings.Replace(newAzure, "vault.vault", "other.vault", 1), "", "must be in the project's: vault.vault.azure.net"},
		{"no version", azureUnit, azureKey, "https://vault.vault.azure.net/keys/atlas", "", "expected https://VAULT.vault.azure.net/keys/NAME/VERSION"},
	}
	for _, tc := range tests {
		intent, err := w.Make(t.Context(), tc.unit, keyturn.KeyOrder{Task: newID(), Provided: tc.provided}, keyturn.Intent{Before: tc.before})
		if tc.err == "" && (err != nil || intent.Want != tc.want) {
			t.Errorf("%s: got %+v, %v, want %s", tc.name, intent, err, tc.want)
		}
		if tc.err != "" && (err == nil || kindOf(t, err).Kind != keyturn.KindPermanent || !strings.Contains(err.Error(), tc.err)) {
			t.Errorf("%s: got %v\nwant %s", tc.name, err, tc.err)
		}
	}
	if len(w.ring.made) != 0 {
		t.Error("a key was made")
	}
}

func TestProvided_WithoutANewerKeyIsNothingToDo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *setup) { s.target.KMS.Azure.Strategy = keyturn.StrategyProvided })
	_, err := w.Make(t.Context(), azureUnit, keyturn.KeyOrder{Task: newID()}, keyturn.Intent{Before: azureKey})
	if err == nil || !kindOf(t, err).Needless || kindOf(t, err).Kind != keyturn.KindPermanent || !strings.Contains(err.Error(), "nobody has made a key that is newer") {
		t.Errorf("got %v", err)
	}
	_, err = w.Make(t.Context(), azureUnit, keyturn.KeyOrder{Task: newID(), Provided: azureKey}, keyturn.Intent{Before: azureKey})
	if err == nil || kindOf(t, err).Needless {
		t.Errorf("a key that was named, and is in use: got %v", err)
	}
}

func TestProvided_NeedsNoKeyServiceForANamedKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *setup) {
		s.target.KMS.GCP.Strategy = keyturn.StrategyProvided
		s.keys = func(*ring) map[keyturn.KMSProvider]atlas.KeyService { return nil }
	})
	theirs := w.ring.add(strings.Replace(gcpKey, "Versions/1", "Versions/2", 1))
	intent, err := w.Make(t.Context(), gcpUnit, keyturn.KeyOrder{Task: newID(), Provided: theirs}, keyturn.Intent{Before: gcpKey})
	if err != nil || intent.Want != theirs {
		t.Fatalf("got %+v, %v", intent, err)
	}
	_, err = w.Make(t.Context(), gcpUnit, keyturn.KeyOrder{Task: newID()}, keyturn.Intent{Before: gcpKey})
	if err == nil || !strings.Contains(err.Error(), "keyturn rotate POLICY --key "+gcpUnit+"=ID") {
		t.Errorf("got %v", err)
	}
}

func TestInPlace_TurnsTheMaterialAndTellsAtlasNothing(t *testing.T) {
	t.Parallel()
	var service *turning
	w := newWorld(t, func(s *setup) {
		s.target.KMS.AWS.Strategy = keyturn.StrategyInPlace
		s.keys = func(r *ring) map[keyturn.KMSProvider]atlas.KeyService {
			service = &turning{ring: r}
			return map[keyturn.KMSProvider]atlas.KeyService{keyturn.KMSProviderAWS: service}
		}
	})
	intent, err := w.turn(awsUnit, newID())
	if err != nil || intent.Want != "" || intent.Before != awsKey {
		t.Fatalf("got %+v, %v", intent, err)
	}
	seen := w.done(awsUnit, intent)
	if last := seen[len(seen)-1]; last.Key != awsKey+"#1" || len(w.sim.Patches()) != 0 || service.turns != 1 {
		t.Errorf("saw %+v; %d PATCHes, %d turns", last, len(w.sim.Patches()), service.turns)
	}
	// A second look before the material has turned would have been another turn.
	if e := kindOf(t, w.Apply(t.Context(), awsUnit, intent)); e.Kind != keyturn.KindAmbiguous || service.turns != 1 {
		t.Errorf("got %+v after %d turns", e, service.turns)
	}
	w.ring.left = 0
	_, err = w.Make(t.Context(), awsUnit, keyturn.KeyOrder{}, keyturn.Intent{Before: awsKey + "#1"})
	if err == nil || !strings.Contains(err.Error(), "write strategy: new-key") {
		t.Errorf("without rotations left: %v", err)
	}
}

func TestApply_TellsWhatIsKnownAfterEachFault(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		rates   simulator.Rates
		kind    keyturn.ErrorKind
		changed bool
	}{
		{"500, not executed", simulator.Rates{ErrorBefore: 1}, keyturn.KindAmbiguous, false},
		{"500, executed", simulator.Rates{ErrorAfter: 1}, keyturn.KindAmbiguous, true},
		{"reset, not executed", simulator.Rates{ResetBefore: 1}, keyturn.KindAmbiguous, false},
		{"reset, executed", simulator.Rates{ResetAfter: 1}, keyturn.KindAmbiguous, true},
		{"429", simulator.Rates{TooMany: 1}, keyturn.KindTransient, false},
	}
	for _, tc := range tests {
		both(t, func(t *testing.T, login func(*setup)) {
			w := newWorld(t, login, func(s *setup) { s.cfg.Faults = simulator.Faults{PATCH: tc.rates} })
			intent, err := w.turn(gcpUnit, newID())
			if e := kindOf(t, err); e.Kind != tc.kind {
				t.Errorf("%s: got %+v: %v", tc.name, e, err)
			}
			if got := w.sim.Key(projectID, "gcp") == intent.Want; got != tc.changed {
				t.Errorf("%s: changed %v, want %v", tc.name, got, tc.changed)
			}
			if n := w.sim.Requests("PATCH encryptionAtRest"); n != 1 {
				t.Errorf("%s: %d PATCHes came in, want 1", tc.name, n)
			}
		})
	}
}

func TestApply_SaysThatAnAnswerThatNeverCameIsUnknown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *setup) {
		s.target.Timeouts.Request = keyturn.Duration(300 * time.Millisecond)
		s.cfg.Faults = simulator.Faults{PATCH: simulator.Rates{Slow: 1}, SlowFor: time.Minute}
	})
	intent, err := w.turn(awsUnit, newID())
	if e := kindOf(t, err); e.Kind != keyturn.KindAmbiguous || e.Code != "timeout" {
		t.Errorf("got %+v: %v", e, err)
	}
	sight, err := w.Confirm(t.Context(), awsUnit, intent)
	if err != nil || sight.Key != intent.Want || sight.Progress == keyturn.ProgressNone {
		t.Errorf("got %+v, %v", sight, err)
	}
}
