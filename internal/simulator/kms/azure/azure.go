// Package azure is a double of Azure Key Vault: what making, tagging, describing and disabling versions of keys needs
// of its REST API, behind the challenge for a token, and the endpoint of Microsoft Entra ID where tokens come from.
// It keeps everything in memory. Azure's libraries call https only: see Listen.
package azure

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/keyturn/keyturn/internal/simulator/kms"
)

// The tenant and the application whose tokens the vault accepts.
const (
	Tenant = "11111111-2222-3333-4444-555555555555"
	Client = "66666666-7777-8888-9999-000000000000"
)

// Config says how the double behaves.
type Config struct {
	VaultURL     string // in identifiers; default https://keyturn.vault.azure.net
	ClientSecret string // default "client-secret"
	// Propagation is how long a new version stays out of lists, and tags out of lists and answers.
	Propagation time.Duration
	// Inherit reports that a new version gets the tags of the one before.
	Inherit bool
	// Lifetime is how long new versions live; 0: for ever.
	Lifetime time.Duration
	Now      func() time.Time // default time.Now
}

// KMS is a vault, and the identity provider that it trusts. It is an http.Handler.
type KMS struct {
	kms.Desk
	cfg   Config
	token string

	mu   sync.Mutex
	keys map[string][]*Version // by name, oldest first
}

// Version is a version of a key.
type Version struct {
	ID        string // the identifier: https://VAULT/keys/NAME/VERSION
	CreatedAt time.Time
	Enabled   bool
	NotBefore time.Time // zero: always
	Expires   time.Time // zero: never
	Tags      map[string]string

	tagged time.Time // when the tags were put on
	before map[string]string
	made   bool // through the API
}

// New returns an empty vault.
func New(cfg Config) *KMS {
	cfg.VaultURL = cmp.Or(cfg.VaultURL, "https://keyturn.vault.azure.net")
	cfg.ClientSecret = cmp.Or(cfg.ClientSecret, "client-secret")
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &KMS{cfg: cfg, keys: map[string][]*Version{}, token: "eyJ." + rand.Text()}
}

// Add makes a version of a key, and the key, as if it had been made by hand, and returns its identifier.
func (k *KMS) Add(name string, v Version) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	v.Enabled = true
	return k.add(name, v).ID
}

func (k *KMS) add(name string, v Version) *Version {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	v.ID = k.cfg.VaultURL + "/keys/" + name + "/" + hex.EncodeToString(b[:])
	if v.CreatedAt.IsZero() {
		v.CreatedAt = k.cfg.Now()
	}
	v.Tags = maps.Clone(v.Tags)
	k.keys[name] = append(k.keys[name], &v)
	return &v
}

// Versions returns the versions of a key, oldest first: the truth.
func (k *KMS) Versions(name string) []Version {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make([]Version, len(k.keys[name]))
	for i, v := range k.keys[name] {
		out[i] = *v
		out[i].Tags = maps.Clone(v.Tags)
	}
	return out
}

// Change changes a version.
func (k *KMS) Change(id string, change func(*Version)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if v := k.find(id); v != nil {
		change(v)
	}
}

// Usable reports whether a version is there and enabled, and may be used now.
func (k *KMS) Usable(id string) (ok bool, state string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.cfg.Now()
	switch v := k.find(id); {
	case v == nil:
		return false, "KeyNotFound"
	case !v.Enabled:
		return false, "disabled"
	case !v.Expires.IsZero() && !now.Before(v.Expires):
		return false, "expired"
	case now.Before(v.NotBefore):
		return false, "not active yet"
	default:
		return true, "enabled"
	}
}

func (k *KMS) find(id string) *Version {
	for _, versions := range k.keys {
		for _, v := range versions {
			if v.ID == id {
				return v
			}
		}
	}
	return nil
}

// problem is an error as a vault words it.
type problem struct {
	status              int
	code, message, more string
}

func (p *problem) Error() string { return p.code + ": " + p.message }

