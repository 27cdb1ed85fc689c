package web

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/keyturn/keyturn"
)

// maxForm bounds what a form may send.
const maxForm = 64 << 10

// view is what a page shows.
type view struct {
	Title string // of the document; also the heading
	Nav   string // the key of the navItem that it belongs to
	// Template is the name of a file in templates/ without its ending, which defines a template of the same name.
	Template string
	// Fragment is the template that a request of htmx gets, instead of the whole page; empty: Template.
	Fragment string
	Data     any
	Status   int // default 200
	Wide     bool
}

// visit is one request of somebody who is signed in.
type visit struct {
	*http.Request
	site    *Site
	session keyturn.Session
	hash    [32]byte
	// Problem is why the form that is shown again was refused; empty: it is shown for the first time.
	Problem string
}

// pageFunc makes a page. Its errors become error pages: an *apiError keeps its status.
type pageFunc func(ctx context.Context, v *visit) (*view, error)

// done says where to go after a change, and what to say there.
type done struct {
	To      string // a path of the site
	Message string // "Rotation cancelled."
}

// actionFunc makes a change.
type actionFunc func(ctx context.Context, v *visit) (done, error)

// page registers a page for those who are signed in.
func (s *Site) page(pattern string, show pageFunc) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		v, ok := s.enter(w, r)
		if !ok {
			return
		}
		s.show(w, v, show)
	})
}

// form registers a change at a path: GET shows what it will do and asks, POST does it. When the API
// refuses it, the form is shown again with the reason and what was filled in.
func (s *Site) form(path string, ask pageFunc, do actionFunc) {
	s.page("GET "+path, ask)
	s.mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		v, ok := s.enter(w, r)
		if !ok {
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			s.fail(w, v.Request, &v.session, &apiError{Status: http.StatusBadRequest, Detail: "the form can't be read: " + err.Error()})
			return
		}
		end, err := do(r.Context(), v)
		if refused, ok := errors.AsType[*apiError](err); ok && refused.again() {
			v.Problem = refused.Detail
			s.showAs(w, v, ask, refused.Status)
			return
		}
		if err != nil {
			s.fail(w, v.Request, &v.session, err)
			return
		}
		setFlash(w, r, end.Message)
		redirect(w, r, end.To)
	})
}

func (s *Site) show(w http.ResponseWriter, v *visit, show pageFunc) { s.showAs(w, v, show, 0) }

func (s *Site) showAs(w http.ResponseWriter, v *visit, show pageFunc, status int) {
	made, err := show(v.Context(), v)
	if err != nil {
		s.fail(w, v.Request, &v.session, err)
		return
	}
	if status != 0 {
		made.Status = status
	}
	s.render(w, v.Request, &v.session, made)
}

// shell is what the layout needs.
type shell struct {
	*view
	Session  *keyturn.Session // nil: nobody is signed in
	Nav      []navItem
	Active   string
	Theme    string // "", "light" or "dark"
	Flash    string
	Path     string // of this page, with its query
	Version  string
	Role     keyturn.Role
	Operator bool
}

// render answers with a page, or with the part of it that htmx asks for.
func (s *Site) render(w http.ResponseWriter, r *http.Request, session *keyturn.Session, v *view) {
	part := r.Header.Get("HX-Request") == "true" && r.Header.Get("HX-Boosted") != "true"
	page := shell{view: v, Session: session, Active: v.Nav, Theme: themeOf(r), Path: r.URL.RequestURI(), Version: s.Version}
	if session != nil {
		page.Nav, page.Role, page.Operator = navigation(), session.Role, session.Role.Covers(keyturn.RoleOperator)
	}
	if !part {
		page.Flash = takeFlash(w, r)
	}
	var body bytes.Buffer
	if err := s.templates.execute(&body, page, part); err != nil {
		s.Logger.Error("rendering a page", zap.String("template", v.Template), zap.String("path", r.URL.Path), zap.Error(err))
		http.Error(w, "something went wrong while drawing this page; the server's log says more", http.StatusInternalServerError)
		return
	}
	status := v.Status
	if status == 0 {
		status = http.StatusOK
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Vary", "Accept-Encoding, Cookie, HX-Request")
	writeCompressed(w, r, status, body.Bytes())
}

// failure is what an error page shows.
type failure struct {
	Title, Detail, Back string
}

// fail answers with an error page.
func (s *Site) fail(w http.ResponseWriter, r *http.Request, session *keyturn.Session, err error) {
	status, detail := http.StatusInternalServerError, "Something went wrong inside the server; its log says more."
	if refused, ok := errors.AsType[*apiError](err); ok {
		status, detail = refused.Status, refused.Detail
	} else if r.Context().Err() != nil {
		return // nobody reads it
	} else if away, ok := errors.AsType[*keyturn.UnavailableError](err); ok {
		s.Logger.Warn("a page failed, because the database is away", zap.String("path", r.URL.Path), zap.Error(err))
		status, detail = http.StatusServiceUnavailable, away.Advice
	} else {
		s.Logger.Error("a page failed", zap.String("path", r.URL.Path), zap.Error(err))
	}
	title := map[int]string{
		http.StatusForbidden:          "You may not do this",
		http.StatusNotFound:           "There is nothing here",
		http.StatusServiceUnavailable: "This does not work right now",
	}[status]
	if title == "" {
		title = "That did not work"
	}
	s.render(w, r, session, &view{
		Title: title, Template: "error", Status: status, Data: failure{Title: title, Detail: sentence(detail), Back: backOf(r)},
	})
}

// backOf is the page that the request came from, if it is one of the site.
func backOf(r *http.Request) string {
	from, err := url.Parse(r.Referer())
	if err != nil || from.Host != r.Host || from.RequestURI() == r.URL.RequestURI() {
		return "/"
	}
	return localPath(from.RequestURI())
}

// localPath returns the path if it leads to this site and nowhere else, "/" if not.
func localPath(p string) string {
	u, err := url.Parse(p)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(p, "/") || strings.HasPrefix(p, "//") || strings.ContainsAny(p, "\\\r\n\t") {
		return "/"
	}
	return p
}

// sentence begins with a capital and ends with a full stop.
func sentence(s string) string {
	if s == "" {
		return s
	}
	first, size := utf8.DecodeRuneInString(s)
	s = string(unicode.ToUpper(first)) + s[size:]
	if !strings.ContainsAny(s[len(s)-1:], ".!?") {
		s += "."
	}
	return s
}

func (s *Site) nowhere(w http.ResponseWriter, r *http.Request) {
	err := &apiError{Status: http.StatusNotFound, Detail: "there is no page at " + r.URL.Path}
	if v, err2 := s.identify(r); err2 == nil {
		s.fail(w, r, &v.session, err)
		return
	}
	s.fail(w, r, nil, err)
}
