// Package aws is a double of AWS KMS: the operations that making, describing and retiring keys needs, in the JSON
// 1.1 protocol that the official libraries speak, and AssumeRole of AWS STS. It keeps everything in memory.
package aws

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/simulator/kms"
)

// DefaultAccount owns the keys.
const DefaultAccount = "111122223333"

// Config says how the double behaves.
type Config struct {
	Account string // default DefaultAccount
	// AccessKeyID is the only one that is accepted; empty: any. Signatures are not checked.
	AccessKeyID string
	// Propagation is how long a new key, and its tags, stay out of ListKeys and ListResourceTags.
	Propagation time.Duration
	// RotationTakes is how long a rotation on demand is under way.
	RotationTakes time.Duration
	// PageMost is how many keys a page of ListKeys has at most, whatever was asked for; 0: as many as asked for.
	PageMost int
	Now      func() time.Time // default time.Now
}

// KMS is an account's AWS KMS, in all regions. It is an http.Handler.
type KMS struct {
	kms.Desk
	cfg Config

	mu      sync.Mutex
	keys    []*Key            // in the order in which they were made
	aliases map[string]string // REGION/alias/NAME: id of a key
}

// Key is a key that was made.
type Key struct {
	ID, ARN, Region string
	CreatedAt       time.Time
	State           string // Enabled, Disabled, PendingDeletion, Creating, …
	Description     string
	Policy          string
	Tags            map[string]string
	MultiRegion     bool
	Spec, Usage     string
	Origin, Manager string
	Rotations       []Rotation
}

// Rotation is one that was asked for, on demand.
type Rotation struct {
	At       time.Time // when it is, or was, complete
	Material string
}

// New returns an empty account.
func New(cfg Config) *KMS {
	cfg.Account = cmp.Or(cfg.Account, DefaultAccount)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &KMS{cfg: cfg, aliases: map[string]string{}}
}

// Add puts a key into a region, as if it had been made by hand. What key leaves empty is as in an ordinary key.
func (k *KMS) Add(region string, key Key) Key {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.add(region, key).clone()
}

// Alias makes an alias lead to a key.
func (k *KMS) Alias(region, name, id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.aliases[region+"/"+name] = id
}

// AliasTarget returns the id of the key that an alias leads to.
func (k *KMS) AliasTarget(region, name string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.aliases[region+"/"+name]
}

// Keys returns every key that there is, oldest first: the truth.
func (k *KMS) Keys() []Key {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make([]Key, len(k.keys))
	for i, key := range k.keys {
		out[i] = key.clone()
	}
	return out
}

// MadeFor returns the ARNs of the keys that carry the task's tag.
func (k *KMS) MadeFor(task keyturn.ID) []string {
	var out []string
	for _, key := range k.Keys() {
		if key.Tags["keyturn-task"] == task.String() {
			out = append(out, key.ARN)
		}
	}
	return out
}

// SetState changes a key's state.
func (k *KMS) SetState(id, state string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if key := k.find("", id); key != nil {
		key.State = state
	}
}

// Usable reports whether a key, by its id or ARN, is there and enabled; the reason otherwise is its state, or "NotFound".
func (k *KMS) Usable(id string) (ok bool, state string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key := k.find("", id)
	if key == nil {
		return false, "NotFound"
	}
	return key.State == "Enabled", key.State
}

func (k *Key) clone() Key {
	c := *k
	c.Tags = map[string]string{}
	for name, value := range k.Tags {
		c.Tags[name] = value
	}
	c.Rotations = slices.Clone(k.Rotations)
	return c
}

