package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// errGiven is the answer to taking down a server that others may use.
var errGiven = errors.New("the server of " + URLVariable + " is not ours to take down")

// Private reports whether the server is ours, so that it can be taken down.
func (s *Server) Private() bool { return s.private != nil }

// Down shuts the server down at once, as a crash does: connections are cut, nothing is
// written any more. It returns when the server has ended.
func (s *Server) Down(ctx context.Context) error {
	if s.private == nil {
		return errGiven
	}
	if err := os.WriteFile(s.private.down(), nil, 0o600); err != nil {
		return fmt.Errorf("taking postgres down: %w", err)
	}
	lock := filepath.Join(s.private.dir, "data", "postmaster.pid")
	content, err := os.ReadFile(lock) //nolint:gosec // our own server's
	if err != nil {
		return fmt.Errorf("taking postgres down: %w", err)
	}
	line, _, _ := bytes.Cut(content, []byte{'\n'})
	pid, err := strconv.Atoi(string(bytes.TrimSpace(line)))
	if err != nil {
		return fmt.Errorf("taking postgres down: reading %s: %w", lock, err)
	}
	if err := syscall.Kill(pid, syscall.SIGQUIT); err != nil {
		return fmt.Errorf("taking postgres down: %w", err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for syscall.Kill(pid, 0) == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for postgres to end: %w", ctx.Err())
		}
	}
	return nil
}

// Up starts a server that is down again, with the same URL, and returns when it answers.
func (s *Server) Up(ctx context.Context) error {
	if s.private == nil {
		return errGiven
	}
	if err := os.Remove(s.private.down()); err != nil {
		return fmt.Errorf("starting postgres again: %w", err)
	}
	if err := s.private.ready(ctx, s.url.String(), s.ended); err != nil {
		return fmt.Errorf("starting postgres again: %w", err)
	}
	return nil
}

func (p *private) down() string { return filepath.Join(p.dir, "down") }
