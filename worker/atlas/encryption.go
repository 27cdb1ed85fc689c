package atlas

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/keyturn/keyturn"
)

// provider is one way to keep the keys of a project. Its id is the unit's cluster id.
type provider struct {
	id      keyturn.KMSProvider
	name    string // as people call it
	object  string // in encryptionAtRest
	key     string // the field of that object that names the key
	cluster string // what a cluster's encryptionAtRestProvider says
	alert   string // the event that says that the key is old
	// whole are the fields that may be written back as they were read, beside the key's. None is a secret.
	whole []string
	// form is what the id of a key looks like; example shows it.
	form    string
	example string
}

func providers() []provider {
	return []provider{
		{
			id: keyturn.KMSProviderAWS, name: "AWS KMS", object: "awsKms", key: "customerMasterKeyID", cluster: "AWS", alert: "AWS_ENCRYPTION_KEY_NEEDS_ROTATION",
			whole: []string{"enabled", "region", "requirePrivateNetworking", "accessKeyID", "roleId"},
			form:  `^(arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/)?[A-Za-z0-9-]{1,200}$`, example: "arn:aws:kms:REGION:ACCOUNT:key/ID",
		},
		{
			id: keyturn.KMSProviderAzure, name: "Azure Key Vault", object: "azureKeyVault", key: "keyIdentifier", cluster: "AZURE", alert: "AZURE_ENCRYPTION_KEY_NEEDS_ROTATION",
			whole: []string{
				"enabled", "azureEnvironment", "clientID", "tenantID", "subscriptionID", "resourceGroupName", "keyVaultName", "requirePrivateNetworking", "roleId",
			},
			form: `^https://[^/?#@]+/keys/[^/?#]+/[^/?#]+$`, example: "https://VAULT.vault.azure.net/keys/NAME/VERSION",
		},
		{
			id: keyturn.KMSProviderGCP, name: "Google Cloud KMS", object: "googleCloudKms", key: "keyVersionResourceID", cluster: "GCP", alert: "GCP_ENCRYPTION_KEY_NEEDS_ROTATION",
			whole:   []string{"enabled", "roleId"},
			form:    `^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+/cryptoKeyVersions/[0-9]+$`,
			example: "projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY/cryptoKeyVersions/N",
		},
	}
}

func providerOf(id string) (provider, bool) {
	for _, p := range providers() {
		if string(p.id) == id {
			return p, true
		}
	}
	return provider{}, false
}

func (p provider) wellFormed(key string) bool {
	ok, err := regexp.MatchString(p.form, key)
	return ok && err == nil
}

// encryption is a project's encryptionAtRest. A provider that is not used may be missing, null, or full of nulls.
// https://www.mongodb.com/docs/atlas/reference/api-resources-spec/v2/#tag/Encryption-at-Rest-using-Customer-Key-Management
type encryption map[string]json.RawMessage

// setting is what a project says about one provider.
type setting struct {
	there   bool // it names a key, or is enabled
	enabled bool
	valid   bool
	key     string
	region  string // of AWS: "EU_WEST_1"
	fields  map[string]any
}

func (e encryption) of(p provider) setting {
	var fields map[string]any
	if json.Unmarshal(e[p.object], &fields) != nil || fields == nil {
		return setting{}
	}
	s := setting{fields: fields}
	s.enabled, _ = fields["enabled"].(bool)
	s.valid, _ = fields["valid"].(bool)
	s.key, _ = fields[p.key].(string)
	s.region, _ = fields["region"].(string)
	s.there = s.enabled || s.key != ""
	return s
}

