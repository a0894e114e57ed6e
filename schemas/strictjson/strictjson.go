// Package strictjson reads JSON that strangers wrote, and refuses what two
// readers could take in two ways: members that occur twice, bytes that are not
// UTF-8, text after the value, and nesting that some reader cannot follow.
// Go's own decoder takes the last of two members, and replaces bad bytes.
package strictjson

import (
	"bytes"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxDepth is how deep objects and arrays may be nested. Deeper text is refused
// at the first bracket too many, whatever follows it.
const MaxDepth = 64

// Error says what is wrong with a text.
type Error struct {
	// Pointer is the RFC 6901 JSON Pointer to the value that is wrong; empty for
	// the whole.
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
	if _, err := r.token(); err != nil {
		return members, err
	}
	var twice error
	seen := map[string]bool{}
	for r.dec.PeekKind() != '}' {
		token, err := r.token()
		if err != nil {
			return members, err
		}
		name := token.String()
		start := r.dec.InputOffset()
		if err := r.skip(); err != nil {
			return members, err
		}
		if seen[name] {
			delete(members, name)
			twice = &Error{Pointer: string(jsontext.Pointer("").AppendToken(name)), Message: occursTwice}
			continue
		}
		seen[name] = true
		members[name] = bytes.TrimLeft(raw[start:r.dec.InputOffset()], " \t\r\n:")
	}
	if _, err := r.token(); err != nil {
		return members, err
	}
	if err := r.end(); err != nil {
		return members, err
	}
	return members, twice
}
