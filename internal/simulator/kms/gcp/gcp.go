// Package gcp is a double of Google Cloud KMS: what making, describing and disabling versions of keys needs of the
// REST API, and the endpoint where service accounts get their tokens. It keeps everything in memory.
package gcp

import (
	"cmp"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/keyturn/keyturn/internal/simulator/kms"
)

// Config says how the double behaves.
type Config struct {
	// Account is the service account whose tokens are accepted; empty: calls need no token.
	Account string
	// GenerationTakes is how long a new version is PENDING_GENERATION.
	GenerationTakes time.Duration
	Now             func() time.Time // default time.Now
}

// KMS is the Cloud KMS of all projects. It is an http.Handler.
type KMS struct {
	kms.Desk
	cfg Config

	mu    sync.Mutex
	keys  map[string][]*Version // by projects/P/locations/L/keyRings/R/cryptoKeys/K
	token string
}

// Version is a version of a key.
type Version struct {
	Name      string
	CreatedAt time.Time
	State     string // what a person made of it; empty: ENABLED, once it is generated
	Made      bool   // through the API
}

// New returns a Cloud KMS without keys.
func New(cfg Config) *KMS {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &KMS{cfg: cfg, keys: map[string][]*Version{}, token: "ya29." + rand.Text()}
}

// Add makes a version of a key, and the key, as if it had been made by hand, and returns its name.
func (k *KMS) Add(key string, createdAt time.Time) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.add(key, createdAt).Name
}

func (k *KMS) add(key string, createdAt time.Time) *Version {
	v := &Version{Name: key + "/cryptoKeyVersions/" + strconv.Itoa(len(k.keys[key])+1), CreatedAt: createdAt}
	k.keys[key] = append(k.keys[key], v)
	return v
}

// Versions returns the versions of a key: the truth.
func (k *KMS) Versions(key string) []Version {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make([]Version, len(k.keys[key]))
	for i, v := range k.keys[key] {
		out[i] = *v
		out[i].State = k.state(v)
	}
	return out
}

// SetState changes a version's state: DISABLED, DESTROY_SCHEDULED, DESTROYED, ….
func (k *KMS) SetState(name, state string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if v := k.find(name); v != nil {
		v.State = state
	}
}

// Usable reports whether a version is there and enabled; the reason otherwise is its state, or NOT_FOUND.
func (k *KMS) Usable(name string) (ok bool, state string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	v := k.find(name)
	if v == nil {
		return false, "NOT_FOUND"
	}
	return k.state(v) == "ENABLED", k.state(v)
}

// CredentialsJSON returns a key file of the account, for a double that answers at url.
func (k *KMS) CredentialsJSON(url string) (string, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return "", fmt.Errorf("making the account's key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", fmt.Errorf("writing the account's key: %w", err)
	}
	file, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "demo", "private_key_id": "1",
		"private_key":  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"client_email": k.cfg.Account, "client_id": "1", "token_uri": url + "/token",
	})
	return string(file), err
}

func (k *KMS) find(name string) *Version {
	key, _, _ := strings.Cut(name, "/cryptoKeyVersions/")
	for _, v := range k.keys[key] {
		if v.Name == name {
			return v
		}
	}
	return nil
}

func (k *KMS) state(v *Version) string {
	if v.State == "" && v.Made && k.cfg.Now().Before(v.CreatedAt.Add(k.cfg.GenerationTakes)) {
		return "PENDING_GENERATION"
	}
	return cmp.Or(v.State, "ENABLED")
}

// problem is an error as Google words it.
type problem struct {
	code    int
	status  string
	message string
}

func (p *problem) Error() string { return p.status + ": " + p.message }

// ServeHTTP answers one call.
func (k *KMS) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.URL.Path == "/token" {
		k.serveToken(w, req)
		return
	}
	if k.cfg.Account != "" && req.Header.Get("Authorization") != "Bearer "+k.token {
		answer(w, nil, &problem{http.StatusUnauthorized, "UNAUTHENTICATED", "Request had invalid authentication credentials."})
		return
	}
	operation, name := route(req)
	fault := k.Take(operation)
	var out any
	var err error
	if kms.Serve(w, req, fault, func() { out, err = k.execute(operation, name, req) }) {
		return
	}
	switch fault {
	case kms.FaultThrottle:
		err = &problem{http.StatusTooManyRequests, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'Cryptographic requests'."}
	case kms.FaultDenied:
		err = &problem{http.StatusForbidden, "PERMISSION_DENIED", "Permission 'cloudkms." + operation + "' denied on resource '" + name + "' (or it may not exist)."}
	case kms.FaultErrorBefore, kms.FaultErrorAfter:
		err = &problem{http.StatusInternalServerError, "INTERNAL", "Internal error encountered."}
	}
	answer(w, out, err)
}