// trouble says why the key can't be turned; empty: it can.
func (s setting) trouble(p provider) (code, reason string) {
	switch {
	case !s.there:
		return "not_configured", "the project does not use " + p.name + " (any more)"
	case !s.enabled:
		return "encryption_off", "encryption with keys in " + p.name + " is off, and Keyturn never turns it on"
	case s.key == "":
		return "no_key", "the project names no key in " + p.name
	case !s.valid && s.fields["valid"] == nil:
		return "key_invalid", fmt.Sprintf("Atlas does not say whether it can use the key that is in use now (its answer has no valid), "+
			"and Keyturn turns none that is not known to be good: look at key %s of %s in Atlas", s.key, p.name)
	case !s.valid:
		return "key_invalid", fmt.Sprintf("a person must act: Atlas can't use the key that is in use now (valid is false), and changes nothing until it can: "+
			"enable key %s in %s and give Atlas back its permissions and credentials; if it stays so, Atlas shuts the project's clusters down", s.key, p.name)
	default:
		return "", ""
	}
}

// minimal is the body that changes the key and nothing else.
func minimal(p provider, key string) ([]byte, error) {
	return json.Marshal(map[string]map[string]string{p.object: {p.key: key}})
}

// whole is the body that says again all that the project says about the provider, with another key. It holds no
// secret, since Atlas shows none, and never switches anything on or off: only what is enabled is said again.
func (s setting) whole(p provider, key string) ([]byte, error) {
	if !s.enabled {
		return nil, errors.New("encryption is off")
	}
	fields := map[string]any{}
	for _, name := range p.whole {
		if value, ok := s.fields[name]; ok && value != nil {
			fields[name] = value
		}
	}
	fields[p.key] = key
	return json.Marshal(map[string]map[string]any{p.object: fields})
}

// place is a unit of this target.
type place struct {
	unit     string
	project  string
	provider provider
}

// find reads a unit's id. It is made of plain tokens only, so that it can't lead elsewhere.
func (c *Client) find(unit string) (place, error) {
	target, project, cluster, err := keyturn.ParseUnitID(unit)
	p, known := providerOf(cluster)
	switch {
	case err != nil:
	case target != c.target.Name:
		err = fmt.Errorf("it belongs to target %q, not to %q", target, c.target.Name)
	case !known:
		err = fmt.Errorf("%q is no provider: expected aws, azure or gcp", cluster)
	}
	if err != nil {
		return place{}, c.fail(question{doing: "looking for unit", subject: unit}, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "bad_unit"}, err)
	}
	return place{unit: unit, project: project, provider: p}, nil
}

// ref names a key of the unit to its key service.
func (s setting) ref(key string) keyturn.KMSRef { return keyturn.KMSRef{ID: key, Region: s.region} }

func (at place) question(operation, doing string) question {
	return question{operation: operation, doing: doing, subject: at.unit, project: at.project, path: encryptionPath(at.project), needs: "Project Read Only"}
}

func encryptionPath(project string) string { return "/groups/" + project + "/encryptionAtRest" }

// setting asks what the project says about the unit's provider. Atlas looks anew whether the key is valid.
func (c *Client) setting(ctx context.Context, at place, doing string, turns int) (setting, error) {
	q := at.question("get_encryption", doing)
	q.turns = turns
	var e encryption
	if err := c.get(ctx, q, &e); err != nil {
		return setting{}, err
	}
	return e.of(at.provider), nil
}

// put names a key to the project.
func (c *Client) put(ctx context.Context, at place, now setting, key string) error {
	q := at.question("patch_encryption", "changing the key of unit")
	q.needs = "Project Owner"
	body, err := minimal(at.provider, key)
	if err != nil {
		return c.fail(q, keyturn.SystemError{Kind: keyturn.KindPermanent, Code: "bad_key"}, err)
	}
	err = c.change(ctx, http.MethodPatch, q, body)
	failure, ok := errors.AsType[*keyturn.SystemError](err)
	if !ok || !strings.HasPrefix(failure.Code, "missing_attribute") {
		return err
	}
	// Atlas has refused it, so nothing was changed: what follows is still the only change.
	if body, err = now.whole(at.provider, key); err != nil {
		return failure
	}
	return c.change(ctx, http.MethodPatch, q, body)
}
