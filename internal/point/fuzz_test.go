package point_test

import (
	"bytes"
	"strings"
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

// FuzzCheckArchive: CheckArchive never panics, and accepts nothing without the
// digest of a configuration.
func FuzzCheckArchive(f *testing.F) {
	for _, build := range shapes {
		a := build()
		f.Add(a.bytes(f), a.imageID)
	}
	f.Add(sparseArchive(), "")
	f.Fuzz(func(t *testing.T, raw []byte, imageID string) {
		info, err := point.CheckArchive(bytes.NewReader(raw), imageID)
		if (info == nil) != (err != nil) {
			t.Fatalf("got %+v and the error %v", info, err)
		}
		if err == nil && !isDigest(info.ConfigDigest) {
			t.Errorf("accepted with the configuration %q", info.ConfigDigest)
		}
	})
}

func isDigest(s string) bool { return strings.HasPrefix(s, "sha256:") && len(s) == len("sha256:")+64 }
