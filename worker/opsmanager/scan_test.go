package opsmanager

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var decoded = []struct{ name, text string }{
	{"nothing", ``},
	{"null", `null`},
	{"empty object", ` {} `},
	{"all of it", `{"processes":[{"name":"a_0","processType":"mongod","featureCompatibilityVersion":"4.0","args2_6":{"net":{"port":27017}}}],
		"replicaSets":[{"_id":"a","members":[{"_id":0,"host":"a_0","priority":1.5e-3}]}, {"_id":"b","members":[]}],
		"sharding":[{"name":"s","configServerReplica":"c","shards":[{"_id":"s0","rs":"a","tags":[]}]}],"version":7,"deleted":false}`},
	{"nulls", `{"processes":null,"replicaSets":[null,{"_id":null,"members":null}],"sharding":[]}`},
	{"a name twice", `{"processes":[{"name":"a","name":null},{"name":"b","name":"c"}]}`},
	{"a list twice", `{"processes":[{"name":"a"},{"name":"b"}],"replicaSets":[{"_id":"a","members":[{"host":"a"}]}],"sharding":[{"name":"s","shards":[{"rs":"a"}]}],
		"processes":[{"name":"c"}],"replicaSets":[],"sharding":null}`},
	{"a replica set twice", `{"replicaSets":[{"_id":"a","members":[{"host":"a"},{"host":"b"}]},{"_id":"a","members":[{"host":"c","arbiterOnly":true}]},{"_id":"b"}]}`},
	{"a process twice", `{"processes":[{"name":"a","processType":"mongod","featureCompatibilityVersion":"4.0"},{"name":"a"}]}`},
	{"a shard twice", `{"sharding":[{"name":"s","configServerReplica":"c","shards":[{"rs":"a"},{"rs":"b"}]},{"name":"t","configServerReplica":"c","shards":[{"rs":"b"},{"rs":"b"}]}]}`},
	{"escapes", `{"processes":[{"name":"a\"\\\u00e9\n","na\u006de":"b"}]}`},
	{"other alphabets", `{"processes":[{"name":"Ünïcode ☃"}]}`},
	{"bytes that are no text", "{\"processes\":[{\"name\":\"a\xff\"}]}"},
	{"a control character", "{\"processes\":[{\"name\":\"a\nb\"}]}"},
	{"a number for a string", `{"processes":[{"name":"a"},{"name":4.0}]}`},
	{"an object for an array", `{"processes":{}}`},
	{"a string for an object", `{"processes":["a"]}`},
	{"an array", `[]`},
	{"two values", `{} {}`},
	{"a comma too many", `{"processes":[{"name":"a"},]}`},
	{"a comma too few", `{"processes":[{"name":"a"}{"name":"b"}]}`},
	{"a comma at the end", `{"version":1,}`},
	{"no colon", `{"version" 1}`},
	{"no value", `{"version":}`},
	{"a name without quotes", `{version:1}`},
	{"the wrong bracket", `{"processes":[{"name":"a"]}`},
	{"deep nesting", `{"x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`},
	{"too deep nesting", `{"x":` + strings.Repeat("[", 1_000_000)},
	{"HTML", `<html></html>`},
	{"a list", `{"links":[{"rel":"self","href":"x"},{"rel":"next"}],"results":[{"clusterId":"a","statusName":"STARTED","encryptionEnabled":true},
		{"clusterId":"b","encryptionEnabled": false },{"clusterId":"c","encryptionEnabled":null}],"totalCount":3}`},
	{"a list of nothing", `{"results":[]}`},
	{"no list", `{"results":null}`},
	{"text for a bool", `{"results":[{"encryptionEnabled":"true"}]}`},
}

// Whether the scanner reads it or leaves it, the result is that of encoding/json.
func TestDecode_ReadsWhatEncodingJSONReads(t *testing.T) {
	t.Parallel()
	for _, tt := range decoded {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sameAsJSON[plan](t, tt.text)
			sameAsJSON[page[backupConfig]](t, tt.text)
			sameAsJSON[page[cluster]](t, tt.text)
			for i := range min(len(tt.text), 1000) { // cut off
				sameAsJSON[plan](t, tt.text[:i])
				sameAsJSON[page[backupConfig]](t, tt.text[:i])
			}
		})
	}
}

// What ends a string, or does not stand for itself, is found wherever it is.
func TestDecode_ReadsStringsOfAnyLength(t *testing.T) {
	t.Parallel()
	for _, special := range []string{"", `"`, `\\`, `\"`, `\u0041`, `\`, "\x00", "\x1f", "\x7f", " ", "!", "#", "[", "]", "é", "\x80", "\xa0", "\xff"} {
		for before := range 20 {
			for after := range 10 {
				text := strings.Repeat("a", before) + special + strings.Repeat("b", after)
				sameAsJSON[plan](t, `{"processes":[{"name":"`+text+`"}]}`)
				sameAsJSON[page[cluster]](t, `{"results":[{"id":"`+text)
			}
		}
	}
}

func sameAsJSON[T any](t *testing.T, text string) {
	t.Helper()
	var got, want T
	gotErr, wantErr := decode(text, &got), json.Unmarshal([]byte(text), &want)
	if (gotErr == nil) != (wantErr == nil) || gotErr != nil && gotErr.Error() != wantErr.Error() || !reflect.DeepEqual(got, want) {
		t.Errorf("%T of %q:\n%+v, %v\nwant:\n%+v, %v", got, text, got, gotErr, want, wantErr)
	}
}

// What is expected must not be left to encoding/json, which would only be slow.
func TestScanner_TakesWhatIsExpected(t *testing.T) {
	t.Parallel()
	expected := []string{"a list twice", "a replica set twice", "null", "empty object", "all of it", "nulls", "escapes", "other alphabets", "a list", "a list of nothing"}
	for _, tt := range decoded {
		s := scanner{text: tt.text}
		if new(plan).scan(&s); !s.ended() && slices.Contains(expected, tt.name) {
			t.Errorf("%s: stopped at %q", tt.name, s.text[s.at:])
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, tt := range decoded {
		f.Add(tt.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		err := decode(text, new(plan))
		if err != nil && json.Unmarshal([]byte(text), new(plan)) == nil {
			t.Errorf("%v", err)
		}
	})
}
