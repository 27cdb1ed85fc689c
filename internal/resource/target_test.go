package resource_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/keyturn/keyturn"
	"github.com/keyturn/keyturn/internal/resource"
)

// system writes a target whose spec, from line 5 on, is all given.
func system(spec string) string {
	return "apiVersion: keyturn/v1\nkind: Target\nname: t\nspec:\n" + spec
}

const (
	atlas   = "  system: atlas\n  credentials: {clientId: env:A, clientSecret: env:B}\n"
	atlasV1 = "  system: atlas\n  api: v1\n  credentials: {publicKey: env:A, privateKey: env:B}\n"
)

func TestParseReadsTargetsOfEachSystem(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		want       keyturn.Target
	}{
		{"Cloud Manager", system("  system: cloud-manager\n  credentials: {publicKey: env:A, privateKey: env:B}\n"), keyturn.Target{
			System: keyturn.SystemCloudManager, URL: "https://cloud.mongodb.com", Credentials: keyturn.Credentials{PublicKey: "env:A", PrivateKey: "env:B"},
		}},
		{"Atlas with a service account", system(atlas), keyturn.Target{
			System: keyturn.SystemAtlas, API: "v2", URL: "https://cloud.mongodb.com", Credentials: keyturn.Credentials{ClientID: "env:A", ClientSecret: "env:B"},
		}},
		{"Atlas v1", system(atlasV1), keyturn.Target{
			System: keyturn.SystemAtlas, API: "v1", Credentials: keyturn.Credentials{PublicKey: "env:A", PrivateKey: "env:B"},
		}},
		{"Atlas with all of its KMS", system(atlas + `  url: https://cloud.mongodbgov.com
  timeouts: {complete: 2h}
  kms:
    aws: {strategy: new-key, accessKeyId: env:K, secretAccessKey: "file:/s", sessionToken: env:T, roleArn: "arn:aws:iam::111122223333:role/keyturn", endpoint: "http://127.0.0.1:1", alias: alias/atlas, tags: {team: data}}
    azure: {strategy: new-version, tenantId: t, clientId: c, clientSecret: env:S, endpoint: "https://127.0.0.1:2", authority: "https://127.0.0.1:3", caFile: /ca.pem}
    gcp: {strategy: provided, credentialsJson: "file:/g.json", endpoint: "http://127.0.0.1:4"}
`), keyturn.Target{
			System: keyturn.SystemAtlas, URL: "https://cloud.mongodbgov.com", Credentials: keyturn.Credentials{ClientID: "env:A", ClientSecret: "env:B"},
			Timeouts: keyturn.TargetTimeouts{Complete: 2 * keyturn.Duration(60*60*1e9)},
			KMS: keyturn.KMS{
				AWS: keyturn.AWSKMS{
					Strategy: keyturn.StrategyNewKey, AccessKeyID: "env:K", SecretAccessKey: "file:/s", SessionToken: "env:T",
					RoleARN: "arn:aws:iam::111122223333:role/keyturn", Endpoint: "http://127.0.0.1:1", Alias: "alias/atlas", Tags: map[string]string{"team": "data"},
				},
				Azure: keyturn.AzureKMS{
					Strategy: keyturn.StrategyNewVersion, TenantID: "t", ClientID: "c", ClientSecret: "env:S",
					Endpoint: "https://127.0.0.1:2", Authority: "https://127.0.0.1:3", CAFile: "/ca.pem",
				},
				GCP: keyturn.GCPKMS{Strategy: keyturn.StrategyProvided, CredentialsJSON: "file:/g.json", Endpoint: "http://127.0.0.1:4"},
			},
		}},
		{"Ops Manager with a KMIP server", target("  kmip: {address: \"kmip:5696\", certFile: /c, keyFile: /k, caFile: /a, serverName: s, namePattern: \"mongo*\"}\n"), keyturn.Target{
			System: keyturn.SystemOpsManager, URL: "https://om.example.com", Credentials: keyturn.Credentials{PublicKey: "env:A", PrivateKey: "env:B"},
			KMIP: &keyturn.KMIP{Address: "kmip:5696", CertFile: "/c", KeyFile: "/k", CAFile: "/a", ServerName: "s", NamePattern: "mongo*"},
		}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			docs := parse(t, tc.text)
			got, err := resource.Target(docs[0])
			tc.want.Name = "t"
			if want := tc.want.WithDefaults(); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, %v\nwant %+v", got, err, want)
			}
			var out strings.Builder
			if err := resource.Encode(&out, []keyturn.Resource{{Kind: docs[0].Kind, Name: docs[0].Name, Spec: docs[0].Spec}}); err != nil {
				t.Fatal(err)
			}
			again := parse(t, out.String())
			if string(again[0].Spec) != string(docs[0].Spec) {
				t.Errorf("written out and read again: got %s\nwant %s", again[0].Spec, docs[0].Spec)
			}
		})
	}
}

