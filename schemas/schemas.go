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
	"slices"
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
func Validate(name string, raw []byte) error { return shared.validate(name, raw) }

// library compiles a schema when it is first needed: that takes milliseconds, and a process
// needs a few of several dozen. Its methods may be called by several goroutines.
type library struct {
	mu       sync.Mutex
	compiler *jsonschema.Compiler
	compiled map[string]*jsonschema.Schema // by name
}

var shared = newLibrary()

func newLibrary() *library {
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.UseLoader(loader{})
	return &library{compiler: c, compiled: map[string]*jsonschema.Schema{}}
}

func (l *library) validate(name string, raw []byte) error {
	schema, err := l.schema(name)
	if err != nil {
		return err
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

// schema returns a schema that a document can follow. The schemas are part of the program,
// so one that cannot be compiled is a bug, which a test of all of them shows.
func (l *library) schema(name string) (*jsonschema.Schema, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if schema, ok := l.compiled[name]; ok {
		return schema, nil
	}
	if !slices.Contains(Names(), name) {
		return nil, fmt.Errorf("there is no schema %q", name)
	}
	schema := l.compiler.MustCompile(baseURL + name + suffix)
	l.compiled[name] = schema
	return schema, nil
}

// loader gives a compiler the schemas that others refer to.
type loader struct{}

// Load implements [jsonschema.URLLoader].
func (loader) Load(url string) (any, error) {
	return document(strings.TrimSuffix(strings.TrimPrefix(url, baseURL), suffix))
}

// documents holds the decoded texts of schemas by their names.
var documents sync.Map

// document returns the decoded text of a schema.
func document(name string) (any, error) {
	if decoded, ok := documents.Load(name); ok {
		return decoded, nil
	}
	raw, err := Source(name)
	if err != nil {
		return nil, err
	}
	decoded, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("schema %s: %w", name, err)
	}
	documents.Store(name, decoded)
	return decoded, nil
}

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