func (k *KMS) add(region string, key Key) *Key {
	key.Region = region
	if key.ID == "" {
		id := keyturn.NewID(k.cfg.Now())
		key.ID = id.String()
		if key.MultiRegion {
			key.ID = "mrk-" + hex.EncodeToString(id[:])
		}
	}
	key.ARN = "arn:aws:kms:" + region + ":" + k.cfg.Account + ":key/" + key.ID
	if key.CreatedAt.IsZero() {
		key.CreatedAt = k.cfg.Now()
	}
	key.State = cmp.Or(key.State, "Enabled")
	key.Policy = cmp.Or(key.Policy, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::`+k.cfg.Account+`:root"},"Action":"kms:*","Resource":"*"}]}`)
	key.Spec, key.Usage = cmp.Or(key.Spec, "SYMMETRIC_DEFAULT"), cmp.Or(key.Usage, "ENCRYPT_DECRYPT")
	key.Origin, key.Manager = cmp.Or(key.Origin, "AWS_KMS"), cmp.Or(key.Manager, "CUSTOMER")
	key = key.clone()
	k.keys = append(k.keys, &key)
	return &key
}

// find finds a key by its id, its ARN, or an alias or an alias' ARN. region may be empty for ids and ARNs.
func (k *KMS) find(region, id string) *Key {
	if rest, ok := strings.CutPrefix(id, "arn:aws:kms:"); ok {
		parts := strings.SplitN(rest, ":", 3)
		if len(parts) != 3 || region != "" && parts[0] != region || parts[1] != k.cfg.Account {
			return nil
		}
		region, id = parts[0], strings.TrimPrefix(parts[2], "key/")
	}
	if strings.HasPrefix(id, "alias/") {
		id = k.aliases[region+"/"+id]
	}
	for _, key := range k.keys {
		if key.ID == id && (region == "" || key.Region == region) {
			return key
		}
	}
	return nil
}

// material names a key's material after n rotations.
func material() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// problem is an error as AWS words it.
type problem struct {
	status int
	code   string
	text   string
}

func (p *problem) Error() string { return p.code + ": " + p.text }

func refuse(code, format string, args ...any) error {
	return &problem{status: http.StatusBadRequest, code: code, text: fmt.Sprintf(format, args...)}
}

// ServeHTTP answers one call.
func (k *KMS) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Header.Get("X-Amz-Target") == "" {
		k.serveSTS(w, req)
		return
	}
	operation := strings.TrimPrefix(req.Header.Get("X-Amz-Target"), "TrentService.")
	var in map[string]any
	if err := json.NewDecoder(http.MaxBytesReader(w, req.Body, 1<<20)).Decode(&in); err != nil {
		answer(w, nil, refuse("SerializationException", "the body is no JSON"))
		return
	}
	region, err := k.authorized(req)
	if err != nil {
		answer(w, nil, err)
		return
	}
	fault := k.Take(operation)
	var out any
	if kms.Serve(w, req, fault, func() { out, err = k.execute(region, operation, in) }) {
		return
	}
	switch fault {
	case kms.FaultThrottle:
		err = &problem{http.StatusBadRequest, "ThrottlingException", "Rate exceeded"}
	case kms.FaultDenied:
		err = &problem{http.StatusBadRequest, "AccessDeniedException", fmt.Sprintf(
			"User: arn:aws:iam::%s:user/keyturn is not authorized to perform: kms:%s on resource: %v", k.cfg.Account, operation, in["KeyId"])}
	case kms.FaultErrorBefore, kms.FaultErrorAfter:
		err = &problem{http.StatusInternalServerError, "KMSInternalException", "internal failure"}
	}
	answer(w, out, err)
}

// authorized reads the region out of the signature's scope.
func (k *KMS) authorized(req *http.Request) (region string, err error) {
	_, scope, ok := strings.Cut(req.Header.Get("Authorization"), "Credential=")
	parts := strings.Split(scope, "/")
	if !ok || len(parts) < 5 || parts[3] != "kms" {
		return "", refuse("MissingAuthenticationTokenException", "Request is missing Authentication Token")
	}
	if k.cfg.AccessKeyID != "" && parts[0] != k.cfg.AccessKeyID {
		return "", refuse("UnrecognizedClientException", "The security token included in the request is invalid.")
	}
	return parts[2], nil
}

func answer(w http.ResponseWriter, out any, err error) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	status := http.StatusOK
	if p, ok := err.(*problem); ok { //nolint:errorlint // it is never wrapped
		status, out = p.status, map[string]string{"__type": p.code, "message": p.text}
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(out) // who hung up does not want it
}

// serveSTS answers AssumeRole: the credentials of the role are those of this account.
func (k *KMS) serveSTS(w http.ResponseWriter, req *http.Request) {
	if req.ParseForm() != nil || req.PostForm.Get("Action") != "AssumeRole" {
		http.Error(w, "unknown operation", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	if fault := k.Take("AssumeRole"); fault == kms.FaultDenied {
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprint(w, `<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>User is not authorized to perform: sts:AssumeRole</Message></Error></ErrorResponse>`)
		return
	}
	_, _ = fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>`+
		`<AccessKeyId>%s</AccessKeyId><SecretAccessKey>assumed-secret</SecretAccessKey><SessionToken>assumed-token</SessionToken><Expiration>%s</Expiration>`+
		`</Credentials></AssumeRoleResult></AssumeRoleResponse>`, cmp.Or(k.cfg.AccessKeyID, "ASIAASSUMED"), k.cfg.Now().Add(time.Hour).UTC().Format(time.RFC3339))
}
