package atlas

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	prefixV1 = "/api/atlas/v1.0"
	prefixV2 = "/api/atlas/v2"
)

// problem is an error as Atlas answers it.
type problem struct {
	status int
	code   string
	detail string
	header http.Header
}

// codes are those of encryptionAtRest that are no 400.
func statusOf(code string) int {
	switch code {
	case "AWS_CUSTOMER_MASTER_KEY_NOT_FOUND":
		return http.StatusNotFound
	case "WRITES_NOT_ALLOWED_DURING_APP_UPGRADES":
		return http.StatusMethodNotAllowed
	case "CANNOT_ROTATE_KEY_ENCRYPTION_DISABLED", "CANNOT_DISABLE_ENCRYPTION_AT_REST", "CANNOT_CHANGE_ENCRYPTION_AT_REST_PROVIDER":
		return http.StatusConflict
	case "UNEXPECTED_ERROR":
		return http.StatusInternalServerError
	default:
		return http.StatusBadRequest
	}
}

func refuse(code, detail string) *problem {
	return &problem{status: statusOf(code), code: code, detail: detail}
}

func (p *problem) write(w http.ResponseWriter) {
	for name, values := range p.header {
		w.Header()[name] = values
	}
	writeJSON(w, p.status, map[string]any{
		"error": p.status, "errorCode": p.code, "reason": http.StatusText(p.status), "detail": p.detail, "parameters": []any{},
	})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // fails only when the client is gone
}

// ServeHTTP answers as Atlas does, and at /simulator/ to those who look behind it.
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodPost && r.URL.Path == "/api/oauth/token":
		s.serveToken(w, r)
	case r.Method == http.MethodPost && r.URL.Path == "/api/oauth/revoke":
		s.Revoke()
		w.WriteHeader(http.StatusOK)
	case strings.HasPrefix(r.URL.Path, "/simulator/"):
		s.serveControl(w, r)
	case !strings.HasPrefix(r.URL.Path, prefixV1+"/") && !strings.HasPrefix(r.URL.Path, prefixV2+"/"):
		(&problem{status: http.StatusNotFound, code: "RESOURCE_NOT_FOUND", detail: "Cannot find resource " + r.URL.Path}).write(w)
	default:
		s.serveLoggedIn(w, r)
	}
}

// serveLoggedIn lets service accounts in to version 2, and API keys.
func (s *Simulator) serveLoggedIn(w http.ResponseWriter, r *http.Request) {
	s.wait(s.cfg.Latency)
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !bearer {
		s.digest.ServeHTTP(w, r)
		return
	}
	s.mu.Lock()
	until, known := s.tokens[token]
	s.mu.Unlock()
	if !known || !s.cfg.Now().Before(until) || strings.HasPrefix(r.URL.Path, prefixV1) {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		(&problem{status: http.StatusUnauthorized, code: "UNAUTHORIZED", detail: "This resource requires access through a valid token."}).write(w)
		return
	}
	s.serveAPI(w, r)
}

// serveToken: https://www.mongodb.com/docs/atlas/api/service-accounts/generate-oauth2-token/
func (s *Simulator) serveToken(w http.ResponseWriter, r *http.Request) {
	s.count("POST token")
	id, secret, ok := r.BasicAuth()
	id, idErr := url.QueryUnescape(id)
	secret, secretErr := url.QueryUnescape(secret)
	switch {
	case r.FormValue("grant_type") != "client_credentials":
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "unsupported_grant_type"})
	case !ok || idErr != nil || secretErr != nil || id != s.cfg.ClientID || secret != s.cfg.ClientSecret:
		writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client", "error_description": "Invalid credentials provided."})
	default:
		s.mu.Lock()
		token := "eyJ" + randomHex(24)
		s.tokens[token] = s.cfg.Now().Add(s.cfg.TokenLife)
		s.mu.Unlock()
		writeJSON(w, http.StatusOK, map[string]any{"access_token": token, "expires_in": int(s.cfg.TokenLife / time.Second), "token_type": "Bearer"})
	}
}

// call is one request that was let in.
type call struct {
	s        *Simulator
	w        http.ResponseWriter
	r        *http.Request
	v1       bool
	path     []string // below the API: groups, ID, encryptionAtRest
	resource string
}

func (s *Simulator) serveAPI(w http.ResponseWriter, r *http.Request) {
	c := &call{s: s, w: w, r: r}
	rest, v1 := strings.CutPrefix(r.URL.Path, prefixV1)
	c.v1 = v1
	if !v1 {
		rest = strings.TrimPrefix(r.URL.Path, prefixV2)
	}
	c.path = strings.Split(strings.Trim(rest, "/"), "/")
	c.resource = c.path[0]
	if len(c.path) > 2 {
		c.resource = c.path[len(c.path)-1]
		if len(c.path) == 4 && c.path[2] == "alertConfigs" {
			c.resource = "alertConfigs"
		}
	}
	s.count(r.Method + " " + c.resource)
	if p := c.serve(); p != nil {
		p.write(w)
	}
}