// ServeHTTP answers one call.
func (k *KMS) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	switch {
	case strings.HasSuffix(req.URL.Path, "/.well-known/openid-configuration"):
		base := "https://" + req.Host + "/" + Tenant
		answer(w, map[string]any{
			"token_endpoint": base + "/oauth2/v2.0/token", "authorization_endpoint": base + "/oauth2/v2.0/authorize", "issuer": base + "/v2.0",
		}, nil)
		return
	case strings.HasSuffix(req.URL.Path, "/oauth2/v2.0/token"):
		k.serveToken(w, req)
		return
	case req.Header.Get("Authorization") != "Bearer "+k.token:
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer authorization="https://%s/%s", resource="https://vault.azure.net"`, req.Host, Tenant))
		answer(w, nil, &problem{status: http.StatusUnauthorized, code: "Unauthorized", message: "AKV10000: Request is missing a Bearer or PoP token."})
		return
	}
	operation, name, version := route(req)
	fault := k.Take(operation)
	var out any
	var err error
	if kms.Serve(w, req, fault, func() { out, err = k.execute(operation, name, version, req) }) {
		return
	}
	switch fault {
	case kms.FaultThrottle:
		w.Header().Set("Retry-After", "2")
		err = &problem{status: http.StatusTooManyRequests, code: "Throttled", message: "Request was not processed because too many requests were received."}
	case kms.FaultDenied:
		err = &problem{
			status: http.StatusForbidden, code: "Forbidden", more: "ForbiddenByRbac",
			message: "Caller is not authorized to perform action on resource.\r\nAction: 'Microsoft.KeyVault/vaults/keys/" + operation + "/action'",
		}
	case kms.FaultErrorBefore, kms.FaultErrorAfter:
		err = &problem{status: http.StatusInternalServerError, code: "InternalServerError", message: "An unexpected error occurred."}
	}
	answer(w, out, err)
}

func answer(w http.ResponseWriter, out any, err error) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	status := http.StatusOK
	if p, ok := err.(*problem); ok { //nolint:errorlint // it is never wrapped
		status = p.status
		body := map[string]any{"code": p.code, "message": p.message}
		if p.more != "" {
			body["innererror"] = map[string]any{"code": p.more}
		}
		out = map[string]any{"error": body}
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(out) // who hung up does not want it
}

// route finds the operation, the name of the key and the version.
func route(req *http.Request) (operation, name, version string) {
	parts := strings.Split(strings.Trim(req.URL.Path, "/"), "/")
	if len(parts) < 2 || parts[0] != "keys" {
		return "", "", ""
	}
	name = parts[1]
	if len(parts) > 2 {
		version = parts[2]
	}
	switch {
	case req.Method == http.MethodPost && version == "rotate":
		return "rotate", name, ""
	case req.Method == http.MethodPost && version == "create":
		return "create", name, ""
	case req.Method == http.MethodGet && version == "versions":
		return "versions", name, ""
	case req.Method == http.MethodGet:
		return "get", name, version
	case req.Method == http.MethodPatch && version != "":
		return "update", name, version
	}
	return "", name, version
}

func (k *KMS) execute(operation, name, version string, req *http.Request) (any, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	versions := k.keys[name]
	if len(versions) == 0 && operation != "create" {
		return nil, &problem{status: http.StatusNotFound, code: "KeyNotFound", message: "A key with (name/id) " + name + " was not found in this key vault."}
	}
	switch operation {
	case "rotate", "create":
		return k.show(k.make(name, operation == "rotate" && k.cfg.Inherit), true), nil
	case "versions":
		return k.list(versions, req), nil
	}
	v := k.find(k.cfg.VaultURL + "/keys/" + name + "/" + version)
	if operation == "get" && version == "" {
		v = versions[len(versions)-1]
	}
	switch {
	case v == nil:
		return nil, &problem{status: http.StatusNotFound, code: "KeyNotFound", message: "A key with (name/id) " + name + "/" + version + " was not found in this key vault."}
	case operation == "get":
		return k.show(v, true), nil
	case operation == "update":
		return k.update(v, req)
	default:
		return nil, &problem{status: http.StatusMethodNotAllowed, code: "MethodNotAllowed", message: req.Method}
	}
}

func (k *KMS) make(name string, inherit bool) *Version {
	v := Version{Enabled: true, made: true}
	if n := len(k.keys[name]); inherit && n > 0 {
		v.Tags = k.keys[name][n-1].Tags
	}
	if k.cfg.Lifetime > 0 {
		v.Expires = k.cfg.Now().Add(k.cfg.Lifetime)
	}
	return k.add(name, v)
}

func (k *KMS) update(v *Version, req *http.Request) (any, error) {
	var in struct {
		Attributes struct {
			Enabled *bool `json:"enabled"`
		} `json:"attributes"`
		Tags map[string]string `json:"tags"`
	}
	if err := json.NewDecoder(req.Body).Decode(&in); err != nil {
		return nil, &problem{status: http.StatusBadRequest, code: "BadParameter", message: err.Error()}
	}
	if in.Attributes.Enabled != nil {
		v.Enabled = *in.Attributes.Enabled
	}
	if in.Tags != nil { // they replace all that were there
		v.before, v.Tags, v.tagged = v.Tags, in.Tags, k.cfg.Now()
	}
	return k.show(v, true), nil
}

// show writes a version: as a bundle, or as a line of a list.
func (k *KMS) show(v *Version, bundle bool) map[string]any {
	attributes := map[string]any{
		"enabled": v.Enabled, "created": v.CreatedAt.Unix(), "updated": v.CreatedAt.Unix(), "recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90,
	}
	if !v.Expires.IsZero() {
		attributes["exp"] = v.Expires.Unix()
	}
	if !v.NotBefore.IsZero() {
		attributes["nbf"] = v.NotBefore.Unix()
	}
	tags := v.Tags
	if k.cfg.Now().Before(v.tagged.Add(k.cfg.Propagation)) {
		tags = v.before
	}
	out := map[string]any{"attributes": attributes, "tags": tags}
	if bundle {
		out["key"] = map[string]any{"kid": v.ID, "kty": "RSA", "key_ops": []string{"encrypt", "decrypt"}, "n": "AQAB", "e": "AQAB"}
	} else {
		out["kid"] = v.ID
	}
	return out
}

// pageMost is deliberately small, so that pages are turned.
const pageMost = 5

func (k *KMS) list(versions []*Version, req *http.Request) any {
	from, _ := strconv.Atoi(req.URL.Query().Get("$skiptoken"))
	out := map[string]any{"nextLink": nil}
	page := []any{}
	for i := from; i < len(versions); i++ {
		if len(page) == pageMost {
			out["nextLink"] = "https://" + req.Host + req.URL.Path + "?api-version=" + req.URL.Query().Get("api-version") + "&$skiptoken=" + strconv.Itoa(i)
			break
		}
		if v := versions[i]; !v.made || !k.cfg.Now().Before(v.CreatedAt.Add(k.cfg.Propagation)) {
			page = append(page, k.show(v, false))
		}
	}
	out["value"] = page
	return out
}

// serveToken gives a token to the application.
func (k *KMS) serveToken(w http.ResponseWriter, req *http.Request) {
	refuse := func(status int, code, description string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"error": code, "error_description": description + "\r\nTrace ID: 0\r\nTimestamp: now"})
	}
	fault := k.Take("token")
	switch {
	case req.ParseForm() != nil:
		refuse(http.StatusBadRequest, "invalid_request", "AADSTS900144: The request body is malformed.")
	case fault == kms.FaultDenied:
		refuse(http.StatusUnauthorized, "invalid_client", "AADSTS7000222: The provided client secret keys for app '"+Client+"' are expired.")
	case fault == kms.FaultErrorBefore:
		refuse(http.StatusServiceUnavailable, "temporarily_unavailable", "AADSTS90033: A transient error has occurred.")
	case req.PostForm.Get("client_id") != Client:
		refuse(http.StatusBadRequest, "unauthorized_client", "AADSTS700016: Application with identifier '"+req.PostForm.Get("client_id")+"' was not found in the directory.")
	case req.PostForm.Get("client_secret") != k.cfg.ClientSecret:
		refuse(http.StatusUnauthorized, "invalid_client", "AADSTS7000215: Invalid client secret provided.")
	default:
		answer(w, map[string]any{"access_token": k.token, "token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599}, nil)
	}
}
