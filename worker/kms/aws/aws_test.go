package aws_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	fault "github.com/keyturn/keyturn/internal/simulator/kms"
	double "github.com/keyturn/keyturn/internal/simulator/kms/aws"
	"github.com/keyturn/keyturn/worker/kms/aws"
)

const (
	region = "eu-west-1"
	akid   = "AKIAKEYTURN"
	secret = "the-secret-access-key"
)

// world is an account with one key that is in use.
type world struct {
	kms    *double.KMS
	url    string
	old    double.Key
	now    *atomic.Int64 // added to the time, for AWS
	client *aws.Client
}

func newWorld(t *testing.T, spec keyturn.AWSKMS, cfg double.Config) *world {
	t.Helper()
	w := &world{now: &atomic.Int64{}}
	cfg.AccessKeyID = akid
	cfg.Now = func() time.Time { return time.Now().Add(time.Duration(w.now.Load())) }
	w.kms = double.New(cfg)
	server := httptest.NewServer(w.kms)
	t.Cleanup(server.Close)
	w.url = server.URL
	w.old = w.kms.Add(region, double.Key{
		CreatedAt: time.Now().Add(-90 * 24 * time.Hour), Description: "Atlas, production",
		Tags:   map[string]string{"team": "data", "keyturn-task": "of-an-earlier-one"},
		Policy: `{"Version":"2012-10-17","Statement":[{"Sid":"root","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"kms:*","Resource":"*"}]}`,
	})
	w.client = w.open(t, spec)
	return w
}

