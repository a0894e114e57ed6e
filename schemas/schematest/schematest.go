// Package schematest has tests that keep a schema, the Go type that stands for
// it, and the examples of it from drifting apart.
package schematest

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"holdfast.io/holdfast/schemas/examples"
)

// Drift reports as errors of t:
//
//   - a field of goType that is no member in the schema, and the reverse; a
//     member that the schema refuses with "not" is passed over;
//   - a required member whose field has omitempty, and the reverse;
//   - a member whose field has another type;
//   - a constant of a field's type that is not in the member's enumeration, and
//     the reverse;
//   - a member without a description;
//   - a valid example that does not decode into goType, without unknown members,
//     or does not encode back to the same value;
//   - a member that is in no valid example.
//
// goType is a value of the type. It must be declared, and so must be the types
// of its fields, in the standard library or in this module.
func Drift(t *testing.T, schema string, goType any) {
	t.Helper()
	root := load(t, schema)
	c := &comparison{t: t}
	c.compare("", root, reflect.TypeOf(goType))

	valid, err := examples.Valid(schema)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(valid)) {
		roundTrip(t, name, valid[name], reflect.TypeOf(goType))
		var value any
		if err := json.Unmarshal(valid[name], &value); err != nil {
			t.Fatalf("example %s: %v", name, err)
		}
		mark(seen, "", root, value)
	}
	for _, path := range c.paths {
		if !seen[path] {
			t.Errorf("%s is in no valid example", path)
		}
	}
}

// roundTrip holds an example against the Go type.
func roundTrip(t *testing.T, name string, raw []byte, goType reflect.Type) {
	t.Helper()
	into := reflect.New(goType).Interface()
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		t.Errorf("example %s: %v", name, err)
		return
	}
	back, err := json.Marshal(into)
	if err != nil {
		t.Errorf("example %s: %v", name, err)
		return
	}
	want, got := jsontext.Value(bytes.Clone(raw)), jsontext.Value(back)
	if err := want.Canonicalize(); err != nil {
		t.Errorf("example %s: %v", name, err)
	}
	if err := got.Canonicalize(); err != nil {
		t.Errorf("example %s: %v", name, err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("example %s comes back as another value\n got %s\nwant %s", name, got, want)
	}
}

// mark enters the paths of the members that value has.
func mark(seen map[string]bool, path string, n *node, value any) {
	switch value := value.(type) {
	case map[string]any:
		for name, member := range value {
			if property := n.properties[name]; property != nil {
				seen[path+"/"+name] = true
				mark(seen, path+"/"+name, property, member)
			}
		}
	case []any:
		for _, entry := range value {
			mark(seen, path+"/*", n.items, entry)
		}
	}
}
