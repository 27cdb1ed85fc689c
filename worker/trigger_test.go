package worker

import (
	"maps"
	"strings"
	"testing"
)

func TestParseTrigger(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in     string
		policy string
		id     string
		err    string
	}{
		"plain":                      {in: `{"policy":"q","reason":"r","id":"x","only":{"projects":["p"],"clusters":[],"units":[]}}`, policy: "q", id: "x"},
		"cloud event":                {in: `{"specversion":"1.0","type":"keyturn.rotation.trigger","source":"/ci","id":"7","data":{"policy":"q","id":"x"}}`, policy: "q", id: "x"},
		"cloud event's own id":       {in: `{"specversion":"1.0","type":"keyturn.rotation.trigger","source":"/ci","id":"7","data":{"policy":"q"}}`, policy: "q", id: "/ci#7"},
		"cloud event of wrong type":  {in: `{"specversion":"1.0","type":"other","source":"/ci","id":"7","data":{"policy":"q"}}`, err: `type "other"`},
		"cloud event of old version": {in: `{"specversion":"0.3","type":"keyturn.rotation.trigger","source":"/ci","id":"7","data":{"policy":"q"}}`, err: "specversion"},
		"cloud event without data":   {in: `{"specversion":"1.0","type":"keyturn.rotation.trigger","source":"/ci","id":"7"}`, err: "without JSON data"},
		"bad JSON":                   {in: `{"policy":`, err: "not a JSON object"},
		"not an object":              {in: `"quarterly"`, err: "not a JSON object"},
		"no policy":                  {in: `{"reason":"r"}`, err: "no policy"},
		"misspelled field":           {in: `{"policy":"q","onyl":{}}`, err: "onyl"},
		"two values":                 {in: `{"policy":"q"} {"policy":"r"}`, err: "not a JSON object"},
		"NUL":                        {in: `{"policy":"q","only":{"units":["a\u0000"]}}`, err: "NUL"},
		"NUL in an event":            {in: `{"specversion":"1.0","type":"keyturn.rotation.trigger","source":"/\u0000","id":"7","data":{"policy":"q"}}`, err: "NUL"},
		"no NUL":                     {in: `{"policy":"q","id":"\\u0000"}`, policy: "q", id: `\u0000`},
		"a glob that is none":        {in: `{"policy":"q","only":{"projects":["["]}}`, err: `only.projects: "[" is not a glob`},
		"a component that is none":   {in: `{"policy":"q","only":{"components":["mongos"]}}`, err: `there is no component "mongos"`},
		"source and id too long":     {in: `{"specversion":"1.0","type":"keyturn.rotation.trigger","source":"/` + strings.Repeat("x", 1000) + `","id":"7","data":{"policy":"q"}}`, err: "longer than 1000"},
		"id too long":                {in: `{"policy":"q","id":"` + strings.Repeat("x", 201) + `"}`, err: "longer than 200"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parseTrigger([]byte(c.in))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want one with %q", err, c.err)
				}
				return
			}
			if err != nil || got.Policy != c.policy || got.ID != c.id {
				t.Fatalf("got %+v, %v", got, err)
			}
		})
	}
}

func TestParseTrigger_TakesKeysThatSomebodyElseHasMade(t *testing.T) {
	t.Parallel()
	got, err := parseTrigger([]byte(`{"policy":"q","keys":{"a.p.aws":"arn:1"},"only":{"units":["a.p.*"],"keys":{"a.p.gcp":"v/2"}}}`))
	want := map[string]string{"a.p.aws": "arn:1", "a.p.gcp": "v/2"}
	if err != nil || !maps.Equal(got.Only.Keys, want) || len(got.Only.Units) != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
	for in, want := range map[string]string{
		`{"policy":"q","keys":{"aws":"arn:1"}}`:                                 `"aws" is not a unit's id`,
		`{"policy":"q","keys":{"a.p.aws":""}}`:                                  "can't be a key",
		`{"policy":"q","keys":{"a.p.aws":"x\n"}}`:                               "can't be a key",
		`{"policy":"q","keys":{"a.p.aws":"x"},"only":{"keys":{"a.p.aws":"y"}}}`: "two keys are named for unit a.p.aws",
		`{"policy":"q","keys":["x"]}`:                                           "not a trigger",
	} {
		if _, err := parseTrigger([]byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", in, err, want)
		}
	}
}
