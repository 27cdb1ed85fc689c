package worker

import (
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
