package strictjson

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	space       = " \t\r\n"
	occursTwice = "occurs twice"
)

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
		return jsontext.Token{}, explain(err)
	}
	if r.dec.StackDepth() > MaxDepth {
		return jsontext.Token{}, &Error{Message: fmt.Sprintf("is nested deeper than %d levels, at byte %d", MaxDepth, r.dec.InputOffset())}
	}
	if token.Kind() == '0' && !representable(token.String()) {
		return jsontext.Token{}, &Error{Pointer: r.pointer(), Message: "is a number that no 64-bit float can hold"}
	}
	return token, nil
}

// pointer returns the pointer to the value that was read last.
func (r *reader) pointer() string {
	return Pointer(slices.Collect(r.dec.StackPointer().Tokens())...)
}

// representable reports whether a number neither overflows nor vanishes as a
// 64-bit float. Readers differ on others, and those with exact arithmetic
// spend the memory that the exponent asks for.
func representable(number string) bool {
	f, err := strconv.ParseFloat(number, 64)
	mantissa, _, _ := strings.Cut(strings.ToLower(number), "e")
	return err == nil && (f != 0 || !strings.ContainsAny(mantissa, "123456789"))
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

// members reads one object and enters its members into all. Those that occur
// twice are an error at its end, and are left out.
func (r *reader) members(all map[string][]byte) error {
	if _, err := r.token(); err != nil {
		return err
	}
	twice := map[string]bool{}
	defer func() {
		for name := range twice {
			delete(all, name)
		}
	}()
	for r.dec.PeekKind() != '}' {
		token, err := r.token()
		if err != nil {
			return err
		}
		name, start := token.String(), r.dec.InputOffset()
		if err := r.skip(); err != nil {
			return err
		}
		if _, again := all[name]; again {
			twice[name] = true
		}
		all[name] = bytes.TrimLeft(r.raw[start:r.dec.InputOffset()], space+":")
	}
	if _, err := r.token(); err != nil {
		return err
	}
	if len(twice) > 0 {
		first := slices.Min(slices.Collect(maps.Keys(twice)))
		return &Error{Pointer: Pointer(first), Message: occursTwice}
	}
	return nil
}

// end reports whether nothing but space is left.
func (r *reader) end() error {
	at := r.dec.InputOffset()
	if len(bytes.TrimLeft(r.raw[at:], space)) > 0 {
		return &Error{Message: fmt.Sprintf("goes on after the JSON value, at byte %d", at)}
	}
	return nil
}

func explain(err error) error {
	syntax, ok := errors.AsType[*jsontext.SyntacticError](err)
	switch {
	case err == io.EOF:
		return &Error{Message: "is empty; a JSON value is expected"}
	case !ok:
		return &Error{Message: "is not JSON: " + err.Error()}
	}
	at := Pointer(slices.Collect(syntax.JSONPointer.Tokens())...)
	if errors.Is(syntax.Err, jsontext.ErrDuplicateName) {
		return &Error{Pointer: at, Message: occursTwice}
	}
	return &Error{Pointer: at, Message: fmt.Sprintf("is not JSON, at byte %d: %v", syntax.ByteOffset, syntax.Err)}
}
