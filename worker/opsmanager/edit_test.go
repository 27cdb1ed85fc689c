package opsmanager_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/worker/opsmanager"
)

const stampValue = "2026-11-22T08:00:00Z"

func TestStamp_ChangesNothingElse(t *testing.T) {
	t.Parallel()
	const set = `"lastKmipMasterKeyRotation":"` + stampValue + `",`
	tests := map[string]struct{ config, want string }{
		"added":       {`{"processes":[{"name":"a"}],"version":1}`, `{"processes":[{` + set + `"name":"a"}],"version":1}`},
		"replaced":    {`{"processes":[{"name":"a","lastKmipMasterKeyRotation" : "2020-01-01T00:00:00Z" ,"x":1}]}`, `{"processes":[{"name":"a","lastKmipMasterKeyRotation" : "` + stampValue + `" ,"x":1}]}`},
		"was null":    {`{"processes":[{"lastKmipMasterKeyRotation":null,"name":"a"}]}`, `{"processes":[{"lastKmipMasterKeyRotation":"` + stampValue + `","name":"a"}]}`},
		"twice":       {`{"processes":[{"lastKmipMasterKeyRotation":"x","name":"a","lastKmipMasterKeyRotation":{"y":[1]}}]}`, `{"processes":[{"lastKmipMasterKeyRotation":"` + stampValue + `","name":"a","lastKmipMasterKeyRotation":"` + stampValue + `"}]}`},
		"others stay": {`{"processes":[{"name":"b","lastKmipMasterKeyRotation":"x"},{"name":"a"}]}`, `{"processes":[{"name":"b","lastKmipMasterKeyRotation":"x"},{` + set + `"name":"a"}]}`},
		"escaped":     {`{"pro\u0063esses":[ { "na\u006de" : "\u0061" } ]}`, `{"pro\u0063esses":[ {` + set + ` "na\u006de" : "\u0061" } ]}`},
		"deeper ones": {`{"x":{"processes":[{"name":"a"}]},"processes":[{"args":{"name":"a","lastKmipMasterKeyRotation":"x"},"name":"a"}]}`, `{"x":{"processes":[{"name":"a"}]},"processes":[{` + set + `"args":{"name":"a","lastKmipMasterKeyRotation":"x"},"name":"a"}]}`},
		"numbers":     {`{"n":[1.0,1E400,12345678901234567890,-0],"processes":[{"name":"a","v":1.10}]}`, `{"n":[1.0,1E400,12345678901234567890,-0],"processes":[{` + set + `"name":"a","v":1.10}]}`},
		"odd ones":    {`{"processes":[null,7,"a",[{"name":"a"}],{"name":9},{"name":"a"}]}`, `{"processes":[null,7,"a",[{"name":"a"}],{"name":9},{` + set + `"name":"a"}]}`},
	}
	for name, tt := range tests {
		got, err := opsmanager.Stamp([]byte(tt.config), []string{"a"}, stampValue)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %v\n%s, want\n%s", name, err, got, tt.want)
		}
	}
}

