package resource

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn"
)

// longestComplete is how long clusters may take to be through with a change: some wait for a maintenance window.
const longestComplete = keyturn.Duration(30 * keyturn.Day)

func checkTarget(t *tree, value any) {
	name, _ := text(value, "spec", "system")
	system := keyturn.System(name)
	checkURL(t, value, "http", "https")
	checkNoQuery(t, value)
	if spec, ok := lookup(value, []string{"spec"}).(map[string]any); ok && spec["url"] == nil && system == keyturn.SystemOpsManager {
		t.fail([]string{"spec"}, "the field url is missing: where is this Ops Manager?")
	}
	checkAPI(t, value, system)
	checkCredentials(t, value, system)
	checkFile(t, value, "spec", "tls", "caFile")
	checkDuration(t, value, keyturn.Duration(10*time.Minute), "spec", "timeouts", "request")
	checkDuration(t, value, keyturn.Duration(keyturn.Day), "spec", "timeouts", "settle")
	checkDuration(t, value, keyturn.Duration(keyturn.Day), "spec", "timeouts", "verify")
	checkDuration(t, value, longestComplete, "spec", "timeouts", "complete")
	checkPause(t, value, keyturn.Duration(10*time.Second), keyturn.Duration(366*keyturn.Day), "spec", "observe")
	checkKMS(t, value, system)
	checkKMIP(t, value, system)
}

// checkNoQuery refuses a query, which would be lost: each call has its own behind the target's address.
func checkNoQuery(t *tree, value any) {
	where := []string{"spec", "url"}
	raw, _ := text(value, where...)
	if u, err := url.Parse(raw); err == nil && (u.RawQuery != "" || u.ForceQuery) {
		t.fail(where, "the URL must not have a query (?)")
	}
}

// isKnown reports a system that the schema has nothing to say against.
func isKnown(s keyturn.System) bool {
	return s == keyturn.SystemOpsManager || s == keyturn.SystemCloudManager || s == keyturn.SystemAtlas
}

func checkAPI(t *tree, value any, system keyturn.System) {
	if lookup(value, []string{"spec", "api"}) != nil && isKnown(system) && system != keyturn.SystemAtlas {
		t.fail([]string{"spec", "api"}, "only Atlas has two APIs: remove it, or write system: atlas")
	}
}

// checkCredentials: either the two keys of an API key, or the two halves of a service account.
func checkCredentials(t *tree, value any, system keyturn.System) {
	where := []string{"spec", "credentials"}
	given, ok := lookup(value, where).(map[string]any)
	if !ok {
		return
	}
	has := func(name string) bool { return given[name] != nil }
	key, account := has("publicKey") || has("privateKey"), has("clientId") || has("clientSecret")
	api, _ := text(value, "spec", "api")
	switch {
	case key && account:
		t.fail(where, "give either publicKey and privateKey (an API key) or clientId and clientSecret (a service account), not both")
	case account && isKnown(system) && system != keyturn.SystemAtlas:
		t.fail(where, fmt.Sprintf("%s knows no service accounts: give publicKey and privateKey", system))
	case account && api == "v1":
		t.fail(where, "version 1 of Atlas's API knows no service accounts: give publicKey and privateKey, or write api: v2")
	case account:
		needBoth(t, given, where, "clientId", "clientSecret")
	case !key && system == keyturn.SystemAtlas && api != "v1":
		t.fail(where, "give clientId and clientSecret (a service account), or publicKey and privateKey (an API key)")
	default:
		needBoth(t, given, where, "publicKey", "privateKey")
	}
}

// needBoth wants all of the fields.
func needBoth(t *tree, given map[string]any, where []string, names ...string) {
	for _, name := range names {
		if given[name] == nil {
			t.fail(where, fmt.Sprintf("the field %s is missing (env:NAME or file:/absolute/path)", name))
		}
	}
}

// checkFile wants an absolute path, if there is any.
func checkFile(t *tree, value any, where ...string) {
	if file, ok := text(value, where...); ok && file != "" && !path.IsAbs(file) {
		t.fail(where, "the path must be absolute: the server reads it, wherever it runs")
	}
}

