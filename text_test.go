package keyturn_test

import (
	"encoding/json"
	"testing"

	"github.com/keyturn/keyturn"
)

func TestStorable(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"": true, "plain": true, "ключ \U0001F511": true, `\u0000`: true, `\\u0000`: true, `a\`: true,
		"\x00": false, "a\x00b": false, "caf\xe9": false, "\\\x00": false, `\\` + "\x00": false,
	} {
		if got := keyturn.Storable(text); got != want {
			t.Errorf("Storable(%q) is %v", text, got)
		}
		if !keyturn.Storable(keyturn.MakeStorable(text)) || want && keyturn.MakeStorable(text) != text {
			t.Errorf("%q becomes %q", text, keyturn.MakeStorable(text))
		}
		document, err := json.Marshal(map[string][]string{"list": {"x", text, "y"}})
		if err != nil {
			t.Fatal(err)
		}
		var back map[string][]string
		if err := json.Unmarshal(document, &back); err != nil {
			t.Fatal(err)
		}
		if got := keyturn.StorableJSON(document); got != keyturn.Storable(back["list"][1]) {
			t.Errorf("StorableJSON(%s) is %v", document, got)
		}
	}
}