func TestStamp_RefusesWhatLeavesADoubt(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]string{
		"no JSON":         `{"processes":[{"name":"a"}]`,
		"something after": `{"processes":[{"name":"a"}]} {}`,
		"no processes":    `{"version":1}`,
		"two lists":       `{"processes":[{"name":"a"}],"processes":[]}`,
		"not there":       `{"processes":[{"name":"b"}]}`,
		"there twice":     `{"processes":[{"name":"a"},{"name":"a"}]}`,
		"two names":       `{"processes":[{"name":"a","name":"a"}]}`,
		"no object":       `[]`,
		"null":            `null`,
		"too deep":        `{"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `,"processes":[{"name":"a"}]}`,
	} {
		if got, err := opsmanager.Stamp([]byte(config), []string{"a"}, stampValue); err == nil {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// Whatever a config holds, only the field changes: to the byte when it is taken out again, and to a reader.
func TestStamp_OfRandomConfigs(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2000) {
		w := &writer{r: rand.New(rand.NewPCG(seed, 1))}
		config, names := w.config()
		got, err := opsmanager.Stamp([]byte(config), names, stampValue)
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, config)
		}
		want := decoded(t, []byte(config))
		processes, _ := want["processes"].([]any)
		for _, process := range processes {
			if p, ok := process.(map[string]any); ok && contains(names, p["name"]) {
				p["lastKmipMasterKeyRotation"] = stampValue
			}
		}
		if !reflect.DeepEqual(decoded(t, got), want) {
			t.Fatalf("seed %d:\n%s, from\n%s", seed, got, config)
		}
		back := bytes.ReplaceAll(got, []byte(`"lastKmipMasterKeyRotation":"`+stampValue+`",`), nil)
		plain := strings.ReplaceAll(config, `"lastKmipMasterKeyRotation":"2020-01-01T00:00:00Z",`, "")
		if !bytes.Equal(back, []byte(plain)) {
			t.Fatalf("seed %d: other bytes changed\n%s, from\n%s", seed, got, config)
		}
		again, err := opsmanager.Stamp(got, names, stampValue)
		if err != nil || !bytes.Equal(again, got) {
			t.Fatalf("seed %d: the second time it changes more: %v", seed, err)
		}
	}
}

func decoded(t *testing.T, doc []byte) map[string]any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	var v map[string]any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, doc)
	}
	return v
}

func contains(names []string, name any) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}

// writer writes random JSON.
type writer struct {
	r *rand.Rand
}

func (w *writer) space() string {
	return []string{"", "", "", " ", "\n\t", "\r\n  "}[w.r.IntN(6)]
}

func (w *writer) text() string {
	parts := []string{"a", "Zoë", `\u00e9`, `\"`, `\\`, `\ud83d\udd11`, "{", "]", ":", ",", "name", "processes", "☃", `\/`, " "}
	var b strings.Builder
	for range w.r.IntN(5) {
		b.WriteString(parts[w.r.IntN(len(parts))])
	}
	return `"` + b.String() + `"`
}

func (w *writer) value(depth int) string {
	switch n := w.r.IntN(9); {
	case n < 2 && depth > 0:
		var items []string
		for range w.r.IntN(4) {
			items = append(items, w.space()+w.value(depth-1)+w.space())
		}
		return "[" + strings.Join(items, ",") + w.space() + "]"
	case n < 4 && depth > 0:
		var fields []string
		for i := range w.r.IntN(4) {
			fields = append(fields, fmt.Sprintf("%s\"k%d\"%s:%s%s", w.space(), i, w.space(), w.space(), w.value(depth-1)))
		}
		return "{" + strings.Join(fields, ",") + w.space() + "}"
	case n < 6:
		return []string{"0", "-0", "1.10", "1E+400", "123456789012345678901234567890", "9007199254740993", "-1e-7"}[w.r.IntN(7)]
	case n == 6:
		return []string{"true", "false", "null"}[w.r.IntN(3)]
	default:
		return w.text()
	}
}

// config returns a config and the processes to stamp.
func (w *writer) config() (text string, names []string) {
	var processes []string
	for i := range 1 + w.r.IntN(5) {
		name := fmt.Sprintf("rs_%d", i)
		fields := []string{w.space() + `"name"` + w.space() + ":" + w.space() + `"` + name + `"`}
		for k := range w.r.IntN(6) {
			fields = append(fields, fmt.Sprintf("%s\"x%d\":%s", w.space(), k, w.value(4)))
		}
		w.r.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
		if w.r.IntN(2) == 0 {
			fields[0] = `"lastKmipMasterKeyRotation":"2020-01-01T00:00:00Z",` + fields[0]
		}
		processes = append(processes, w.space()+"{"+strings.Join(fields, ",")+w.space()+"}")
		names = append(names, name)
	}
	fields := []string{`"processes"` + w.space() + ":" + w.space() + "[" + strings.Join(processes, ",") + w.space() + "]"}
	for k := range w.r.IntN(8) {
		fields = append(fields, fmt.Sprintf("%s\"y%d\"%s:%s", w.space(), k, w.space(), w.value(5)))
	}
	w.r.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	return w.space() + "{" + strings.Join(fields, ",") + "}" + w.space(), names
}
