package storm_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"
	"time"
)

// until polls until what returns true.
func until(t testing.TB, most time.Duration, what string, is func() bool) {
	t.Helper()
	if !within(t.Context(), most, is) {
		t.Fatalf("waited %s for %s", most, what)
	}
}

func within(ctx context.Context, most time.Duration, is func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for !is() {
		if !pause(ctx, 30*time.Millisecond) {
			return false
		}
	}
	return true
}

// pause waits, and reports whether it was not cut short.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// fetch returns status 0 when there is no answer.
func fetch(ctx context.Context, url string) (int, []byte) {
	return call(ctx, http.MethodGet, url, nil)
}

func call(ctx context.Context, method, url string, body []byte) (int, []byte) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = resp.Body.Close() }()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil
	}
	return resp.StatusCode, content
}
