// Package kms is what the makers of keys have in common: connections on which a change is sent once or not at
// all, and errors that say what they mean for a task. The makers are its folders, one for each provider. Each
// uses its provider's own library, and all have the methods that keyturn.KMSOrder names.
//
// docs/kms.md says what they do and which permissions they need.
package kms

import "time"

// What keys that are made are tagged with, where the provider knows tags.
const (
	TagTask    = "keyturn-task"    // the task's id
	TagUnit    = "keyturn-unit"    // the unit's id
	TagVersion = "keyturn-version" // Azure: the version that the tags were put on, since new versions may inherit them
)

const (
	// DefaultTimeout bounds one call.
	DefaultTimeout = 30 * time.Second
	// Skew is by how much our clock and a provider's may differ.
	Skew = 5 * time.Minute
)

// Codes of errors: short, stable, the same for all providers.
const (
	CodeDenied      = "kms_denied"           // a permission is missing
	CodeNotFound    = "kms_not_found"        // no such key, alias or vault
	CodeUnusable    = "kms_key_unusable"     // the key is there, but disabled, expired, on its way out, of the wrong kind
	CodePending     = "kms_pending"          // it is being made
	CodeThrottled   = "kms_throttled"        // too many calls
	CodeQuota       = "kms_quota"            // no more keys, versions or rotations
	CodeCredentials = "kms_credentials"      // our own credentials are wrong, expired or missing
	CodeUnanswered  = "kms_unanswered"       // a change was sent and not answered
	CodeServer      = "kms_server_error"     // the provider's own trouble
	CodeNetwork     = "kms_network"          // nobody answers
	CodeTLS         = "kms_tls"              // the server's certificate is not trusted
	CodeTimeout     = "kms_timeout"          // no answer in time
	CodeCanceled    = "canceled"             // we gave up ourselves
	CodeInvalid     = "kms_invalid_key_id"   // the id of the key in use can't be understood
	CodeConfig      = "kms_unusable_config"  // spec.kms does not allow it
	CodeRefused     = "kms_refused"          // refused for another reason, which the text says
	CodeBusy        = "kms_busy"             // the provider is changing the key right now
	CodeLate        = "kms_stopped_meantime" // this process was stopped for too long to send it
)
