// Package strictjson reads JSON that strangers wrote, and refuses what two
// readers could take in two ways: members that occur twice, bytes that are not
// UTF-8, text after the value, numbers that no 64-bit float can hold, and
// nesting that some reader cannot follow. Go's own decoder takes the last of two
// members, and replaces bad bytes.
package strictjson

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxDepth is how deep objects and arrays may be nested. Deeper text is refused
// at the first bracket too many, whatever follows it.
const MaxDepth = 64

// Error says what is wrong with a text.
type Error struct {
	// Pointer is the RFC 6901 JSON Pointer to the value that is wrong, see
	// [Pointer]; empty for the whole.
	Pointer string
	Message string
}

func (e *Error) Error() string { return strings.TrimSpace(e.Pointer + " " + e.Message) }

// Check reports whether raw is exactly one JSON value that every reader takes
// the same way. An error is an *[Error].
func Check(raw []byte) error {
	r := newReader(raw)
	if err := r.skip(); err != nil {
		return err
	}
	return r.end()
}

// Canonical returns the canonical form of raw (RFC 8785): two texts that differ
// only in the order of members, in white space, or in how numbers and characters
// are written have the same. An error says that raw is not one that [Check]
// accepts; raw is left as it is.
func Canonical(raw []byte) ([]byte, error) {
	if err := Check(raw); err != nil {
		return nil, err
	}
	v := jsontext.Value(bytes.Clone(raw))
	if err := v.Canonicalize(); err != nil {
		return nil, fmt.Errorf("canonicalize JSON: %w", err)
	}
	return v, nil
}

// Members returns the values of the members of raw, which must be one JSON
// object. The values share raw's memory. A member that occurs twice inside one
// of them is not found here: whoever reads a value holds it against [Check].
//
// An error is an *[Error]. The members that were read before it are returned
// all the same, without any that occurs twice.
func Members(raw []byte) (map[string][]byte, error) {
	r := newReader(raw, jsontext.AllowDuplicateNames(true))
	members := map[string][]byte{}
	if r.dec.PeekKind() != '{' {
		if err := Check(raw); err != nil {
			return members, err
		}
		return members, &Error{Message: "is not a JSON object"}
	}
	err := r.members(members)
	if err == nil {
		err = r.end()
	}
	return members, err
}

// Bounds of what an error repeats of a text. Errors are sent back to whoever
// wrote it.
const (
	maxPointer = 1024 // bytes
	maxQuoted  = 64   // characters
)

// Pointer returns the RFC 6901 JSON Pointer of a path. Where it would be longer
// than 1 KiB, it is that of the innermost value around for which it is not.
func Pointer(path ...string) string {
	var p jsontext.Pointer
	for _, token := range path {
		longer := p.AppendToken(token)
		if len(longer) > maxPointer {
			break
		}
		p = longer
	}
	return string(p)
}

// Quote returns s in quotes, with its end left out if it has more than 64
// characters.
func Quote(s string) string {
	quoted := fmt.Sprintf("%.*q", maxQuoted, s)
	if utf8.RuneCountInString(s) > maxQuoted {
		quoted += "…"
	}
	return quoted
}
