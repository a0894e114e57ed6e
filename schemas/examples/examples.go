// Package examples holds examples of everything that has a schema, for tests and
// for whoever writes a publisher or a consumer.
//
// A valid example is a document. An invalid one is a document with exactly one
// fault, and what is said of it. Schemas that are names for one definition, as the
// results are that jobs of all kinds have, share their examples.
package examples

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"holdfast.io/holdfast/schemas"
)

//go:embed valid invalid
var files embed.FS

// Valid returns the valid examples of a schema by their names.
func Valid(schema string) (map[string][]byte, error) { return read("valid", schema) }

// Fault is an invalid document, and what is said of it.
type Fault struct {
	// Why says why the document is refused.
	Why string `json:"why"`
	// Pointer and Message are those of its one violation.
	Pointer string `json:"pointer"`
	Message string `json:"message"`
	// Unsupported is set if the contract allows the document, but this version
	// does not support it yet.
	Unsupported bool `json:"unsupported"`
	// Data is the document: any text.
	Data []byte `json:"-"`
}

// Invalid returns the invalid examples of a schema by their names.
//
// A file .json is an object with the members of [Fault] and the document as
// data. In a file .txt, for documents that would not survive that, each line up
// to the first empty one has the name and the value of a member, and what
// follows is the document.
func Invalid(schema string) (map[string]Fault, error) {
	raw, err := read("invalid", schema)
	if err != nil {
		return nil, err
	}
	faults := map[string]Fault{}
	for name, text := range raw {
		parse := parseJSON
		if path.Ext(name) == ".txt" {
			parse = parseText
		}
		if faults[name], err = parse(text); err != nil {
			return nil, fmt.Errorf("read the example %s of %s: %w", name, schema, err)
		}
	}
	return faults, nil
}

func parseJSON(text []byte) (Fault, error) {
	var f struct {
		Fault
		Data json.RawMessage `json:"data"`
	}
	err := json.Unmarshal(text, &f)
	f.Fault.Data = f.Data
	return f.Fault, err
}

func parseText(text []byte) (Fault, error) {
	head, document, ok := strings.Cut(string(text), "\n\n")
	if !ok {
		return Fault{}, fmt.Errorf("no empty line ends the head")
	}
	f := Fault{Data: []byte(document)}
	for line := range strings.Lines(head) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		switch name {
		case "why":
			f.Why = value
		case "pointer":
			f.Pointer = value
		case "message":
			f.Message = value
		default:
			return Fault{}, fmt.Errorf("a head has no member %q", name)
		}
	}
	return f, nil
}

// read returns the files of the folders of a schema, and of those that say the same,
// by their names; those of another folder have that in front.
func read(set, schema string) (map[string][]byte, error) {
	same, err := sameAs(schema)
	if err != nil {
		return nil, err
	}
	all := map[string][]byte{}
	for _, name := range same {
		dir := path.Join(set, name)
		entries, err := files.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			raw, err := fs.ReadFile(files, path.Join(dir, e.Name()))
			if err != nil {
				return nil, err
			}
			all[strings.TrimPrefix(path.Join(name, e.Name()), schema+"/")] = raw
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("there are no %s examples of %q", set, schema)
	}
	return all, nil
}

// sameAs returns the schema, and those that are names for the same definition.
func sameAs(schema string) ([]string, error) {
	of, err := definitionOf(schema)
	if err != nil || of == "" {
		return []string{schema}, err
	}
	var same []string
	for _, name := range schemas.Names() {
		other, err := definitionOf(name)
		if err != nil {
			return nil, err
		}
		if other == of {
			same = append(same, name)
		}
	}
	return same, nil
}

// definitionOf returns the definition that a schema is a name for; empty if it says
// something itself.
func definitionOf(schema string) (string, error) {
	raw, err := schemas.Source(schema)
	if err != nil {
		return "", err
	}
	var text struct {
		Ref        string          `json:"$ref"`
		Properties json.RawMessage `json:"properties"`
	}
	if err := json.Unmarshal(raw, &text); err != nil || text.Properties != nil {
		return "", err
	}
	return text.Ref, nil
}