func TestParseRefusesTargets(t *testing.T) {
	t.Parallel()
	keys := func(aws string) string { return system(atlas + "  kms: {aws: {" + aws + "}}\n") }
	vault := func(azure string) string { return system(atlas + "  kms: {azure: {" + azure + "}}\n") }
	kmip := func(fields string) string { return target("  kmip: {" + fields + "}\n") }
	tests := []struct{ name, text, want string }{
		{"Ops Manager without a URL", system("  system: ops-manager\n  credentials: {publicKey: env:A, privateKey: env:B}\n"), "f:5:3: spec: the field url is missing: where is this Ops Manager?"},
		{"no credentials", system("  system: atlas\n"), "f:5:3: spec: the field credentials is missing"},
		{"API of Ops Manager", target("  api: v2\n"), "f:8:8: spec.api: only Atlas has two APIs: remove it, or write system: atlas"},
		{"unknown API", system(strings.Replace(atlasV1, "api: v1", "api: v1.0", 1)), `f:6:8: spec.api: unknown value "v1.0": did you mean v1?`},
		{"service account of Ops Manager", strings.Replace(target(""), "{publicKey: env:A, privateKey: env:B}", "{clientId: env:A, clientSecret: env:B}", 1), "f:7:16: spec.credentials: ops-manager knows no service accounts: give publicKey and privateKey"},
		{"service account of v1", system(atlas + "  api: v1\n"), "f:6:16: spec.credentials: version 1 of Atlas's API knows no service accounts"},
		{"half a service account", system("  system: atlas\n  credentials: {clientId: env:A}\n"), "f:6:16: spec.credentials: the field clientSecret is missing (env:NAME or file:/absolute/path)"},
		{"half an API key", system("  system: atlas\n  credentials: {publicKey: env:A}\n"), "f:6:16: spec.credentials: the field privateKey is missing"},
		{"both kinds", system("  system: atlas\n  credentials: {publicKey: env:A, privateKey: env:B, clientId: env:C, clientSecret: env:D}\n"), "f:6:16: spec.credentials: give either publicKey and privateKey"},
		{"neither kind", system("  system: atlas\n  credentials: {}\n"), "f:6:16: spec.credentials: give clientId and clientSecret (a service account), or publicKey and privateKey (an API key)"},
		{"neither kind for v1", system("  system: atlas\n  api: v1\n  credentials: {}\n"), "spec.credentials: the field publicKey is missing"},
		{"typo in credentials", system("  system: atlas\n  credentials: {clientID: env:A, clientSecret: env:B}\n"), "spec.credentials: unknown field clientID: did you mean clientId?"},
		{"complete", system(atlas + "  timeouts: {complete: 31d}\n"), "f:7:24: spec.timeouts.complete: must be at most 30d"},
		{"KMS of Ops Manager", target("  kms: {aws: {}}\n"), "f:8:8: spec.kms: only the keys of Atlas are made in a cloud's KMS"},
		{"unknown KMS", system(atlas + "  kms: {amazon: {}}\n"), "spec.kms: unknown field amazon: known are aws, azure, gcp"},
		{"strategy of another provider", vault("strategy: in-place"), `f:7:27: spec.kms.azure.strategy: unknown value "in-place": known are new-version, provided`},
		{"strategy with a typo", keys("strategy: newkey"), `spec.kms.aws.strategy: unknown value "newkey": did you mean new-key?`},
		{"half of AWS's credentials", keys("accessKeyId: env:A"), "f:7:14: spec.kms.aws: the field secretAccessKey is missing"},
		{"session token alone", keys("sessionToken: env:A"), "spec.kms.aws: the field accessKeyId is missing"},
		{"role", keys("roleArn: keyturn"), `spec.kms.aws.roleArn: "keyturn" can't be used: expected arn:aws:iam::ACCOUNT:role/NAME`},
		{"alias", keys("alias: atlas"), `spec.kms.aws.alias: "atlas" can't be used: expected alias/NAME`},
		{"alias in place", keys("strategy: in-place, alias: alias/a"), "spec.kms.aws.alias: is for keys that Keyturn makes, which strategy in-place does not"},
		{"AWS's tag", keys(`tags: {"aws:x": y}`), "spec.kms.aws.tags.aws:x: names that begin with aws: belong to AWS"},
		{"our tag", keys("tags: {keyturn-task: y}"), "spec.kms.aws.tags.keyturn-task: names that begin with keyturn are Keyturn's own"},
		{"tag that is a number", keys("tags: {cost: 12}"), "spec.kms.aws.tags.cost: expected text, found a number: put it in quotes"},
		{"AWS endpoint", keys("endpoint: kms.local"), "spec.kms.aws.endpoint: the URL must begin with http:// or https://"},
		{"vault without TLS", vault(`endpoint: "http://127.0.0.1"`), "spec.kms.azure.endpoint: the URL must begin with https://"},
		{"whose secret", vault("clientSecret: env:S, clientId: c"), "spec.kms.azure: clientSecret needs tenantId: whose secret is it?"},
		{"relative file", vault("caFile: ca.pem"), "spec.kms.azure.caFile: the path must be absolute"},
		{"Google's key file", system(atlas + "  kms: {gcp: {credentialsJson: g.json}}\n"), "spec.kms.gcp.credentialsJson: a secret itself must not be written here"},
		{"KMIP of Atlas", system(atlas + "  kmip: {address: \"k:5696\"}\n"), "f:7:9: spec.kmip: Atlas keeps its keys in a cloud's KMS"},
		{"KMIP nowhere", kmip("certFile: /c"), "f:8:9: spec.kmip: the field address is missing (HOST:PORT; the standard port is 5696)"},
		{"KMIP without a port", kmip("address: kmip"), `f:8:19: spec.kmip.address: "kmip" is no address: write HOST:5696`},
		{"KMIP at port 0", kmip(`address: "kmip:0"`), `spec.kmip.address: "kmip:0" is no address`},
		{"half a certificate", kmip(`address: "k:1", certFile: /c`), "f:8:9: spec.kmip: certFile and keyFile belong together"},
		{"relative certificate", kmip(`address: "k:1", certFile: c, keyFile: /k`), "spec.kmip.certFile: the path must be absolute"},
		{"audits too often", kmip(`address: "k:1", every: 1s`), "spec.kmip.every: must be at least 10s, or 0s for never"},
		{"names of keys", kmip(`address: "k:1", namePattern: "[a"`), `spec.kmip.namePattern: "[a" is no glob`},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := refuse(t, tc.text)
			for _, line := range got {
				if strings.Contains(line, tc.want) {
					return
				}
			}
			t.Errorf("got %q\nwant %q", got, tc.want)
		})
	}
}

