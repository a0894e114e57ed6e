package schemas

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxDepth is how deep JSON from outside may be nested.
const MaxDepth = 64

// CheckJSON reports whether raw is exactly one JSON value of UTF-8 text, nested
// at most MaxDepth deep, in which no object has a member twice. Go's own decoder
// takes the last of two members, and its validation takes any depth.
func CheckJSON(raw []byte) error {
	dec := jsontext.NewDecoder(bytes.NewReader(raw))
	for {
		_, err := dec.ReadToken()
		switch {
		case err == io.EOF && dec.InputOffset() == 0:
			return &Error{{Message: "empty: a JSON value is expected"}}
		case err == io.EOF:
			return nil
		case err != nil:
			return syntaxError(err)
		}
		if dec.StackDepth() > MaxDepth {
			return &Error{{Message: fmt.Sprintf("nested deeper than %d levels", MaxDepth)}}
		}
		if dec.StackDepth() == 0 { // the value is whole
			if rest := bytes.TrimLeft(raw[dec.InputOffset():], " \t\r\n"); len(rest) > 0 {
				return &Error{{Message: "something follows the JSON value"}}
			}
			return nil
		}
	}
}

func syntaxError(err error) error {
	if s, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		message := fmt.Sprintf("not JSON, at byte %d: %v", s.ByteOffset, s.Err)
		if errors.Is(s.Err, jsontext.ErrDuplicateName) {
			message = "this member occurs twice"
		}
		return &Error{{Pointer: string(s.JSONPointer), Message: message}}
	}
	return &Error{{Message: "not JSON: " + err.Error()}}
}
