package opsmanager_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/worker"
	"github.com/keyturn/keyturn/worker/opsmanager"
)

var _ worker.System = (*opsmanager.Client)(nil)

const keyBody = `{"clusterId":"c1","groupId":"p1","encryptionKeyUUID":"1234-3456"}`

func TestPrepareAndCurrent_ReturnTheKeyInUse(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.handle("GET "+keyPath, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Cache-Control") != "no-cache" || r.Header.Get("User-Agent") != "keyturn/1.2.3" || r.Header.Get("Accept") != "application/json" {
			t.Errorf("header %v", r.Header)
		}
		_, _ = io.WriteString(w, keyBody)
	})
	c := f.client(t)
	intent, err := c.Prepare(t.Context(), unitID, keyturn.ID{})
	if err != nil || intent.Before != "1234-3456" || intent.Want != "" {
		t.Errorf("Prepare = %+v, %v", intent, err)
	}
	key, err := c.Current(t.Context(), unitID)
	if err != nil || key != "1234-3456" {
		t.Errorf("Current = %q, %v", key, err)
	}
}

func TestApply_SendsOneEmptyPut(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 201, 202, 204} {
		f := newFake(t)
		f.handle("PUT "+keyPath, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil || len(body) != 0 || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Idempotency-Key") != "" {
				t.Errorf("body %q, %v, header %v", body, err, r.Header)
			}
			w.WriteHeader(status)
			if status != http.StatusNoContent {
				_, _ = io.WriteString(w, `{"encryptionKeyUUID":"never trust`)
			}
		})
		if err := f.client(t).Apply(t.Context(), unitID, keyturn.Intent{}); err != nil {
			t.Errorf("%d: %v", status, err)
		}
		if n := f.seen()["PUT "+keyPath]; n != 1 {
			t.Errorf("%d: %d PUTs", status, n)
		}
	}
}

func TestUnitsOfOtherTargetsAndStrangeIDsAreRefused(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	c := f.client(t)
	for _, unit := range []string{"other." + projectID + ".c1", "om.p", "om..c1", "om.p/../../admin.c1", "om.p.c1?x", ""} {
		if err := c.Apply(t.Context(), unit, keyturn.Intent{}); kindOf(err) != keyturn.KindPermanent {
			t.Errorf("Apply(%q) = %v", unit, err)
		}
		if _, err := c.Current(t.Context(), unit); kindOf(err) != keyturn.KindPermanent {
			t.Errorf("Current(%q) = %v", unit, err)
		}
	}
	if seen := f.seen(); len(seen) != 0 {
		t.Errorf("requests %v", seen)
	}
}

func TestRequestsPerSecond_BoundsTheRate(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.on("GET "+keyPath, http.StatusOK, keyBody)
	f.on("PUT "+keyPath, http.StatusCreated, "")
	c := f.client(t, func(cfg *opsmanager.Config) { cfg.Target.Limits.RequestsPerSecond = 0.001 })
	if _, err := c.Prepare(t.Context(), unitID, keyturn.ID{}); err != nil {
		t.Fatal(err)
	}
	// The change was paid for and must not wait; what comes after must.
	if err := c.Apply(t.Context(), unitID, keyturn.Intent{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := c.Current(ctx, unitID)
	want{transient, false, "requests_per_second", 0, "requestsPerSecond"}.check(t, "Current", err)
}

func TestObserve_IsToldOfEveryCall(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.on("GET "+keyPath, http.StatusOK, keyBody)
	f.on("PUT "+keyPath, http.StatusInternalServerError, "")
	var calls []string
	c := f.client(t, func(cfg *opsmanager.Config) {
		cfg.Observe = func(call opsmanager.Call) {
			if call.Took <= 0 {
				t.Errorf("%+v took no time", call)
			}
			calls = append(calls, call.Operation+" "+call.Code)
		}
	})
	_, _ = c.Prepare(t.Context(), unitID, keyturn.ID{})
	_ = c.Apply(t.Context(), unitID, keyturn.Intent{})
	if got := strings.Join(calls, ", "); got != "get_key ok, put_key http_500" {
		t.Errorf("observed %s", got)
	}
}
