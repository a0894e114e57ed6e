package point_test

import (
	"bytes"
	"testing"

	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/schemas/examples"
)

// FuzzDecodeManifest: Decode never panics, and what it accepts can be stored
// again and is then the same.
func FuzzDecodeManifest(f *testing.F) {
	valid, err := examples.Valid("manifest")
	if err != nil {
		f.Fatal(err)
	}
	for _, raw := range valid {
		f.Add(raw)
	}
	invalid, err := examples.Invalid("manifest")
	if err != nil {
		f.Fatal(err)
	}
	for _, fault := range invalid {
		f.Add(fault.Data)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := point.Decode(raw)
		if err != nil {
			return
		}
		stored, err := m.Encode()
		if err != nil {
			t.Fatalf("cannot be stored again: %v", err)
		}
		again, err := point.Decode(stored)
		if err != nil {
			t.Fatalf("what was stored cannot be read: %v", err)
		}
		restored, err := again.Encode()
		if err != nil || !bytes.Equal(stored, restored) {
			t.Errorf("changed when it was stored again (error %v):\n%s\n%s", err, stored, restored)
		}
	})
}
