// Package schemas holds the JSON Schemas of everything that Holdfast reads and
// writes in JSON, and validates against them.
package schemas

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

//go:embed *.schema.json
var files embed.FS

const (
	suffix      = ".schema.json"
	baseURL     = "https://holdfast.io/schemas/"
	definitions = "definitions"
)

// maxViolations bounds what one error reports.
const maxViolations = 50

// Violation is one thing that is wrong with a document.
type Violation struct {
	// Pointer is the RFC 6901 JSON Pointer to the offending member.
	Pointer string
	Message string
	// Unsupported is set for a member of the contract that this version does not
	// support yet.
	Unsupported bool
}

// Error is all that is wrong with a document, at most 50 violations.
type Error []Violation

func (e *Error) Error() string {
	var parts []string
	for _, v := range *e {
		parts = append(parts, strings.TrimSpace(v.Pointer+" "+v.Message))
	}
	return strings.Join(parts, "; ")
}

// Names returns the names of all schemas but the shared definitions, sorted: event types,
// "manifest" and "dead-letter".
func Names() []string {
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		panic(err) // embedded: cannot fail
	}
	var names []string
	for _, e := range entries {
		if name := strings.TrimSuffix(e.Name(), suffix); name != definitions {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Source returns the text of a schema.
func Source(name string) ([]byte, error) {
	raw, err := files.ReadFile(name + suffix)
	if err != nil {
		return nil, fmt.Errorf("there is no schema %q", name)
	}
	return raw, nil
}

// Validate holds raw against a schema. It reports an *Error that names every
// offending member. It may be called by several goroutines.
func Validate(name string, raw []byte) error {
	if err := CheckJSON(raw); err != nil {
		return err
	}
	schema, err := compiled(name)
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return &Error{{Message: "not JSON: " + err.Error()}}
	}
	err = schema.Validate(value)
	if err == nil {
		return nil
	}
	bad, ok := err.(*jsonschema.ValidationError)
	if !ok {
		return err
	}
	var all Error
	collect(bad, &all)
	return &all
}

var compile = sync.OnceValues(func() (map[string]*jsonschema.Schema, error) {
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	for _, name := range append(Names(), definitions) {
		raw, err := Source(name)
		if err != nil {
			return nil, err
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			return nil, fmt.Errorf("schema %s: %w", name, err)
		}
		if err := c.AddResource(baseURL+name+suffix, doc); err != nil {
			return nil, fmt.Errorf("schema %s: %w", name, err)
		}
	}
	schemas := map[string]*jsonschema.Schema{}
	for _, name := range Names() {
		s, err := c.Compile(baseURL + name + suffix)
		if err != nil {
			return nil, fmt.Errorf("schema %s: %w", name, err)
		}
		schemas[name] = s
	}
	return schemas, nil
})

func compiled(name string) (*jsonschema.Schema, error) {
	schemas, err := compile()
	if err != nil {
		return nil, err
	}
	s, ok := schemas[name]
	if !ok {
		return nil, fmt.Errorf("there is no schema %q", name)
	}
	return s, nil
}

// collect turns the leaves of the validator's report into violations.
func collect(e *jsonschema.ValidationError, all *Error) {
	if len(*all) >= maxViolations {
		return
	}
	at := pointer(e.InstanceLocation)
	switch k := e.ErrorKind.(type) {
	case *kind.FalseSchema:
		// The schemas forbid a member with "false" only if the contract has it.
		*all = append(*all, Violation{Pointer: at, Message: "not supported by this version", Unsupported: true})
		return
	case *kind.AdditionalProperties:
		for _, p := range k.Properties {
			*all = append(*all, Violation{Pointer: at + pointer([]string{p}), Message: fmt.Sprintf("unknown member %q", p)})
		}
		return
	case *kind.AnyOf:
		// The only choice between members that the schemas have.
		*all = append(*all, Violation{Pointer: at, Message: "nothing is selected: at least one selector is required"})
		return
	}
	if len(e.Causes) == 0 {
		*all = append(*all, Violation{Pointer: at, Message: describe(e)})
		return
	}
	for _, c := range e.Causes {
		collect(c, all)
	}
}
