package atlas_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
)

// stranger is an Atlas that writes its answers in other ways than the simulator.
type stranger struct {
	mu      sync.Mutex
	answers map[string]answer // by "GET encryptionAtRest"
	token   string            // the body of a token's answer
	counts  map[string]int
}

type answer struct {
	status int
	body   string
	header http.Header
}

const ownKey = `{"awsKms":{"enabled":true,"valid":true,"customerMasterKeyID":"` + awsKey + `","region":"EU_WEST_1","links":[]},"azureKeyVault":null,"links":[],"newField":{"a":[1]}}`

func newStranger(answers map[string]answer) *stranger {
	return &stranger{answers: answers, token: `{"access_token":"eyJ1","expires_in":3600,"token_type":"Bearer"}`, counts: map[string]int{}}
}

func (s *stranger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := r.Method + " " + r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	s.counts[name]++
	if r.URL.Path == "/api/oauth/token" {
		_, _ = io.WriteString(w, s.token)
		return
	}
	a, ok := s.answers[name+" "+r.FormValue("pageNum")]
	if !ok {
		a, ok = s.answers[name]
	}
	if !ok {
		a = answer{status: http.StatusOK, body: `{"results":[],"totalCount":0}`}
		if name == "GET encryptionAtRest" {
			a.body = ownKey
		}
	}
	for h, v := range a.header {
		w.Header()[h] = v
	}
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.body)
}

func (s *stranger) count(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[name]
}

func TestStranger_LifeOfATokenAsText(t *testing.T) {
	t.Parallel()
	s := newStranger(nil)
	s.token = `{"access_token":"eyJ1","expires_in":"3600","scope":null,"created":1}`
	c := server(t, s.ServeHTTP)
	if key, err := c.Current(t.Context(), awsUnit); err != nil || key != awsKey {
		t.Errorf("got %q, %v", key, err)
	}
}

