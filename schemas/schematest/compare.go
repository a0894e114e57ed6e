package schematest

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// comparison compares schemas with Go types, and collects the paths of all
// members.
type comparison struct {
	t     *testing.T
	paths []string
}

var (
	timeType  = reflect.TypeFor[time.Time]()
	bytesType = reflect.TypeFor[[]byte]()
	anyJSON   = reflect.TypeFor[json.RawMessage]()
)

func (c *comparison) compare(path string, n *node, goType reflect.Type) {
	c.t.Helper()
	if goType.Kind() == reflect.Pointer {
		goType = goType.Elem()
	}
	if n == nil {
		c.t.Errorf("%s: the schema does not say what the entries are", path)
		return
	}
	switch goType {
	case timeType:
		c.expect(path, "format", n.format, "date-time")
		return
	case bytesType:
		c.expect(path, "contentEncoding", n.encoding, "base64")
		return
	case anyJSON: // whatever the schema says
		return
	}
	switch goType.Kind() {
	case reflect.Struct:
		c.expect(path, "type", n.jsonType, "object")
		c.compareFields(path, n, goType)
	case reflect.Map:
		c.expect(path, "type", n.jsonType, "object")
		c.compare(path+"/*", n.values, goType.Elem())
	case reflect.Slice:
		c.expect(path, "type", n.jsonType, "array")
		c.compare(path+"/*", n.items, goType.Elem())
	case reflect.String:
		c.compareText(path, n, goType)
	case reflect.Bool:
		c.expect(path, "type", n.jsonType, "boolean")
	case reflect.Int, reflect.Int64, reflect.Uint64:
		c.expect(path, "type", n.jsonType, "integer")
	case reflect.Float64:
		c.expect(path, "type", n.jsonType, "number")
	default:
		c.t.Errorf("%s: no schema is known to fit the Go type %s", path, goType)
	}
}

// compareFields compares the members of an object with the fields of a struct.
func (c *comparison) compareFields(path string, n *node, goType reflect.Type) {
	c.t.Helper()
	fields := fieldsOf(goType)
	for name, field := range fields {
		at := path + "/" + name
		property := n.properties[name]
		if property == nil {
			c.t.Errorf("%s: %s has it, the schema does not", at, goType)
			continue
		}
		c.paths = append(c.paths, at)
		if n.required[name] == field.optional {
			c.t.Errorf("%s: required is %v in the schema, but it may be left out is %v in %s", at, n.required[name], field.optional, goType)
		}
		if property.description == "" {
			c.t.Errorf("%s: the schema does not describe it", at)
		}
		c.compare(at, property, field.goType)
	}
	for name, property := range n.properties {
		if _, ok := fields[name]; !ok && !property.refused {
			c.t.Errorf("%s/%s: the schema has it, %s does not", path, name, goType)
		}
	}
	for name := range n.required {
		if n.properties[name] == nil {
			c.t.Errorf("%s/%s: the schema requires it, but does not say what it is", path, name)
		}
	}
}

// compareText compares an enumeration with the constants of a type.
func (c *comparison) compareText(path string, n *node, goType reflect.Type) {
	c.t.Helper()
	want := constants(c.t, goType)
	if want == nil {
		c.expect(path, "type", n.jsonType, "string")
	}
	got := slices.Sorted(slices.Values(n.enum))
	if !slices.Equal(got, want) {
		c.t.Errorf("%s: the schema allows %q, but %s has the constants %q", path, got, goType, want)
	}
	for _, value := range n.subset {
		if !slices.Contains(n.enum, value) {
			c.t.Errorf("%s: %q is not in the enumeration that the schema narrows", path, value)
		}
	}
}

func (c *comparison) expect(path, keyword, got, want string) {
	c.t.Helper()
	if got != want {
		c.t.Errorf("%s: the schema has the %s %q; the Go type asks for %q", path, keyword, got, want)
	}
}

type field struct {
	goType   reflect.Type
	optional bool
}

// fieldsOf returns the fields of a struct by their names in JSON, those of
// embedded structs among them.
func fieldsOf(goType reflect.Type) map[string]field {
	fields := map[string]field{}
	for _, f := range reflect.VisibleFields(goType) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.Anonymous && f.IsExported() && name != "-" {
			fields[name] = field{goType: f.Type, optional: options == "omitempty" || options == "omitzero"}
		}
	}
	return fields
}