// open returns a client as a new process has it.
func (w *world) open(t *testing.T, spec keyturn.AWSKMS) *aws.Client {
	t.Helper()
	spec.Endpoint = w.url
	c, err := aws.New(t.Context(), aws.Config{Spec: spec, AccessKeyID: akid, SecretAccessKey: secret, Timeout: 20 * time.Second, Backoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (w *world) order() keyturn.KMSOrder {
	return keyturn.KMSOrder{Task: keyturn.NewID(time.Now()), Unit: "atlas.p1.aws", Current: keyturn.KMSRef{ID: w.old.ARN, Region: "EU_WEST_1"}}
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
	if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %q has a secret or a line break in it", err)
	}
	return se.Kind, se.Code
}

func TestMake(t *testing.T) {
	t.Parallel()

	t.Run("MakesAKeyLikeTheOldOne", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, keyturn.AWSKMS{Tags: map[string]string{"cost": "42", "team": "security"}}, double.Config{})
		w.kms.Alias(region, "alias/atlas", w.old.ID)
		order := w.order()
		key, err := w.client.Make(t.Context(), order)
		if err != nil {
			t.Fatal(err)
		}
		keys := w.kms.Keys()
		if len(keys) != 2 || keys[1].ARN != key.ID || key.ID != key.Version || !key.Usable() || key.CreatedAt.IsZero() {
			t.Fatalf("made %+v, of %+v", key, keys)
		}
		made := keys[1]
		want := map[string]string{"team": "security", "cost": "42", "keyturn-task": order.Task.String(), "keyturn-unit": order.Unit}
		if fmt.Sprint(made.Tags) != fmt.Sprint(want) || made.Policy != w.old.Policy || made.Description != w.old.Description || made.MultiRegion {
			t.Errorf("made %+v, want tags %v and the policy and description of %+v", made, want, w.old)
		}
		if got := w.kms.AliasTarget(region, "alias/atlas"); got != made.ID {
			t.Errorf("the alias leads to %s, want %s", got, made.ID)
		}
		if ok, _ := w.kms.Usable(w.old.ID); !ok {
			t.Error("the old key is not enabled any more")
		}
	})

	t.Run("NamesItAsTheOldOneIsNamed", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, keyturn.AWSKMS{}, double.Config{})
		order := w.order()
		order.Current.ID = w.old.ID
		key, err := w.client.Make(t.Context(), order)
		if err != nil {
			t.Fatal(err)
		}
		if key.ID != w.kms.Keys()[1].ID {
			t.Errorf("named %s, want the id alone", key.ID)
		}
	})

	t.Run("MakesAMultiRegionKeyLikeOne", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, keyturn.AWSKMS{}, double.Config{})
		old := w.kms.Add(region, double.Key{MultiRegion: true})
		order := w.order()
		order.Current.ID = old.ARN
		if _, err := w.client.Make(t.Context(), order); err != nil {
			t.Fatal(err)
		}
		if made := w.kms.Keys()[2]; !made.MultiRegion {
			t.Errorf("made %+v, want one for several regions", made)
		}
	})

	t.Run("ReplacesTheOldKeysNameInItsPolicy", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, keyturn.AWSKMS{}, double.Config{})
		const (
			arn    = "arn:aws:kms:eu-west-1:111122223333:key/22222222-2222-3333-4444-555555555555"
			policy = `{"Statement":[{"Action":"kms:*","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Resource":[%[1]q]},` +
				`{"Action":"kms:Decrypt","Condition":{"StringLike":{"a":"<%[2]s>"}},"Effect":"Allow","Principal":"*","Resource":%[1]q}],"Version":"2012-10-17"}`
		)
		old := w.kms.Add(region, double.Key{ID: "22222222-2222-3333-4444-555555555555", Policy: fmt.Sprintf(policy, arn, arn)})
		order := w.order()
		order.Current.ID = old.ARN
		if _, err := w.client.Make(t.Context(), order); err != nil {
			t.Fatal(err)
		}
		if got, want := w.kms.Keys()[2].Policy, fmt.Sprintf(policy, "*", arn); got != want {
			t.Errorf("the policy is\n%s, want\n%s", got, want)
		}
	})

	t.Run("LeavesTheAliasThatNamesTheKeyInUse", func(t *testing.T) {
		t.Parallel()
		for _, alias := range []string{"alias/atlas", "arn:aws:kms:eu-west-1:111122223333:alias/atlas"} {
			w := newWorld(t, keyturn.AWSKMS{}, double.Config{})
			w.kms.Alias(region, "alias/atlas", w.old.ID)
			w.kms.Alias(region, "alias/other", w.old.ID)
			order := w.order()
			order.Current.ID = alias
			key, err := w.client.Make(t.Context(), order)
			if err != nil {
				t.Fatal(err)
			}
			if got := w.kms.AliasTarget(region, "alias/atlas"); got != w.old.ID {
				t.Errorf("Atlas's own name for its key leads to %s before Atlas knows of it", got)
			}
			if made := w.kms.Keys()[1]; key.ID != made.ARN || w.kms.AliasTarget(region, "alias/other") != made.ID {
				t.Errorf("made %s, alias/other leads to %s", key.ID, w.kms.AliasTarget(region, "alias/other"))
			}
		}
	})

	t.Run("MovesTheAliasOfTheSpec", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, keyturn.AWSKMS{Alias: "alias/atlas"}, double.Config{})
		w.kms.Alias(region, "alias/other", w.old.ID)
		key, err := w.client.Make(t.Context(), w.order())
		if err != nil {
			t.Fatal(err)
		}
		if got := w.kms.AliasTarget(region, "alias/atlas"); !strings.HasSuffix(key.ID, "/"+got) || got == "" {
			t.Errorf("the alias leads to %q, want %s", got, key.ID)
		}
		if got := w.kms.AliasTarget(region, "alias/other"); got != w.old.ID {
			t.Errorf("another alias was moved to %s", got)
		}
		second, err := w.client.Make(t.Context(), w.order())
		if err != nil {
			t.Fatal(err)
		}
		if got := w.kms.AliasTarget(region, "alias/atlas"); !strings.HasSuffix(second.ID, "/"+got) {
			t.Errorf("the alias leads to %q, want %s", got, second.ID)
		}
	})
}

