package webhook_test

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/keyturn/keyturn"
)

// mailServer is an SMTP server of one connection, without TLS. It answers RCPT as told, and returns its
// address and what it was told.
func mailServer(t *testing.T, rcpt string) (url string, told func() string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan string, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			result <- err.Error()
			return
		}
		result <- talk(conn, rcpt)
	}()
	t.Cleanup(func() { _ = listener.Close() })
	return "smtp://" + listener.Addr().String(), func() string { return <-result }
}

func talk(conn net.Conn, rcpt string) string {
	defer func() { _ = conn.Close() }()
	var all strings.Builder
	say := func(line string) { _, _ = fmt.Fprintf(conn, "%s\r\n", line) }
	say("220 test ESMTP")
	in := bufio.NewScanner(conn)
	letter := false
	for in.Scan() {
		line := in.Text()
		all.WriteString(line + "\n")
		word := strings.ToUpper(strings.Fields(line + " -")[0])
		switch {
		case letter && line == ".":
			letter = false
			say("250 taken")
		case letter:
		case word == "DATA":
			letter = true
			say("354 go on")
		case word == "RCPT":
			say(rcpt)
		case word == "QUIT":
			say("221 bye")
			return all.String()
		default:
			say("250 test")
		}
	}
	return all.String()
}

func TestEmail(t *testing.T) {
	t.Parallel()
	url, told := mailServer(t, "250 ok")
	hook := keyturn.Webhook{
		Name: "w", URL: url, Format: keyturn.FormatEmail, Email: &keyturn.EmailRoute{From: "keyturn@example.com", To: []string{"a@example.com", "b@example.com"}},
	}
	d := delivery(t, "alert.firing", notice(keyturn.AlertFiring))
	if got := newSender(t, true).Send(t.Context(), hook, d); got.Err != nil || got.Status != 250 {
		t.Fatalf("got %+v", got)
	}
	letter := told()
	for _, text := range []string{
		"MAIL FROM:<keyturn@example.com>", "RCPT TO:<a@example.com>", "RCPT TO:<b@example.com>", "Subject: [Keyturn] WARNING: key.age",
		"Message-ID: <" + d.ID.String() + "@keyturn>", "References: <", "Auto-Submitted: auto-generated", "2 of 40 keys", "- om-prod.p1.c1",
	} {
		if !strings.Contains(letter, text) {
			t.Errorf("the letter lacks %q:\n%s", text, letter)
		}
	}
}

func TestEmailThatIsRefused(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		rcpt   string
		status int
		whole  bool
	}{
		"for good":    {"550 no such user", 550, false},
		"for a while": {"451 later", 451, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, _ := mailServer(t, tc.rcpt)
			hook := keyturn.Webhook{
				Name: "w", URL: url, Format: keyturn.FormatEmail, Email: &keyturn.EmailRoute{From: "keyturn@example.com", To: []string{"a@example.com"}},
			}
			got := newSender(t, true).Send(t.Context(), hook, delivery(t, "alert.firing", notice(keyturn.AlertFiring)))
			if got.Err == nil || got.Status != tc.status || got.Whole != tc.whole {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestPasswordIsNotSentInTheClear(t *testing.T) {
	t.Parallel()
	url, told := mailServer(t, "250 ok")
	hook := keyturn.Webhook{
		Name: "w", URL: url, Format: keyturn.FormatEmail,
		Email: &keyturn.EmailRoute{From: "keyturn@example.com", To: []string{"a@example.com"}, User: "u", Password: reference(t, "hunter2")},
	}
	got := newSender(t, true).Send(t.Context(), hook, delivery(t, "alert.firing", notice(keyturn.AlertFiring)))
	if got.Err == nil || !got.Whole {
		t.Errorf("got %+v, want it refused: the server offers no STARTTLS", got)
	}
	if letter := told(); strings.Contains(letter, "AUTH") || strings.Contains(letter, "MAIL FROM") {
		t.Errorf("the server was told\n%s", letter)
	}
}

func TestEmailKeepsToPublicAddresses(t *testing.T) {
	t.Parallel()
	url, _ := mailServer(t, "250 ok")
	hook := keyturn.Webhook{
		Name: "w", URL: url, Format: keyturn.FormatEmail, Email: &keyturn.EmailRoute{From: "keyturn@example.com", To: []string{"a@example.com"}},
	}
	got := newSender(t, false).Send(t.Context(), hook, delivery(t, "alert.firing", notice(keyturn.AlertFiring)))
	if got.Err == nil || !strings.Contains(got.Err.Error(), "private address") {
		t.Errorf("got %+v", got)
	}
}
