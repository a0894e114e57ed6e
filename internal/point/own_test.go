package point

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"holdfast.io/holdfast/schemas"
	"holdfast.io/holdfast/schemas/examples"
)

// What Encode makes of the examples is read without the schema.
func TestOwnManifestsAreReadQuickly(t *testing.T) {
	for name, raw := range ownExamples(t) {
		if _, ok := decodeOwn(raw); !ok {
			t.Errorf("%s is held against the schema: isPlain does not know something that the schema allows", name)
		}
	}
}

// odd are values that a manifest may have in place of others.
var odd = []any{"", "x", " ", "X", "sha256:", "volume", "a\u0000b", "\u0085", strings.Repeat("x", 401), strings.Repeat("é", 2000),
	"20260302T141503Z-441e781", "20260302T141503Z-441E7818", "sha256:" + strings.Repeat("A", 64), "web_2", "web_2e", "web_2E",
	strings.Repeat("a", 16), strings.Repeat("1", 16), -1, 0, 2, 1.5, true, nil, []any{}, map[string]any{}}

// Whatever is changed in an own manifest, nothing is read without the schema that the
// schema refuses. Every member of a manifest is in an example, which another test sees
// to.
func TestOwnManifestsFollowTheSchema(t *testing.T) {
	seen := map[string]bool{}
	for name, raw := range ownExamples(t) {
		var root map[string]any
		if err := json.Unmarshal(raw, &root); err != nil {
			t.Fatal(err)
		}
		changeAll(root, "", seen, func(what string) {
			document, err := json.Marshal(root)
			if err != nil {
				t.Fatal(err)
			}
			var m Manifest
			if json.Unmarshal(document, &m) != nil || !m.isPlain() {
				return
			}
			own, err := m.marshal()
			if err == nil {
				err = schemas.Validate("manifest", own)
			}
			if err != nil {
				t.Errorf("%s with %s is read, and the schema says: %v", name, what, err)
			}
		})
	}
	if len(seen) < 30 {
		t.Errorf("only %d members were changed", len(seen))
	}
}

// changeAll changes every value below an object in turn, and calls try with each
// change. Members that were seen are changed again only where what an item is decides
// about them.
func changeAll(object map[string]any, at string, seen map[string]bool, try func(what string)) {
	for name, value := range object {
		here := at + "/" + name
		if seen[here] && here != "/image" && here != "/item" && here != "/item/kind" {
			continue
		}
		seen[here] = true
		for _, to := range changesOf(value) {
			object[name] = to
			try(fmt.Sprintf("%.60q at %s", fmt.Sprint(to), here))
		}
		delete(object, name)
		try("nothing at " + here)
		object[name] = value
		switch value := value.(type) {
		case map[string]any:
			changeAll(value, here, seen, try)
		case []any:
			if len(value) > 0 {
				changeAll(value[0].(map[string]any), here+"/0", seen, try)
			}
		}
	}
}

// changesOf returns what is put in place of a value.
func changesOf(value any) []any {
	switch value := value.(type) {
	case map[string]any:
		many := map[string]any{}
		for i := range 100 {
			many[fmt.Sprint("k", i)] = "v"
		}
		return append(slices.Clip(odd), many, map[string]any{"": "v"}, map[string]any{"a\nb": "v"}, map[string]any{strings.Repeat("k", 200): "v"},
			map[string]any{"k": strings.Repeat("v", 2000)})
	case []any:
		if len(value) > 0 {
			return append(slices.Clip(odd), slices.Repeat(value[:1], 100))
		}
	}
	return odd
}

// ownExamples are the valid examples as Encode writes them.
func ownExamples(t *testing.T) map[string][]byte {
	t.Helper()
	valid, err := examples.Valid("manifest")
	if err != nil {
		t.Fatal(err)
	}
	own := map[string][]byte{}
	for name, raw := range valid {
		var m Manifest
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		if own[name], err = m.marshal(); err != nil {
			t.Fatal(err)
		}
	}
	return own
}