func TestMakeTwice(t *testing.T) {
	t.Parallel()

	t.Run("FindsTheKeyOfTheTaskInANewProcess", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, keyturn.AWSKMS{}, double.Config{PageMost: 10})
		for range 35 { // several pages
			w.kms.Add(region, double.Key{CreatedAt: time.Now().Add(-30 * 24 * time.Hour)})
		}
		order := w.order()
		first, err := w.client.Make(t.Context(), order)
		if err != nil {
			t.Fatal(err)
		}
		other, err := w.client.Make(t.Context(), w.order())
		if err != nil || other.ID == first.ID {
			t.Fatalf("another task got %v, %v", other, err)
		}
		again := w.open(t, keyturn.AWSKMS{})
		found, ok, err := again.Find(t.Context(), order)
		if err != nil || !ok || found.ID != first.ID {
			t.Fatalf("found %+v, %v, %v, want %s", found, ok, err, first.ID)
		}
		second, err := again.Make(t.Context(), order)
		if err != nil || second.ID != first.ID || !second.CreatedAt.Equal(first.CreatedAt) {
			t.Fatalf("made %+v, %v, want %+v", second, err, first)
		}
		if got := w.kms.Calls("CreateKey"); got != 2 {
			t.Errorf("CreateKey was called %d times, want 2", got)
		}
	})

	t.Run("AsksForTheDatesOfOldKeysOnce", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, keyturn.AWSKMS{}, double.Config{})
		for range 30 {
			w.kms.Add(region, double.Key{CreatedAt: time.Now().Add(-30 * 24 * time.Hour)})
		}
		if _, _, err := w.client.Find(t.Context(), w.order()); err != nil {
			t.Fatal(err)
		}
		before := w.kms.Calls("DescribeKey")
		if _, _, err := w.client.Find(t.Context(), w.order()); err != nil {
			t.Fatal(err)
		}
		if got := w.kms.Calls("DescribeKey") - before; got != 0 {
			t.Errorf("the second look asked for %d dates again", got)
		}
		if got := w.kms.Calls("ListResourceTags"); got != 0 {
			t.Errorf("the tags of %d keys older than the task were read", got)
		}
	})

	t.Run("PassesOverKeysOfOthers", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, keyturn.AWSKMS{}, double.Config{})
		order := w.order()
		if _, err := w.client.Make(t.Context(), order); err != nil {
			t.Fatal(err)
		}
		again := w.open(t, keyturn.AWSKMS{})
		w.kms.Fail("DescribeKey", fault.FaultDenied) // one of the two
		found, ok, err := again.Find(t.Context(), w.order())
		if err != nil || ok {
			t.Errorf("found %+v, %v, %v", found, ok, err)
		}
	})

	t.Run("TheProcessThatMadeItFindsItBeforeAWSShowsIt", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, keyturn.AWSKMS{}, double.Config{Propagation: time.Minute})
		w.kms.Alias(region, "alias/atlas", w.old.ID)
		w.kms.Fail("UpdateAlias", fault.FaultThrottle)
		order := w.order()
		_, err := w.client.Make(t.Context(), order)
		if kind, code := kindOf(t, err, "alias/atlas"); kind != keyturn.KindAmbiguous || code != "kms_throttled" {
			t.Fatalf("%s %s, want ambiguous: nobody may look for the key at once", kind, code)
		}
		if _, err = w.client.Make(t.Context(), order); err != nil {
			t.Fatal(err)
		}
		if made := w.kms.MadeFor(order.Task); len(made) != 1 {
			t.Errorf("made %v", made)
		}
	})

	t.Run("ANewProcessFindsItOnceAWSShowsIt", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, keyturn.AWSKMS{}, double.Config{Propagation: time.Minute})
		order := w.order()
		w.kms.Fail("CreateKey", fault.FaultLost)
		_, err := w.client.Make(t.Context(), order)
		if kind, _ := kindOf(t, err); kind != keyturn.KindAmbiguous {
			t.Fatalf("kind is %s", kind)
		}
		w.now.Store(int64(2 * time.Minute)) // spec.timeouts.settle
		if _, err := w.open(t, keyturn.AWSKMS{}).Make(t.Context(), order); err != nil {
			t.Fatal(err)
		}
		if made := w.kms.MadeFor(order.Task); len(made) != 1 {
			t.Errorf("made %v", made)
		}
	})
}