func checkKMS(t *tree, value any, system keyturn.System) {
	where := []string{"spec", "kms"}
	if lookup(value, where) == nil {
		return
	}
	if isKnown(system) && system != keyturn.SystemAtlas {
		t.fail(where, "only the keys of Atlas are made in a cloud's KMS: remove it, or write system: atlas")
		return
	}
	checkAWS(t, value)
	checkAzure(t, value)
	checkURLAt(t, value, []string{"spec", "kms", "gcp", "endpoint"}, "http", "https")
}

func checkAWS(t *tree, value any) {
	where := []string{"spec", "kms", "aws"}
	aws, ok := lookup(value, where).(map[string]any)
	if !ok {
		return
	}
	checkURLAt(t, value, child(where, "endpoint"), "http", "https")
	if aws["accessKeyId"] != nil || aws["secretAccessKey"] != nil || aws["sessionToken"] != nil {
		needBoth(t, aws, where, "accessKeyId", "secretAccessKey")
	}
	strategy, _ := aws["strategy"].(string)
	for _, field := range []string{"alias", "tags"} {
		if aws[field] != nil && (strategy == string(keyturn.StrategyInPlace) || strategy == string(keyturn.StrategyProvided)) {
			t.fail(child(where, field), fmt.Sprintf("is for keys that Keyturn makes, which strategy %s does not: remove it, or write strategy: new-key", strategy))
		}
	}
	checkTags(t, aws["tags"], child(where, "tags"))
}

// checkTags: https://docs.aws.amazon.com/kms/latest/APIReference/API_Tag.html
func checkTags(t *tree, value any, where []string) {
	tags, _ := value.(map[string]any)
	if len(tags) > 40 { // AWS allows 50, those of the old key among them
		t.fail(where, "has more than 40 tags")
	}
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		lower := strings.ToLower(name)
		switch {
		case name == "" || len(name) > 128:
			t.fail(where, fmt.Sprintf("%s can't be a tag's name: expected 1 to 128 characters", show(name)))
		case strings.HasPrefix(lower, "aws:"):
			t.fail(child(where, name), "names that begin with aws: belong to AWS")
		case strings.HasPrefix(lower, "keyturn"):
			t.fail(child(where, name), "names that begin with keyturn are Keyturn's own: it finds its keys by them")
		}
	}
}

func checkAzure(t *tree, value any) {
	where := []string{"spec", "kms", "azure"}
	azure, ok := lookup(value, where).(map[string]any)
	if !ok {
		return
	}
	// Azure's client sends no credentials without TLS.
	checkURLAt(t, value, child(where, "endpoint"), "https")
	checkURLAt(t, value, child(where, "authority"), "https")
	checkFile(t, value, child(where, "caFile")...)
	if azure["clientSecret"] == nil {
		return
	}
	for _, name := range []string{"tenantId", "clientId"} {
		if azure[name] == nil {
			t.fail(where, fmt.Sprintf("clientSecret needs %s: whose secret is it?", name))
		}
	}
}

func checkKMIP(t *tree, value any, system keyturn.System) {
	where := []string{"spec", "kmip"}
	kmip, ok := lookup(value, where).(map[string]any)
	if !ok {
		return
	}
	if system == keyturn.SystemAtlas {
		t.fail(where, "Atlas keeps its keys in a cloud's KMS: remove it, or write it at the target of the Ops Manager")
		return
	}
	if address, ok := kmip["address"].(string); ok && address != "" {
		host, port, err := net.SplitHostPort(address)
		n, notNumber := strconv.Atoi(port)
		if err != nil || host == "" || notNumber != nil || n < 1 || n > 65535 {
			t.fail(child(where, "address"), fmt.Sprintf("%s is no address: write HOST:5696", show(address)))
		}
	}
	for _, file := range []string{"certFile", "keyFile", "caFile"} {
		checkFile(t, value, child(where, file)...)
	}
	checkPause(t, value, keyturn.Duration(10*time.Second), keyturn.Duration(366*keyturn.Day), "spec", "kmip", "every")
	if cert, key := kmip["certFile"] != nil, kmip["keyFile"] != nil; cert != key {
		t.fail(where, "certFile and keyFile belong together: give both, or neither")
	}
	if pattern, ok := kmip["namePattern"].(string); ok {
		if _, err := path.Match(pattern, ""); err != nil {
			t.fail(child(where, "namePattern"), fmt.Sprintf("%s is no glob: write * ? [a-z], and \\ before a character that means itself", show(pattern)))
		}
	}
}
