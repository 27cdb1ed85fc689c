package api

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

// exportPause is how long the reader of an export may keep it waiting for each page of entries.
const exportPause = time.Minute

type exportAuditInput struct {
	Format string `query:"format" enum:"csv,jsonl" default:"csv" doc:"csv for a spreadsheet, jsonl for a program: one JSON object a line."`
}

// auditWriter writes entries in one of the formats.
type auditWriter interface {
	write(e keyturn.AuditEntry) error
	flush() error
}

// exportAudit sends the whole audit, however long it is, a page at a time. When a page can't be read, the
// connection is cut: half an audit must not look like all of it.
func (s *server) exportAudit(_ context.Context, in *exportAuditInput) (*huma.StreamResponse, error) {
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		kind, out := "text/csv; charset=utf-8", auditWriter(newCSVAudit(hc.BodyWriter()))
		if in.Format == "jsonl" {
			kind, out = "application/jsonl", lineAudit{json.NewEncoder(hc.BodyWriter())}
		}
		hc.SetHeader("Content-Type", kind)
		hc.SetHeader("Content-Disposition", `attachment; filename="keyturn-audit.`+in.Format+`"`)
		hc.SetStatus(http.StatusOK)
		if err := s.writeAudit(hc, out); err != nil {
			s.Logger.Error("exporting the audit", zap.Error(err), zap.String("request_id", requestID(hc.Context())))
			panic(http.ErrAbortHandler)
		}
	}}, nil
}

func (s *server) writeAudit(hc huma.Context, out auditWriter) error {
	page := keyturn.Page{Limit: 1000}
	for {
		if w, ok := hc.BodyWriter().(http.ResponseWriter); ok {
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(exportPause)) // a recorder has none
		}
		ctx, cancel := context.WithTimeout(hc.Context(), defaultTimeout)
		entries, next, err := s.Store.Audit(ctx, keyturn.AuditFilter{Page: page})
		cancel()
		if err != nil {
			return fmt.Errorf("reading the audit: %w", err)
		}
		for _, e := range entries {
			if err := out.write(e); err != nil {
				return fmt.Errorf("writing the audit: %w", err)
			}
		}
		if err := out.flush(); err != nil {
			return fmt.Errorf("writing the audit: %w", err)
		}
		if next == "" {
			return nil
		}
		page.After = next
	}
}

// lineAudit writes the entries as they are, one a line.
type lineAudit struct{ *json.Encoder }

func (l lineAudit) write(e keyturn.AuditEntry) error { return l.Encode(e) }

func (l lineAudit) flush() error { return nil }

// csvAudit writes entries as RFC 4180 says.
type csvAudit struct {
	out   *csv.Writer
	first bool
}

func newCSVAudit(w io.Writer) *csvAudit { return &csvAudit{out: csv.NewWriter(w), first: true} }

func (c *csvAudit) write(e keyturn.AuditEntry) error {
	if err := c.head(); err != nil {
		return err
	}
	record := []string{e.ID.String(), e.At.UTC().Format(time.RFC3339Nano), e.Actor, e.Action, e.Subject, e.Remote, e.Reason, string(e.Detail)}
	for i := range record {
		record[i] = harmless(record[i])
	}
	return c.out.Write(record)
}

func (c *csvAudit) head() error {
	if !c.first {
		return nil
	}
	c.first = false
	return c.out.Write([]string{"id", "at", "actor", "action", "subject", "remote", "reason", "detail"})
}

func (c *csvAudit) flush() error {
	if err := c.head(); err != nil {
		return err
	}
	c.out.Flush()
	return c.out.Error()
}

// harmless keeps a spreadsheet from taking a text, which anybody may have written, for a formula.
// See https://owasp.org/www-community/attacks/CSV_Injection
func harmless(s string) string {
	if s != "" && strings.ContainsAny(s[:1], "=+-@\t\r") {
		return "'" + s
	}
	return s
}