func TestStranger_ErrorsWithFieldsOfOtherTypes(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{"error":"400","errorCode":"NO_PERMISSION_TO_ENCRYPT_DECRYPT","detail":"No.","parameters":["1","2"],"badRequestDetail":"odd","reason":400}`,
		`{"badRequestDetail":{"fields":{"field":"a"}},"parameters":{"a":"1"},"errorCode":"NO_PERMISSION_TO_ENCRYPT_DECRYPT","detail":"No."}`,
	} {
		c := server(t, newStranger(map[string]answer{"PATCH encryptionAtRest": {status: http.StatusBadRequest, body: body}}).ServeHTTP)
		err := c.Apply(t.Context(), awsUnit, keyturn.Intent{Before: awsKey, Want: awsKey + "2"})
		if e := kindOf(t, err); e.Kind != keyturn.KindTransient || !strings.Contains(err.Error(), "NO_PERMISSION_TO_ENCRYPT_DECRYPT: No.") {
			t.Errorf("%s: got %+v: %v", body, e, err)
		}
	}
}

func TestStranger_ListsWithoutCountsAreReadToTheirEnd(t *testing.T) {
	t.Parallel()
	projects := func(from, to int) string {
		var all []string
		for n := from; n < to; n++ {
			all = append(all, fmt.Sprintf(`{"id":"5f1%021x","name":"p%03d","links":[]}`, n, n))
		}
		return `{"results":[` + strings.Join(all, ",") + `]}`
	}
	for name, third := range map[string]string{"empty": `{"results":[]}`, "null": `{"results":null}`, "the last again": projects(100, 120)} {
		s := newStranger(map[string]answer{
			"GET groups 1": {status: http.StatusOK, body: projects(0, 100)}, "GET groups 2": {status: http.StatusOK, body: projects(100, 120)},
			"GET groups": {status: http.StatusOK, body: third},
		})
		units, err := server(t, s.ServeHTTP).Discover(t.Context(), keyturn.Selection{})
		if err != nil || len(units) != 120 {
			t.Errorf("%s: %d units, %v, want 120", name, len(units), err)
		}
	}
}

func TestStranger_AListOfNothingMayBeNull(t *testing.T) {
	t.Parallel()
	s := newStranger(map[string]answer{"GET groups": {status: http.StatusOK, body: `{"results":null,"totalCount":0}`}})
	units, err := server(t, s.ServeHTTP).Discover(t.Context(), keyturn.Selection{})
	if err != nil || len(units) != 0 {
		t.Errorf("%d units, %v", len(units), err)
	}
	s = newStranger(map[string]answer{"GET groups": {status: http.StatusOK, body: `{"totalCount":3}`}})
	if _, err = server(t, s.ServeHTTP).Discover(t.Context(), keyturn.Selection{}); err == nil || kindOf(t, err).Code != "not_atlas" {
		t.Errorf("an answer that is no list: %v", err)
	}
}

// A role that is missing is no reason for another token, of which Atlas gives out only so many, nor to send a change twice.
func TestStranger_RefusalsOfAGoodTokenAreNotTriedAgain(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]string{
		"USER_UNAUTHORIZED": "needs the role Project Owner", "IP_ADDRESS_NOT_ON_ACCESS_LIST": "not on their API access list",
	} {
		s := newStranger(map[string]answer{"PATCH encryptionAtRest": {status: http.StatusUnauthorized, body: `{"error":401,"errorCode":"` + code + `","reason":"Unauthorized"}`}})
		err := server(t, s.ServeHTTP).Apply(t.Context(), awsUnit, keyturn.Intent{Before: awsKey, Want: awsKey + "2"})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", code, err)
		}
		if s.count("PATCH encryptionAtRest") != 1 || s.count("POST token") != 1 {
			t.Errorf("%s: %d PATCHes, %d tokens, want one of each", code, s.count("PATCH encryptionAtRest"), s.count("POST token"))
		}
	}
}

// A gateway may repeat what it was sent.
func TestStranger_CredentialsThatAreSentBackAreHidden(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"token", "encryptionAtRest"} {
		c := server(t, func(w http.ResponseWriter, r *http.Request) {
			if path != "token" && r.URL.Path == "/api/oauth/token" {
				_, _ = io.WriteString(w, `{"access_token":"eyJ1","expires_in":3600}`)
				return
			}
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprintf(w, `{"error":%[1]q,"detail":%[1]q}`, r.Header.Get("Authorization")) //nolint:gosec // what the test is about
		})
		_, err := c.Current(t.Context(), awsUnit)
		if err == nil || strings.Contains(err.Error(), "bWRiX3NhX2lk") || strings.Contains(err.Error(), "eyJ1") {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

func TestStranger_AnAddressThatIsNotListedIsKnownByItsSentence(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		s := newStranger(map[string]answer{"GET encryptionAtRest": {status: status, body: `{"error":403,"errorCode":"FORBIDDEN","detail":"IP address 203.0.113.7 is not allowed to access this resource."}`}})
		_, err := server(t, s.ServeHTTP).Current(t.Context(), awsUnit)
		if e := kindOf(t, err); !e.Target || !strings.Contains(err.Error(), "not on their API access list") {
			t.Errorf("%d: got %+v: %v", status, e, err)
		}
	}
}

func TestProvided_ARegionForAllIsNoOther(t *testing.T) {
	t.Parallel()
	global := strings.Replace(ownKey, "EU_WEST_1", "GLOBAL", 1)
	s := newStranger(map[string]answer{"GET encryptionAtRest": {status: http.StatusOK, body: global}})
	theirs := awsKey + "2"
	intent, err := server(t, s.ServeHTTP).Make(t.Context(), awsUnit, keyturn.KeyOrder{Task: newID(), Provided: theirs}, keyturn.Intent{Before: awsKey})
	if err != nil || intent.Want != theirs {
		t.Errorf("got %+v, %v", intent, err)
	}
}

func TestStranger_CodesThatSayTheRequestIsBad(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"INVALID_JSON", "INVALID_JSON_ATTRIBUTE", "ATTRIBUTE_READ_ONLY", "INVALID_ATTRIBUTE"} {
		s := newStranger(map[string]answer{"PATCH encryptionAtRest": {status: http.StatusBadRequest, body: `{"error":400,"errorCode":"` + code + `"}`}})
		err := server(t, s.ServeHTTP).Apply(t.Context(), awsUnit, keyturn.Intent{Before: awsKey, Want: awsKey + "2"})
		if e := kindOf(t, err); e.Kind != keyturn.KindPermanent || e.Code != strings.ToLower(code) || s.count("PATCH encryptionAtRest") != 1 {
			t.Errorf("%s: got %+v: %v", code, e, err)
		}
	}
}

func TestStranger_AKeyThatIsNotSaidToBeValidIsNotTurned(t *testing.T) {
	t.Parallel()
	for _, valid := range []string{"", `"valid":null,`, `"valid":false,`} {
		s := newStranger(map[string]answer{"GET encryptionAtRest": {status: http.StatusOK, body: strings.Replace(ownKey, `"valid":true,`, valid, 1)}})
		err := server(t, s.ServeHTTP).Apply(t.Context(), awsUnit, keyturn.Intent{Before: awsKey, Want: awsKey + "2"})
		said := strings.Contains(fmt.Sprint(err), "valid is false")
		if e := kindOf(t, err); e.Code != "key_invalid" || s.count("PATCH encryptionAtRest") != 0 || said != strings.Contains(valid, "false") {
			t.Errorf("%q: got %+v: %v", valid, e, err)
		}
	}
}

func TestStranger_ASnapshotThatIsNotBegunNeedsTheKeyOfNow(t *testing.T) {
	t.Parallel()
	s := newStranger(map[string]answer{
		"GET clusters":  {status: http.StatusOK, body: `{"results":[{"name":"a","encryptionAtRestProvider":"AWS","stateName":"IDLE"},{"name":"b","encryptionAtRestProvider":"GCP"}],"totalCount":2}`},
		"GET snapshots": {status: http.StatusOK, body: `{"results":[{"id":"s","status":"queued","createdAt":null,"expiresAt":null,"links":[]}]}`},
	})
	begin := time.Now()
	var seen []keyturn.Snapshot
	err := server(t, s.ServeHTTP).Snapshots(t.Context(), awsUnit, func(one keyturn.Snapshot) bool { seen = append(seen, one); return true })
	if err != nil || len(seen) != 1 || seen[0].CreatedAt.Before(begin.Add(-time.Minute)) {
		t.Errorf("got %+v, %v", seen, err)
	}
	if n := s.count("GET snapshots"); n > 2 {
		t.Errorf("asked for %d pages of snapshots, also those of a cluster of another provider", n)
	}
}

func TestTokens_AHangingServerOfThemCostsNothingWhileTheOldOneIsGood(t *testing.T) {
	t.Parallel()
	var hang atomic.Bool
	release := make(chan struct{})
	s := newStranger(nil)
	s.token = `{"access_token":"eyJ1","expires_in":200}`
	var passed atomic.Int64
	begin := time.Now()
	c := serverAt(t, func() time.Time { return begin.Add(time.Duration(passed.Load())) }, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/oauth/token" && hang.Load() {
			<-release
			return
		}
		s.ServeHTTP(w, r)
	})
	t.Cleanup(func() { close(release) })
	if _, err := c.Current(t.Context(), awsUnit); err != nil {
		t.Fatal(err)
	}
	hang.Store(true)
	passed.Store(int64(150 * time.Second)) // after three quarters of its life
	if _, err := c.Current(t.Context(), awsUnit); err != nil {
		t.Errorf("with a good token in hand: %v", err)
	}
}

// Two projects may name the same key in two ways, and an alias may lead to it.
func TestDisableKey_SeesThroughAnAliasOfTheKeyInUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alias := "arn:aws:kms:eu-west-1:111122223333:alias/atlas"
	w.ring.add(alias)
	w.ring.keys[alias] = keyturn.KMSKey{ID: awsKey, Version: awsKey}
	if err := w.sim.SetKey(projectID, "aws", alias); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{awsKey, "00000000-0000-0000-0000-000000000001"} {
		if err := w.DisableKey(t.Context(), awsUnit, key); kindOf(t, err).Code != "key_in_use" || len(w.ring.off) != 0 {
			t.Errorf("%s: %v, disabled %v", key, err, w.ring.off)
		}
	}
}

func TestInPlace_RefusesAnAlias(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *setup) { s.target.KMS.AWS.Strategy = keyturn.StrategyInPlace })
	w.ring.add("alias/atlas")
	if err := w.sim.SetKey(projectID, "aws", "alias/atlas"); err != nil {
		t.Fatal(err)
	}
	_, err := w.Prepare(t.Context(), awsUnit, newID())
	if e := kindOf(t, err); e.Kind != keyturn.KindPermanent || e.Code != "key_by_alias" || !strings.Contains(err.Error(), "ARN") {
		t.Errorf("got %+v: %v", e, err)
	}
}
