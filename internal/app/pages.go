package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/keyturn/keyturn/internal/api"
	"github.com/keyturn/keyturn/internal/web"
)

// openPages makes the pages, which ask the API in this process, and puts them beside it.
func (s *Server) openPages(apiHandler http.Handler, checks []api.Check, version string) (http.Handler, error) {
	ready := make([]web.Check, len(checks))
	for i, c := range checks {
		ready[i] = web.Check{Name: c.Name, Run: c.Run, Advice: c.Advice}
	}
	site, err := web.New(web.Config{
		API: apiHandler, Store: s.store, Ready: ready, Logger: s.log.Named("web"), Version: version,
	})
	if err != nil {
		return nil, fmt.Errorf("making the pages: %w", err)
	}
	s.site = site
	mux := http.NewServeMux()
	for _, path := range []string{"/api/", "/hooks/", "/openapi.json", "/healthz", "/readyz", "/metrics"} {
		mux.Handle(path, apiHandler)
	}
	mux.Handle("/", site)
	return mux, nil
}

// SignInURL is a link to the pages that signs the bearer of the token in, once and within ten minutes.
func (s *Server) SignInURL(ctx context.Context, token string) (string, error) {
	if s.site == nil {
		return "", errors.New("this server has no pages: it needs the role api")
	}
	path, err := s.site.SignInPath(ctx, token)
	return s.URL() + path, err
}