// Each call that changes something is lost, in each way, and the task comes again in a new process.
func TestMakeComesAgainAfterTrouble(t *testing.T) {
	t.Parallel()
	type want struct {
		kind keyturn.ErrorKind
		code string
	}
	for _, operation := range []string{"CreateKey", "UpdateAlias", "DescribeKey", "GetKeyPolicy", "ListResourceTags", "ListKeys", "ListAliases"} {
		changes := operation == "CreateKey"
		after := operation == "UpdateAlias" // the key is there
		for f, w := range map[fault.Fault]want{
			fault.FaultLost:        {keyturn.KindAmbiguous, "kms_unanswered"},
			fault.FaultReset:       {keyturn.KindAmbiguous, "kms_unanswered"},
			fault.FaultErrorBefore: {keyturn.KindAmbiguous, "kms_server_error"},
			fault.FaultErrorAfter:  {keyturn.KindAmbiguous, "kms_server_error"},
			fault.FaultGarbage:     {keyturn.KindAmbiguous, "kms_server_error"},
			fault.FaultThrottle:    {keyturn.KindTransient, "kms_throttled"},
			fault.FaultDenied:      {keyturn.KindPermanent, "kms_denied"},
		} {
			if operation == "UpdateAlias" && f == fault.FaultGarbage {
				continue // it answers nothing anyway
			}
			t.Run(operation+"/"+string(f), func(t *testing.T) {
				t.Parallel()
				world := newWorld(t, keyturn.AWSKMS{}, double.Config{})
				world.kms.Alias(region, "alias/atlas", world.old.ID)
				world.kms.Fail(operation, f, f, f)
				if changes {
					world.kms.Fail(operation) // the library must not come again by itself
				}
				order := world.order()
				_, err := world.client.Make(t.Context(), order)
				kind, code := kindOf(t, err)
				expected := w
				if !changes && w.kind == keyturn.KindAmbiguous {
					expected.kind = keyturn.KindTransient
					if w.code == "kms_unanswered" {
						expected.code = "kms_network"
					}
				}
				if after {
					expected.kind = keyturn.KindAmbiguous
				}
				if kind != expected.kind || code != expected.code {
					t.Errorf("%v is %s %s, want %s %s", err, kind, code, expected.kind, expected.code)
				}
				if changes == after && len(world.kms.MadeFor(order.Task)) > 0 {
					t.Error("a key was made though something before it failed")
				}
				if changes || operation == "UpdateAlias" {
					if got := world.kms.Calls(operation); got != 1 {
						t.Errorf("%s was sent %d times", operation, got)
					}
					world.kms.Fail(operation) // what is queued stays for nobody
				}
				drainFaults(world.kms, operation)
				key, err := world.open(t, keyturn.AWSKMS{}).Make(t.Context(), order)
				if err != nil {
					t.Fatal(err)
				}
				if made := world.kms.MadeFor(order.Task); !slices.Equal(made, []string{key.ID}) {
					t.Errorf("made %v, want %s alone", made, key.ID)
				}
				if got := world.kms.AliasTarget(region, "alias/atlas"); !strings.HasSuffix(key.ID, "/"+got) {
					t.Errorf("the alias leads to %s, want %s", got, key.ID)
				}
			})
		}
	}
}

// drainFaults takes what is left of the faults that were queued.
func drainFaults(k *double.KMS, operation string) {
	for k.Take(operation) != fault.FaultNone {
	}
}

func TestMakeRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		old   double.Key
		ref   keyturn.KMSRef // what is not empty replaces that of old
		spec  keyturn.AWSKMS
		code  string
		words []string
	}{
		"imported":       {old: double.Key{Origin: "EXTERNAL"}, code: "kms_key_unusable", words: []string{"origin EXTERNAL", "provided"}},
		"asymmetric":     {old: double.Key{Spec: "RSA_2048"}, code: "kms_key_unusable", words: []string{"RSA_2048"}},
		"managed by AWS": {old: double.Key{Manager: "AWS"}, code: "kms_key_unusable", words: []string{"AWS manages it"}},
		"elsewhere":      {ref: keyturn.KMSRef{ID: "arn:aws:kms:us-east-1:111122223333:key/x"}, code: "kms_not_found", words: []string{"us-east-1", "another region or account"}},
		"no region":      {ref: keyturn.KMSRef{ID: "11111111-2222-3333-4444-555555555555", Region: "-"}, code: "kms_invalid_key_id", words: []string{"full ARN"}},
		"no ARN":         {ref: keyturn.KMSRef{ID: "arn:aws:s3:::bucket"}, code: "kms_invalid_key_id", words: []string{"arn:aws:kms:"}},
		"host in region": {ref: keyturn.KMSRef{ID: "arn:aws:kms:a.evil-example.com/:1:key/x"}, code: "kms_invalid_key_id", words: []string{"region"}},
		"in place":       {spec: keyturn.AWSKMS{Strategy: keyturn.StrategyInPlace}, code: "kms_unusable_config", words: []string{"in-place"}},
		"too many tags":  {spec: keyturn.AWSKMS{Tags: manyTags()}, code: "kms_unusable_config", words: []string{"tags"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.spec, double.Config{})
			old := w.kms.Add(region, tt.old)
			order := w.order()
			order.Current = keyturn.KMSRef{ID: old.ARN}
			if tt.ref.ID != "" {
				order.Current = tt.ref
			}
			_, err := w.client.Make(t.Context(), order)
			if kind, code := kindOf(t, err, tt.words...); kind != keyturn.KindPermanent || code != tt.code {
				t.Errorf("%v is %s %s, want permanent %s", err, kind, code, tt.code)
			}
			if got := w.kms.Calls("CreateKey"); got != 0 {
				t.Errorf("CreateKey was called %d times", got)
			}
		})
	}

	t.Run("a key that somebody disabled", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, keyturn.AWSKMS{}, double.Config{})
		order := w.order()
		key, err := w.client.Make(t.Context(), order)
		if err != nil {
			t.Fatal(err)
		}
		for state, wantKind := range map[string]keyturn.ErrorKind{
			"Disabled": keyturn.KindPermanent, "PendingDeletion": keyturn.KindPermanent, "Creating": keyturn.KindTransient,
		} {
			w.kms.SetState(key.ID, state)
			_, err := w.open(t, keyturn.AWSKMS{}).Make(t.Context(), order)
			if kind, _ := kindOf(t, err, key.ID); kind != wantKind {
				t.Errorf("%s: %v is %s, want %s", state, err, kind, wantKind)
			}
		}
		if made := w.kms.MadeFor(order.Task); len(made) != 1 {
			t.Errorf("made %v", made)
		}
	})
}

func manyTags() map[string]string {
	tags := map[string]string{}
	for i := range 50 {
		tags[fmt.Sprintf("tag%d", i)] = "x"
	}
	return tags
}

func TestCredentials(t *testing.T) {
	t.Parallel()

	t.Run("ThatAreWrong", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, keyturn.AWSKMS{}, double.Config{})
		c, err := aws.New(t.Context(), aws.Config{Spec: keyturn.AWSKMS{Endpoint: w.url}, AccessKeyID: "AKIAOTHER", SecretAccessKey: secret, Backoff: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, err = c.Make(t.Context(), w.order())
		if kind, code := kindOf(t, err, "spec.kms.aws.accessKeyId"); kind != keyturn.KindPermanent || code != "kms_credentials" {
			t.Errorf("%s %s", kind, code)
		}
	})

	t.Run("OfNoUse", func(t *testing.T) {
		t.Parallel()
		for _, cfg := range []aws.Config{
			{AccessKeyID: akid},
			{Spec: keyturn.AWSKMS{Strategy: keyturn.StrategyNewVersion}},
			{Spec: keyturn.AWSKMS{Alias: "atlas"}},
			{Spec: keyturn.AWSKMS{Endpoint: "localhost:1"}},
		} {
			if _, err := aws.New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "spec.kms.aws") {
				t.Errorf("%+v: %v", cfg, err)
			}
		}
	})
}

