package webhook

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/wneessen/go-mail"

	"github.com/keyturn/keyturn"
)

// mail sends an event by SMTP. A server that offers STARTTLS gets it, with its certificate verified; one
// that does not gets no password. Messages about the same thing refer to the same first one, so that mail
// programs show them together, and each has the delivery's id as its own: a repeat can be recognised.
func (s *Sender) mail(ctx context.Context, hook keyturn.Webhook, known secrets, c *client, e event) keyturn.SendResult {
	if hook.Email == nil {
		return unusable(errors.New("email is missing"))
	}
	u, err := url.Parse(strings.TrimSpace(known.url))
	if err != nil || u.Hostname() == "" || u.Scheme != "smtp" && u.Scheme != "smtps" {
		return unusable(errors.New("url: write smtp://HOST or smtps://HOST"))
	}
	letter, err := compose(hook, e)
	if err != nil {
		return unusable(err)
	}
	server, err := mailServer(hook, known, c, u)
	if err != nil {
		return unusable(err)
	}
	if err := server.DialAndSendWithContext(ctx, letter); err != nil {
		return mailResult(err, known)
	}
	return keyturn.SendResult{Status: 250}
}

func mailServer(hook keyturn.Webhook, known secrets, c *client, u *url.URL) (*mail.Client, error) {
	secure := u.Scheme == "smtps"
	port, err := strconv.Atoi(cmp.Or(u.Port(), map[bool]string{true: "465", false: "587"}[secure]))
	if err != nil {
		return nil, errors.New("url: the port must be a number")
	}
	config := &tls.Config{ServerName: u.Hostname(), RootCAs: c.roots, MinVersion: tls.VersionTLS12}
	policy := mail.TLSOpportunistic
	switch {
	case secure:
		policy = mail.NoTLS // it is there already
	case known.password != "":
		policy = mail.TLSMandatory
	}
	options := []mail.Option{
		mail.WithPort(port), mail.WithTLSPolicy(policy), mail.WithTLSConfig(config), mail.WithTimeout(hook.Timeout.Std()), mail.WithoutNoop(),
		mail.WithDialContextFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := c.guard.dial(ctx, network, address)
			if err != nil || !secure {
				return conn, err
			}
			return tls.Client(conn, config), nil
		}),
	}
	if known.password != "" {
		options = append(options, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(hook.Email.User), mail.WithPassword(known.password))
	}
	server, err := mail.NewClient(u.Hostname(), options...)
	if err != nil {
		return nil, fmt.Errorf("preparing the mail: %w", err)
	}
	return server, nil
}

func compose(hook keyturn.Webhook, e event) (*mail.Msg, error) {
	letter := mail.NewMsg()
	if err := letter.From(hook.Email.From); err != nil {
		return nil, errors.New("email.from is no address")
	}
	if err := letter.To(hook.Email.To...); err != nil {
		return nil, errors.New("email.to has something that is no address")
	}
	m := e.message()
	letter.Subject(cut("[Keyturn] "+m.title, 200))
	letter.SetDateWithValue(e.Time)
	letter.SetMessageIDWithValue(e.delivery.String() + "@keyturn")
	if e.notice != nil {
		sum := sha256.Sum256([]byte(e.notice.Group))
		letter.SetGenHeader(mail.HeaderReferences, "<"+hex.EncodeToString(sum[:16])+"@keyturn>")
	}
	letter.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: no holiday notes, please
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n", m.title)
	if m.text != "" {
		fmt.Fprintf(&text, "\n%s\n", m.text)
	}
	text.WriteString("\n")
	for _, f := range m.facts {
		fmt.Fprintf(&text, "%s: %s\n", f.name, f.value)
	}
	for i, line := range m.lines {
		if i == 0 {
			text.WriteString("\n")
		}
		fmt.Fprintf(&text, "- %s\n", line)
	}
	letter.SetBodyString(mail.TypeTextPlain, text.String())
	return letter, nil
}

func mailResult(err error, known secrets) keyturn.SendResult {
	out := keyturn.SendResult{Whole: true}
	if refused, ok := errors.AsType[*refusedError](err); ok {
		out.Err = refused
		return out
	}
	if failed, ok := errors.AsType[*mail.SendError](err); ok {
		out.Status = failed.ErrorCode()
		out.Whole = failed.IsTemp() || out.Status == 0
	}
	out.Err = fmt.Errorf("the mail was not taken: %s", excerpt(err.Error(), []string{known.password}))
	return out
}
