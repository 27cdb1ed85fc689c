package bus_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/keyturn/keyturn/internal/bus"
)

// A server whose disk has too little room for a stream refuses it, and says neither how much is needed nor of what.
func TestDeclare_WithoutRoomSaysWhatToDo(t *testing.T) {
	t.Parallel()
	url := startServer(t, func(opts *server.Options) { opts.JetStreamMaxStore = 100 << 20 })
	b, err := bus.Connect(t.Context(), bus.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close(t.Context()) })
	err = b.Declare(t.Context())
	if err == nil || !strings.Contains(err.Error(), "512 MB of the server's disk") || !strings.Contains(err.Error(), "max_file_store") {
		t.Errorf("declared with %v, want how much room is missing and what to do", err)
	}
}
