package strictjson

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

const occursTwice = "occurs twice"

// reader reads tokens of one text. Its errors are of type *Error.
type reader struct {
	raw []byte
	dec *jsontext.Decoder
}

func newReader(raw []byte, opts ...jsontext.Options) *reader {
	return &reader{raw: raw, dec: jsontext.NewDecoder(bytes.NewReader(raw), opts...)}
}

// token reads the next token. It is the one place where depth is bounded:
// reading token by token costs nothing for what is nested beyond the bound.
func (r *reader) token() (jsontext.Token, error) {
	token, err := r.dec.ReadToken()
	if err != nil {
		return jsontext.Token{}, r.explain(err)
	}
	if r.dec.StackDepth() > MaxDepth {
		return jsontext.Token{}, &Error{Message: fmt.Sprintf("is nested deeper than %d levels, at byte %d", MaxDepth, r.dec.InputOffset())}
	}
	return token, nil
}

// skip reads one whole value.
func (r *reader) skip() error {
	depth := r.dec.StackDepth()
	for {
		if _, err := r.token(); err != nil {
			return err
		}
		if r.dec.StackDepth() == depth {
			return nil
		}
	}
}

// end reports whether nothing but space is left.
func (r *reader) end() error {
	at := r.dec.InputOffset()
	if len(bytes.TrimLeft(r.raw[at:], " \t\r\n")) > 0 {
		return &Error{Message: fmt.Sprintf("goes on after the JSON value, at byte %d", at)}
	}
	return nil
}

func (r *reader) explain(err error) error {
	if err == io.EOF {
		return &Error{Message: "is empty; a JSON value is expected"}
	}
	if errors.Is(err, jsontext.ErrDuplicateName) {
		syntax, _ := errors.AsType[*jsontext.SyntacticError](err)
		return &Error{Pointer: string(syntax.JSONPointer), Message: occursTwice}
	}
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return &Error{Pointer: string(syntax.JSONPointer), Message: fmt.Sprintf("is not JSON, at byte %d: %v", syntax.ByteOffset, syntax.Err)}
	}
	return &Error{Message: "is not JSON: " + err.Error()}
}