func TestErrorsNeverShowTheSecretOfAKMS(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"kms: {aws: {accessKeyId: env:A, secretAccessKey: hunter2}}",
		"kms: {aws: {accessKeyId: env:A, sessionToken: [hunter2]}}",
		"kms: {azure: {clientSecret: hunter2}}",
		"kms: {gcp: {credentialsJson: '{\"private_key\":\"hunter2\"}'}}",
		`kms: {aws: {"secretAccessKey:hunter2": }}`,
		`kms: {"secretAccessKey:hunter2": }`,
		"kms: {azure: {endpoint: 'https://x:hunter2@vault'}}",
		"credentials: {clientId: hunter2, clientSecret: hunter2}",
	} {
		if all := strings.Join(refuse(t, system("  system: atlas\n  "+text+"\n")), "\n"); strings.Contains(all, "hunter2") {
			t.Errorf("the secret is shown: %s", all)
		}
	}
}

func TestDiffShowsTheFieldsOfAKMS(t *testing.T) {
	t.Parallel()
	before, after := parse(t, system(atlas)), parse(t, system(atlas+"  kms: {aws: {strategy: in-place}}\n"))
	changes, err := resource.Diff([]keyturn.Resource{{Kind: before[0].Kind, Name: "t", Spec: before[0].Spec, Generation: 1}}, after, false)
	if err != nil || len(changes) != 1 {
		t.Fatalf("got %v, %v", changes, err)
	}
	want := "+ kms:\n+   aws:\n+     strategy: in-place"
	if got := strings.Join(changes[0].Lines, "\n"); changes[0].Action != resource.ActionUpdate || !strings.Contains(got, want) {
		t.Errorf("got %s:\n%s\nwant an update with\n%s", changes[0].Action, got, want)
	}
}
