// Package schemas holds the JSON Schemas (draft 2020-12) of everything that
// Holdfast reads and writes in JSON, and validates against them. They are the
// reference for publishers and consumers; the README beside them is the guide.
//
// Requests, the manifest, the context and the marks of points are closed: a member
// that the schema does not know is refused, because a misspelt option must never
// pass silently. Results are open: later versions may add members, and readers
// ignore those they do not know.
package schemas

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"holdfast.io/holdfast/schemas/strictjson"
)

//go:embed *.schema.json
var files embed.FS

const (
	suffix  = ".schema.json"
	baseURL = "https://holdfast.io/schemas/"
	// definitions is the schema that the others take shared definitions from.
	// Nothing is validated against it as a whole.
	definitions = "definitions"
)

// Names returns the names of the schemas that a document can follow, sorted:
// the types of events, "context", "dead-letter", "host-status", "manifest" and the marks
// "protected", "removed" and "verified".
func Names() []string {
	var names []string
	for _, name := range allNames() {
		if name != definitions {
			names = append(names, name)
		}
	}
	return names
}

// Source returns the text of a schema: one of [Names], or "definitions", which
// they refer to.
func Source(name string) ([]byte, error) {
	raw, err := files.ReadFile(name + suffix)
	if err != nil {
		return nil, fmt.Errorf("there is no schema %q", name)
	}
	return raw, nil
}

// Validate holds raw against a schema. The text is first held against
// [strictjson.Check]. An *[Error] says what is wrong with raw; any other error
// means that there is no schema of that name. Validate may be called by several
// goroutines.
func Validate(name string, raw []byte) error {
	schema, ok := compiled()[name]
	if !ok {
		return fmt.Errorf("there is no schema %q", name)
	}
	if err := strictjson.Check(raw); err != nil {
		return broken(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return broken(err)
	}
	err = schema.Validate(value)
	if invalid, ok := errors.AsType[*jsonschema.ValidationError](err); ok {
		return newError(invalid)
	}
	return err
}

// compiled returns the compiled schemas by their names. They are part of the
// program, so one that cannot be compiled is a bug, which every test shows.
var compiled = sync.OnceValue(func() map[string]*jsonschema.Schema {
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	for _, name := range allNames() {
		if err := compiler.AddResource(baseURL+name+suffix, documents()[name]); err != nil {
			panic(fmt.Sprintf("schema %s: %v", name, err))
		}
	}
	schemas := map[string]*jsonschema.Schema{}
	for _, name := range Names() {
		schemas[name] = compiler.MustCompile(baseURL + name + suffix)
	}
	return schemas
})

// documents returns the decoded texts of the schemas by their names.
var documents = sync.OnceValue(func() map[string]any {
	all := map[string]any{}
	for _, name := range allNames() {
		raw, err := Source(name)
		if err == nil {
			all[name], err = jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		}
		if err != nil {
			panic(fmt.Sprintf("schema %s: %v", name, err))
		}
	}
	return all
})

// allNames returns the names of all schemas, sorted.
func allNames() []string {
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(err) // an embedded folder can always be read
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = strings.TrimSuffix(e.Name(), suffix)
	}
	return names
}
