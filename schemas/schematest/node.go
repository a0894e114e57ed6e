package schematest

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"holdfast.io/holdfast/schemas"
)

// node is a schema with its references followed: what it says itself comes on
// top of what the schema that it refers to says.
type node struct {
	jsonType    string
	description string
	format      string
	encoding    string
	// enum is the whole enumeration, subset what the schema narrows it to.
	enum, subset []string
	refused      bool // by "not"
	properties   map[string]*node
	required     map[string]bool
	items        *node // of an array
	values       *node // of an object whose members have no fixed names
}

// load reads a schema and all that it refers to.
func load(t *testing.T, name string) *node {
	t.Helper()
	r := &resolver{t: t, documents: map[string]any{}}
	return r.at(name, "")
}

type resolver struct {
	t         *testing.T
	documents map[string]any // by schema name
}

// at resolves the schema at a pointer into a document.
func (r *resolver) at(name string, pointer jsontext.Pointer) *node {
	r.t.Helper()
	if r.documents[name] == nil {
		raw, err := schemas.Source(name)
		if err != nil {
			r.t.Fatal(err)
		}
		var document any
		if err := json.Unmarshal(raw, &document); err != nil {
			r.t.Fatalf("schema %s: %v", name, err)
		}
		r.documents[name] = document
	}
	at := r.documents[name]
	for token := range pointer.Tokens() {
		parent, _ := at.(map[string]any)
		at = parent[token]
	}
	return r.resolve(name, at)
}

// resolve reads one schema of a document.
func (r *resolver) resolve(name string, schema any) *node {
	r.t.Helper()
	raw, ok := schema.(map[string]any)
	if !ok {
		r.t.Fatalf("schema %s: %v is not a schema that this test can read", name, schema)
	}
	n := &node{properties: map[string]*node{}, required: map[string]bool{}}
	if ref, ok := raw["$ref"].(string); ok {
		file, pointer, _ := strings.Cut(ref, "#")
		if file == "" {
			n = r.at(name, jsontext.Pointer(pointer))
		} else {
			n = r.at(strings.TrimSuffix(file, ".schema.json"), jsontext.Pointer(pointer))
		}
	}
	if long := r.longForm(name, raw); long != nil {
		n = long
	}
	set(&n.jsonType, raw["type"])
	set(&n.description, raw["description"])
	set(&n.format, raw["format"])
	set(&n.encoding, raw["contentEncoding"])
	if enum := texts(raw["enum"]); n.enum == nil {
		n.enum = enum
	} else {
		n.subset = enum
	}
	_, n.refused = raw["not"]
	for _, member := range texts(raw["required"]) {
		n.required[member] = true
	}
	properties, _ := raw["properties"].(map[string]any)
	for member, schema := range properties {
		n.properties[member] = overlay(n.properties[member], r.resolve(name, schema))
	}
	if items, ok := raw["items"]; ok {
		n.items = r.resolve(name, items)
	}
	patterns, _ := raw["patternProperties"].(map[string]any)
	for _, schema := range patterns {
		n.values = r.resolve(name, schema)
	}
	if additional, ok := raw["additionalProperties"].(map[string]any); ok {
		n.values = r.resolve(name, additional)
	}
	return n
}

// longForm is the object among the choices of a member that can also be written as a
// text; nil if it has no such choice.
func (r *resolver) longForm(name string, raw map[string]any) *node {
	choices, _ := raw["anyOf"].([]any)
	for _, choice := range choices {
		if c, _ := choice.(map[string]any); c["type"] == "object" {
			return r.resolve(name, c)
		}
	}
	return nil
}

// overlay returns what two schemas for one member say together. The only thing
// that the second may add is a narrower enumeration.
func overlay(base, top *node) *node {
	if base == nil {
		return top
	}
	base.subset = top.enum
	return base
}

func set(to *string, value any) {
	if text, ok := value.(string); ok {
		*to = text
	}
}

func texts(value any) []string {
	list, _ := value.([]any)
	var all []string
	for _, v := range list {
		text, _ := v.(string)
		all = append(all, text)
	}
	return all
}
