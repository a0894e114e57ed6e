package recreate_test

import (
	"errors"
	"strings"
	"testing"

	"holdfast.io/holdfast/internal/recreate"
	"holdfast.io/holdfast/schemas/examples"
	"holdfast.io/holdfast/schemas/schematest"
)

func TestContextSchemaTypeAndExamplesAgree(t *testing.T) {
	schematest.Drift(t, "context", recreate.Context{})
}

func TestContextComesBack(t *testing.T) {
	valid, err := examples.Valid("context")
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range valid {
		c, err := recreate.DecodeContext(raw)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		again, err := c.Encode()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := recreate.DecodeContext(again); err != nil {
			t.Errorf("%s, encoded again: %v", name, err)
		}
	}
}

func TestContextThatIsNone(t *testing.T) {
	for text, want := range map[string]string{
		``:                      "not a container's context",
		`{}`:                    "/engine is required",
		`{"formatVersion": 2}`:  "a newer version of holdfast made it",
		`{"formatVersion": 1}x`: "not a container's context",
		strings.Repeat(" ", recreate.MaxContext+1): "more than",
	} {
		_, err := recreate.DecodeContext([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: the error is %v, want %q in it", text, err, want)
		}
		if newer := errors.Is(err, recreate.ErrNewer); newer != strings.Contains(text, "2") {
			t.Errorf("%.40q: it is said to be newer: %v", text, newer)
		}
	}
}

func FuzzDecodeContext(f *testing.F) {
	valid, err := examples.Valid("context")
	if err != nil {
		f.Fatal(err)
	}
	for _, raw := range valid {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := recreate.DecodeContext(raw)
		if err != nil {
			return
		}
		if _, err := c.Encode(); err != nil {
			t.Errorf("what was decoded cannot be encoded: %v", err)
		}
	})
}