func answer(w http.ResponseWriter, out any, err error) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	status := http.StatusOK
	if p, ok := err.(*problem); ok { //nolint:errorlint // it is never wrapped
		status = p.code
		out = map[string]any{"error": map[string]any{"code": p.code, "message": p.message, "status": p.status}}
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(out) // who hung up does not want it
}

var resource = regexp.MustCompile(`^/v1/(projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+)(/cryptoKeyVersions(/\d+)?)?$`)

// route finds the operation, and the name of the key or version.
func route(req *http.Request) (operation, name string) {
	parts := resource.FindStringSubmatch(req.URL.Path)
	if parts == nil {
		return "", req.URL.Path
	}
	collection, single := parts[2] != "", parts[3] != ""
	switch {
	case req.Method == http.MethodGet && !collection:
		return "cryptoKeys.get", parts[1]
	case req.Method == http.MethodGet && single:
		return "cryptoKeyVersions.get", parts[1] + parts[2]
	case req.Method == http.MethodPatch && single:
		return "cryptoKeyVersions.update", parts[1] + parts[2]
	case req.Method == http.MethodGet && collection:
		return "cryptoKeyVersions.list", parts[1]
	case req.Method == http.MethodPost && collection && !single:
		return "cryptoKeyVersions.create", parts[1]
	}
	return "", req.URL.Path
}

func (k *KMS) execute(operation, name string, req *http.Request) (any, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	missing := &problem{http.StatusNotFound, "NOT_FOUND", name + " not found."}
	switch operation {
	case "cryptoKeys.get", "cryptoKeyVersions.list", "cryptoKeyVersions.create":
		if k.keys[name] == nil {
			return nil, missing
		}
	case "cryptoKeyVersions.get", "cryptoKeyVersions.update":
		if k.find(name) == nil {
			return nil, missing
		}
	default:
		return nil, missing
	}
	switch operation {
	case "cryptoKeys.get":
		return map[string]any{"name": name, "purpose": "ENCRYPT_DECRYPT"}, nil
	case "cryptoKeyVersions.list":
		return k.list(name, req), nil
	case "cryptoKeyVersions.create":
		v := k.add(name, k.cfg.Now())
		v.Made = true
		return k.show(v), nil
	case "cryptoKeyVersions.update":
		return k.update(k.find(name), req)
	default:
		return k.show(k.find(name)), nil
	}
}

func (k *KMS) show(v *Version) map[string]any {
	return map[string]any{
		"name": v.Name, "state": k.state(v), "createTime": v.CreatedAt.UTC().Format(time.RFC3339Nano),
		"protectionLevel": "SOFTWARE", "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION",
	}
}

// pageMost is deliberately small, so that pages are turned.
const pageMost = 10

func (k *KMS) list(key string, req *http.Request) any {
	from, _ := strconv.Atoi(req.URL.Query().Get("pageToken"))
	out := map[string]any{"totalSize": len(k.keys[key])}
	page := []any{}
	for i := from; i < len(k.keys[key]); i++ {
		if len(page) == pageMost {
			out["nextPageToken"] = strconv.Itoa(i)
			break
		}
		page = append(page, k.show(k.keys[key][i]))
	}
	out["cryptoKeyVersions"] = page
	return out
}

func (k *KMS) update(v *Version, req *http.Request) (any, error) {
	var in struct {
		State any `json:"state"`
	}
	if json.NewDecoder(req.Body).Decode(&in) != nil || req.URL.Query().Get("updateMask") != "state" {
		return nil, &problem{http.StatusBadRequest, "INVALID_ARGUMENT", "only the state can be changed"}
	}
	if state := k.state(v); state != "ENABLED" && state != "DISABLED" {
		return nil, &problem{http.StatusBadRequest, "FAILED_PRECONDITION", v.Name + " is in state " + state + "."}
	}
	// https://cloud.google.com/kms/docs/reference/rpc/google.cloud.kms.v1#cryptokeyversionstate
	switch fmt.Sprint(in.State) {
	case "1", "ENABLED":
		v.State = "ENABLED"
	case "2", "DISABLED":
		v.State = "DISABLED"
	default:
		return nil, &problem{http.StatusBadRequest, "INVALID_ARGUMENT", fmt.Sprintf("state %v", in.State)}
	}
	return k.show(v), nil
}

// serveToken gives a token to the account. It looks at who asks, not at the signature.
func (k *KMS) serveToken(w http.ResponseWriter, req *http.Request) {
	fault := k.Take("token")
	w.Header().Set("Content-Type", "application/json")
	var claims struct {
		Issuer string `json:"iss"`
	}
	if req.ParseForm() == nil {
		if parts := strings.Split(req.PostForm.Get("assertion"), "."); len(parts) == 3 {
			payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
			_ = json.Unmarshal(payload, &claims) // then it is nobody's
		}
	}
	if claims.Issuer != k.cfg.Account || fault != kms.FaultNone {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprint(w, `{"error":"invalid_grant","error_description":"Invalid JWT Signature."}`)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": k.token, "token_type": "Bearer", "expires_in": 3600})
}