// Roles are assumed at AWS STS, whose address only the environment can change.
func TestRole(t *testing.T) {
	w := newWorld(t, keyturn.AWSKMS{}, double.Config{})
	t.Setenv("AWS_ENDPOINT_URL_STS", w.url)
	spec := keyturn.AWSKMS{RoleARN: "arn:aws:iam::111122223333:role/keyturn"}
	if _, err := w.open(t, spec).Make(t.Context(), w.order()); err != nil {
		t.Fatal(err)
	}
	w.kms.Fail("AssumeRole", fault.FaultDenied)
	_, err := w.open(t, spec).Make(t.Context(), w.order())
	if kind, code := kindOf(t, err, "roleArn"); kind != keyturn.KindPermanent || code != "kms_credentials" {
		t.Errorf("%v is %s %s", err, kind, code)
	}
}

func TestCredentialsOfTheEnvironment(t *testing.T) {
	w := newWorld(t, keyturn.AWSKMS{}, double.Config{})
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere", "AWS_PROFILE": "",
	} {
		t.Setenv(name, value)
	}
	open := func() *aws.Client {
		c, err := aws.New(t.Context(), aws.Config{Spec: keyturn.AWSKMS{Endpoint: w.url}, Backoff: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	_, err := open().Make(t.Context(), w.order())
	if kind, code := kindOf(t, err, "spec.kms.aws.accessKeyId"); kind != keyturn.KindTransient || code != "kms_credentials" {
		t.Errorf("%v is %s %s", err, kind, code)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", akid)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	if _, err := open().Make(t.Context(), w.order()); err != nil {
		t.Error(err)
	}
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	c, err := aws.New(t.Context(), aws.Config{Spec: keyturn.AWSKMS{Endpoint: server.URL}, AccessKeyID: akid, SecretAccessKey: secret, Backoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	order := keyturn.KMSOrder{Task: keyturn.NewID(time.Now()), Current: keyturn.KMSRef{ID: "arn:aws:kms:eu-west-1:111122223333:key/x"}}
	_, err = c.Make(t.Context(), order)
	if kind, code := kindOf(t, err); kind != keyturn.KindTransient || code != "kms_network" {
		t.Errorf("%v is %s %s", err, kind, code)
	}
}

func TestGivesUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, keyturn.AWSKMS{}, double.Config{})
	w.kms.Fail("CreateKey", fault.FaultHang)
	w.kms.Fail("DescribeKey", fault.FaultNone, fault.FaultNone, fault.FaultHang) // the model, and the date of the only key
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	order := w.order()
	w.kms.OnHang(cancel)
	_, err := w.client.Make(ctx, order)
	w.kms.OnHang(nil)
	if kind, code := kindOf(t, err); kind != keyturn.KindAmbiguous || code != "kms_unanswered" {
		t.Errorf("%v is %s %s", err, kind, code)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = w.client.Describe(ctx, order.Current)
	if kind, code := kindOf(t, err); kind != keyturn.KindTransient || code != "kms_timeout" {
		t.Errorf("%v is %s %s", err, kind, code)
	}
}

func TestInPlace(t *testing.T) {
	t.Parallel()
	spec := keyturn.AWSKMS{Strategy: keyturn.StrategyInPlace}
	w := newWorld(t, spec, double.Config{RotationTakes: time.Minute})
	ref := w.order().Current
	before, err := w.client.Describe(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	if *before.RotationsLeft != 25 || before.Rotating || before.ID != w.old.ARN || !strings.HasPrefix(before.Version, w.old.ARN+"#") {
		t.Errorf("before: %+v", before)
	}
	if err := w.client.Rotate(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	during, err := w.client.Describe(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	if !during.Rotating || during.Version != before.Version {
		t.Errorf("during: %+v", during)
	}
	err = w.client.Rotate(t.Context(), ref)
	if kind, code := kindOf(t, err, w.old.ARN); kind != keyturn.KindTransient || code != "kms_busy" {
		t.Errorf("%s %s", kind, code)
	}
	w.now.Store(int64(2 * time.Minute))
	after, err := w.client.Describe(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	if after.Rotating || after.Version == before.Version || after.ID != before.ID || *after.RotationsLeft != 24 || !after.CreatedAt.After(before.CreatedAt) {
		t.Errorf("after: %+v, before: %+v", after, before)
	}

	for range 24 {
		w.now.Add(int64(2 * time.Minute))
		if err := w.client.Rotate(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
	}
	w.now.Add(int64(2 * time.Minute))
	err = w.client.Rotate(t.Context(), ref)
	if kind, code := kindOf(t, err, "25"); kind != keyturn.KindPermanent || code != "kms_quota" {
		t.Errorf("%s %s", kind, code)
	}
	if last, err := w.client.Describe(t.Context(), ref); err != nil || *last.RotationsLeft != 0 {
		t.Errorf("last: %+v, %v", last, err)
	}
}

func TestInPlaceLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, keyturn.AWSKMS{Strategy: keyturn.StrategyInPlace}, double.Config{})
	w.kms.Fail("RotateKeyOnDemand", fault.FaultLost)
	err := w.client.Rotate(t.Context(), w.order().Current)
	if kind, _ := kindOf(t, err); kind != keyturn.KindAmbiguous {
		t.Errorf("%v is %s", err, kind)
	}
	if got := w.kms.Calls("RotateKeyOnDemand"); got != 1 || len(w.kms.Keys()[0].Rotations) != 1 {
		t.Errorf("it was sent %d times", got)
	}
}

func TestNewest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, keyturn.AWSKMS{Strategy: keyturn.StrategyProvided, Alias: "alias/atlas"}, double.Config{})
	_, err := w.client.Newest(t.Context(), w.order().Current)
	if kind, code := kindOf(t, err, "alias/atlas"); kind != keyturn.KindPermanent || code != "kms_not_found" {
		t.Errorf("%s %s", kind, code)
	}
	next := w.kms.Add(region, double.Key{})
	w.kms.Alias(region, "alias/atlas", next.ID)
	key, err := w.client.Newest(t.Context(), w.order().Current)
	if err != nil || key.ID != next.ARN {
		t.Errorf("newest is %+v, %v", key, err)
	}
	_, err = w.open(t, keyturn.AWSKMS{Strategy: keyturn.StrategyProvided}).Newest(t.Context(), w.order().Current)
	if kind, code := kindOf(t, err, "spec.kms.aws.alias"); kind != keyturn.KindPermanent || code != "kms_unusable_config" {
		t.Errorf("%s %s", kind, code)
	}
}

func TestDescribeAndDisable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, keyturn.AWSKMS{}, double.Config{})
	ref := w.order().Current
	key, err := w.client.Describe(t.Context(), ref)
	if err != nil || !key.Usable() || !key.CreatedAt.Equal(w.old.CreatedAt.Truncate(time.Millisecond)) || key.State != "Enabled" {
		t.Fatalf("%+v, %v", key, err)
	}
	for range 2 {
		if err := w.client.Disable(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
	}
	key, err = w.client.Describe(t.Context(), ref)
	if err != nil || key.Usable() || !strings.Contains(key.Reason, "disabled") {
		t.Errorf("%+v, %v", key, err)
	}
	w.kms.SetState(w.old.ID, "PendingDeletion")
	if key, err = w.client.Describe(t.Context(), ref); err != nil || !strings.Contains(key.Reason, "deleted") {
		t.Errorf("%+v, %v", key, err)
	}
	err = w.client.Disable(t.Context(), ref)
	if kind, code := kindOf(t, err); kind != keyturn.KindPermanent || code != "kms_key_unusable" {
		t.Errorf("%v is %s %s", err, kind, code)
	}
}
