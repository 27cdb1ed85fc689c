package keyturn

import "time"

// KMSProvider is a cloud's key management service.
type KMSProvider string

// The providers that Keyturn makes keys in.
const (
	KMSProviderAWS   KMSProvider = "aws"   // AWS KMS
	KMSProviderAzure KMSProvider = "azure" // Azure Key Vault
	KMSProviderGCP   KMSProvider = "gcp"   // Google Cloud KMS
)

// KMSRef names a key (AWS), or one version of a key (Azure, Google), as the system that uses it does: the ARN or
// the id of a key, the key identifier with its version, the resource id of a key version.
type KMSRef struct {
	ID string
	// Region is where ID is to be looked for if it is no ARN: "us-east-1", or "US_EAST_1" as Atlas writes it.
	Region string
}

// KMSOrder asks a provider for the key that a task is going to put into use.
//
// The clients of all providers (worker/kms/aws, azure, gcp) have these methods:
//
//	// Make finds what was made for the order, or makes it. Called again after a crash or a lost answer, and once
//	// nothing of the call before can be under way, it makes nothing twice. Ambiguous: a key may have been made.
//	// Transient: it is there but can't be used yet, or nothing was done.
//	Make(ctx context.Context, order KMSOrder) (KMSKey, error)
//	// Find finds what was made for the order. It changes nothing.
//	Find(ctx context.Context, order KMSOrder) (key KMSKey, found bool, err error)
//	// Newest finds what strategy provided follows: the target of the alias in the spec (AWS), the newest version
//	// of the same key that can be used (Azure, Google). It may be the current one.
//	Newest(ctx context.Context, current KMSRef) (KMSKey, error)
//	// Describe looks at one key. A key that can't be used is no error: see KMSKey.Reason.
//	Describe(ctx context.Context, key KMSRef) (KMSKey, error)
//	// Disable disables a key, or one version of a key. It never deletes, and may be repeated.
//	Disable(ctx context.Context, key KMSRef) error
//	// Close gives up idle connections.
//	Close()
//
// That of AWS has one more, for strategy in-place:
//
//	// Rotate asks for new material for the key, once: it is the change itself, and what it led to is seen in
//	// Describe's Version and Rotating. Ambiguous: it may have been done.
//	Rotate(ctx context.Context, key KMSRef) error
type KMSOrder struct {
	Task    ID     // what is made carries its name, so that it is found again
	Unit    string // the unit's id; put on what is made
	Current KMSRef // the key in use: the model of a new key, or the key that gets a version
}

// KMSKey is a key, or one version of a key, as its provider shows it.
type KMSKey struct {
	// ID names it as the system that uses it does. What is made is named in the form of the current one.
	ID string
	// Version is what the history calls it: ID, but for AWS's strategy in-place, where the key stays and its
	// material changes: then ID, "#" and the name of the material.
	Version string
	State   string // in the provider's words
	// Reason says why it can't be put into use, and what to do; empty: it can.
	Reason string
	// CreatedAt is when it was made; with AWS's strategy in-place, when its material was.
	CreatedAt time.Time
	NotBefore *time.Time // Azure; nil: always
	ExpiresAt *time.Time // Azure; nil: never
	// Rotating reports that AWS is making new material for it, which is in use soon. Only with strategy in-place.
	Rotating bool
	// RotationsLeft is how often AWS would still make new material for it on demand; nil: not counted, or without
	// limit. Only with strategy in-place.
	RotationsLeft *int
}

// Usable reports whether it can be put into use.
func (k KMSKey) Usable() bool { return k.Reason == "" }

// CreatedAt returns when the id was made, to the millisecond, by the clock of who made it.
func (id ID) CreatedAt() time.Time {
	var ms int64
	for _, b := range id[:6] {
		ms = ms<<8 | int64(b)
	}
	return time.UnixMilli(ms).UTC()
}
