// Package examples holds examples of everything that has a schema, for tests and
// for whoever writes a publisher or a consumer.
//
// A valid example is a document. An invalid one is a document with exactly one
// fault, and what is said of it.
package examples

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"strings"
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

// read returns the files of one folder by their names.
func read(folder, schema string) (map[string][]byte, error) {
	dir := path.Join(folder, schema)
	entries, err := files.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("there are no %s examples of %q", folder, schema)
	}
	all := map[string][]byte{}
	for _, e := range entries {
		raw, err := fs.ReadFile(files, path.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		all[e.Name()] = raw
	}
	return all, nil
}