func (c *call) serve() *problem {
	c.s.mu.Lock()
	access := c.s.access
	c.s.mu.Unlock()
	if !access {
		return &problem{status: http.StatusForbidden, code: "IP_ADDRESS_NOT_ON_ACCESS_LIST", detail: "IP address 203.0.113.7 is not allowed to access this resource."}
	}
	if p := c.version(); p != nil {
		return p
	}
	if c.path[0] != "groups" {
		return c.unknown()
	}
	if len(c.path) == 1 {
		return c.projects()
	}
	c.s.state.mu.Lock()
	p := c.s.state.projects[c.path[1]]
	c.s.state.mu.Unlock()
	if p == nil {
		return &problem{status: http.StatusNotFound, code: "GROUP_NOT_FOUND", detail: "No group with ID " + c.path[1] + " exists."}
	}
	if limited := c.limit(p.ID); limited != nil {
		return limited
	}
	if c.r.Method == http.MethodPatch && c.resource == "encryptionAtRest" {
		return c.patchEncryption(p)
	}
	switch c.s.draw(http.MethodGet, p.ID) {
	case faultErrorBefore, faultErrorAfter:
		return &problem{status: http.StatusInternalServerError, code: "UNEXPECTED_ERROR", detail: "Unexpected error."}
	case faultTooMany:
		return c.tooMany()
	case faultResetBefore, faultResetAfter, faultLate:
		abort()
	case faultSlow:
		c.s.wait(c.s.delays().slow)
	case faultNone:
	}
	return c.read(p)
}

func (c *call) unknown() *problem {
	return &problem{status: http.StatusNotFound, code: "RESOURCE_NOT_FOUND", detail: "Cannot find resource " + c.r.URL.Path + "."}
}

// versions are the dates at which each resource changed.
func versions(resource string) []string {
	switch resource {
	case "clusters":
		return []string{"2023-01-01", "2023-02-01", "2024-08-05"}
	default:
		return []string{"2023-01-01"}
	}
}

// version finds the version that is asked for: https://www.mongodb.com/docs/atlas/api/versioned-api-overview/
func (c *call) version() *problem {
	if c.v1 {
		return nil
	}
	accept := c.r.Header.Get("Accept")
	found := regexp.MustCompile(`^application/vnd\.atlas\.(\d{4}-\d{2}-\d{2})\+json$`).FindStringSubmatch(accept)
	if found == nil {
		return &problem{status: http.StatusNotAcceptable, code: "INVALID_VERSION_DATE", detail: "There is no version number in the request."}
	}
	if _, err := time.Parse(time.DateOnly, found[1]); err != nil {
		return refuse("INVALID_VERSION_DATE", "Invalid accept header or version date.")
	}
	best := ""
	for _, v := range versions(c.resource) {
		if v <= found[1] {
			best = v
		}
	}
	if best == "" {
		return &problem{status: http.StatusNotAcceptable, code: "INVALID_VERSION_DATE", detail: "Invalid accept header or version date."}
	}
	if end, ended := c.s.cfg.Ended[c.resource]; ended {
		return &problem{status: http.StatusGone, code: "API_VERSION_SUNSET", detail: "This version ended on " + end + "."}
	}
	if end, ok := c.s.cfg.Deprecated[c.resource]; ok {
		c.w.Header().Set("Deprecation", "Sun, 01 Feb 2026 00:00:00 GMT")
		c.w.Header().Set("Sunset", end)
	}
	c.w.Header().Set("Content-Type", "application/vnd.atlas."+best+"+json")
	return nil
}

// limit is the token bucket of a project; it is never refilled but by a 429.
func (c *call) limit(project string) *problem {
	if c.s.cfg.Remaining == 0 {
		return nil
	}
	c.w.Header().Set("RateLimit-Limit", strconv.Itoa(c.s.cfg.Remaining))
	left, ok := c.s.take(project)
	if !ok {
		return c.tooMany()
	}
	c.w.Header().Set("RateLimit-Remaining", strconv.Itoa(left))
	return nil
}

func (c *call) tooMany() *problem {
	after := int(c.s.delays().retryAfter / time.Second)
	return &problem{
		status: http.StatusTooManyRequests, code: "RATE_LIMITED_TOKEN_BUCKET", header: http.Header{"Retry-After": {strconv.Itoa(after)}},
		detail: "Rate limit exceeded for " + strings.TrimPrefix(c.r.URL.Path, "/") + ". Please retry after " + strconv.Itoa(after) + " seconds.",
	}
}

func (c *call) projects() *problem {
	c.s.state.mu.Lock()
	defer c.s.state.mu.Unlock()
	all := []any{}
	for _, id := range c.s.state.order {
		all = append(all, map[string]any{"id": id, "name": c.s.state.projects[id].Name, "orgId": "5f0000000000000000000001"})
	}
	c.page(all)
	return nil
}

// page answers one page of a list.
func (c *call) page(all []any) {
	size, err := strconv.Atoi(c.r.FormValue("itemsPerPage"))
	if err != nil || size < 1 || size > 500 {
		size = 100
	}
	n, err := strconv.Atoi(c.r.FormValue("pageNum"))
	if err != nil || n < 1 {
		n = 1
	}
	from, to := min((n-1)*size, len(all)), min(n*size, len(all))
	links := []any{map[string]any{"rel": "self", "href": "https://cloud.mongodb.com" + c.r.URL.Path}}
	if to < len(all) {
		links = append(links, map[string]any{"rel": "next", "href": "https://cloud.mongodb.com" + c.r.URL.Path + "?pageNum=" + strconv.Itoa(n+1)})
	}
	writeJSON(c.w, http.StatusOK, map[string]any{"results": all[from:to], "totalCount": len(all), "links": links})
}
