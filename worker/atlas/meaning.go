package atlas

import "github.com/keyturn/keyturn"

// meaning is what a code of Atlas's means for the task that met it.
type meaning struct {
	kind   keyturn.ErrorKind
	target bool   // it speaks of the target as a whole
	role   bool   // a role is missing: the question knows which
	hint   string // what to do
}

// What several codes have in common.
const (
	mayHeal      = "new permissions take a while to reach every region: it is tried again"
	makeItUsable = "enable it again in the KMS, or name another key"
)

// meanings are the codes that encryptionAtRest answers with: https://www.mongodb.com/docs/atlas/reference/api-errors/
//
// All of them say that nothing was changed. Those that may heal without a person are transient: they are tried
// again, a bounded number of times.
func meanings() map[string]meaning {
	permanent := func(hint string) meaning { return meaning{kind: keyturn.KindPermanent, hint: hint} }
	transient := func(hint string) meaning { return meaning{kind: keyturn.KindTransient, hint: hint} }
	role := meaning{kind: keyturn.KindPermanent, role: true}
	return map[string]meaning{
		// Who asks.
		"IP_ADDRESS_NOT_ON_ACCESS_LIST": {kind: keyturn.KindPermanent, target: true, hint: accessListHint},
		"IP_ADDRESS_NOT_ON_WHITELIST":   {kind: keyturn.KindPermanent, target: true, hint: accessListHint},
		"ORG_REQUIRES_ACCESS_LIST":      {kind: keyturn.KindPermanent, target: true, hint: accessListHint},
		"RESOURCE_REQUIRES_ACCESS_LIST": {kind: keyturn.KindPermanent, target: true, hint: accessListHint},
		"USER_UNAUTHORIZED":             role,
		"USER_CANNOT_ACCESS_GROUP":      role,
		"USER_CANNOT_ACCESS_ORG":        role,
		"NOT_IN_GROUP":                  role,
		"RESOURCE_FORBIDDEN":            role,

		// The key in use.
		"ENCRYPTION_AT_REST_SETTINGS_INVALID": permanent("a person must act: Atlas can't use the key that is in use now, and does not change it " +
			"until it can. Enable that key and give Atlas back its permissions; until then Atlas may shut the project's clusters down at its next check"),
		"CANNOT_ROTATE_KEY_ENCRYPTION_DISABLED":     permanent("encryption with customer-managed keys is off: Keyturn never turns it on"),
		"ENCRYPTION_AT_REST_NOT_ENABLED":            permanent("encryption with customer-managed keys is off: Keyturn never turns it on"),
		"MISSING_ENCRYPTION_AT_REST_PROVIDER":       permanent("the project has no such provider any more"),
		"INVALID_ENCRYPTION_AT_REST_PROVIDER":       permanent("the project has no such provider any more"),
		"CANNOT_CHANGE_ENCRYPTION_AT_REST_PROVIDER": permanent("the project's provider is another one now"),
		"CANNOT_DISABLE_ENCRYPTION_AT_REST":         permanent("nothing was switched off: Atlas understood the request in another way than it is documented"),
		"MISSING_ATTRIBUTE":                         permanent(wholeHint),
		"MISSING_ATTRIBUTES":                        permanent(wholeHint),

		"INVALID_JSON":           permanent(otherHint),
		"INVALID_JSON_ATTRIBUTE": permanent(otherHint),
		"INVALID_ATTRIBUTE":      permanent(otherHint),
		"ATTRIBUTE_READ_ONLY":    permanent(otherHint),

		// The new key.
		"AWS_KMS_CUSTOMER_MASTER_KEY_NOT_ENABLED":         permanent("the new key is disabled: " + makeItUsable),
		"AWS_KMS_CUSTOMER_MASTER_KEY_PENDING_DELETION":    permanent("the new key is about to be deleted: cancel that in AWS KMS, or name another key"),
		"AWS_KMS_CUSTOMER_MASTER_KEY_PENDING_IMPORT":      permanent("the new key waits for its material: import it in AWS KMS, or name another key"),
		"AWS_KMS_REGION_NOT_SUPPORTED":                    permanent("a key must be in the region that the project names, and that one must be supported by Atlas"),
		"AWS_CUSTOMER_MASTER_KEY_NOT_FOUND":               permanent("the key must be in the region that the project names; a key of another AWS account must be named by its full ARN"),
		"AZURE_KEY_VAULT_KEY_NOT_FOUND":                   transient("a new version takes a while to be seen everywhere: it is tried again; the key must be in the vault that the project names"),
		"AZURE_KEY_VAULT_KEY_NOT_ENABLED":                 permanent("the new version is disabled: " + makeItUsable),
		"AZURE_KEY_VAULT_KEY_EXPIRED":                     permanent("the new version has expired: make one that lasts, and mend the rotation policy of the key in Azure Key Vault"),
		"AZURE_KEY_VAULT_KEY_EXPIRING":                    permanent("Atlas takes no version that expires within 48 hours: mend the rotation policy of the key in Azure Key Vault"),
		"AZURE_KEY_VAULT_KEY_NOT_ACTIVE":                  permanent("the new version is not valid yet: mend the activation date of the key in Azure Key Vault"),
		"AZURE_KEY_VAULT_KEY_IDENTIFIER_INVALID_FORMAT":   permanent("a key is named with its version: https://VAULT.vault.azure.net/keys/NAME/VERSION"),
		"AZURE_KEY_VAULT_ENVIRONMENT_NOT_SUPPORTED":       permanent("the vault is in a cloud that the project does not name"),
		"GOOGLE_CLOUD_KMS_KEY_VERSION_PENDING_GENERATION": transient("Google is still making the version: it is tried again"),
		"GOOGLE_CLOUD_KMS_KEY_VERSION_NOT_FOUND":          permanent("the version must be of the key ring's location, and Atlas must be allowed to see it"),
		"GOOGLE_CLOUD_KMS_KEY_VERSION_DISABLED":           permanent("the new version is disabled: " + makeItUsable),
		"GOOGLE_CLOUD_KMS_KEY_VERSION_DESTROYED":          permanent("the new version was destroyed: name another one"),
		"GOOGLE_CLOUD_KMS_KEY_VERSION_DESTROY_SCHEDULED":  permanent("the new version is about to be destroyed: restore it in Google Cloud KMS, or name another one"),

		// What Atlas may do with keys.
		"INVALID_AWS_CREDENTIALS":                   transient(mayHeal),
		"CANNOT_ASSUME_ROLE":                        transient(mayHeal + "; Atlas's role must be allowed to be assumed"),
		"CLOUD_PROVIDER_ACCESS_ROLE_NOT_AUTHORIZED": transient(mayHeal + "; Atlas's role must be authorized in the project"),
		"NO_PERMISSION_TO_ENCRYPT_DECRYPT":          transient(mayHeal + "; the key's policy must let Atlas's role describe it, encrypt and decrypt"),
		"AWS_KMS_CREDENTIALS_AUTH_DEPRECATED":       permanent("Atlas takes no access keys any more: let the project use an AWS role (roleId) once, by hand"),
		"INVALID_AZURE_CREDENTIALS":                 permanent("the project's Azure application has a wrong or expired secret: put a new one into the project's settings"),
		"INVALID_AZURE_API_REQUEST":                 permanent("Azure refused what Atlas asked for: the project's Azure settings are wrong"),
		"INVALID_GOOGLE_CLOUD_CREDENTIALS":          permanent("the project's Google service account key is wrong or was removed: put a new one into the project's settings"),

		"WRITES_NOT_ALLOWED_DURING_APP_UPGRADES": transient("Atlas is being upgraded: it is tried again"),
	}
}

const (
	accessListHint = "the credentials are good, but this machine's address is not on their API access list: add it in Atlas under Access Manager, " +
		"at the service account or API key"
	otherHint = "Atlas understands the change in another way than it is documented: nothing was changed; update Keyturn"
	wholeHint = "Atlas wants more of the provider's settings than it shows: change them once in Atlas, with the secret or role that belongs to them"
)
