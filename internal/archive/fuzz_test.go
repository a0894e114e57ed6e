package archive_test

import (
	"bytes"
	"strings"
	"testing"

	"holdfast.io/holdfast/internal/archive"
)

// FuzzCheck: Check never panics, and accepts nothing without the
// digest of a configuration.
func FuzzCheck(f *testing.F) {
	for _, build := range shapes {
		a := build()
		f.Add(a.bytes(f), a.imageID)
	}
	f.Add(sparseArchive(), "")
	f.Fuzz(func(t *testing.T, raw []byte, imageID string) {
		info, err := archive.Check(bytes.NewReader(raw), imageID)
		if (info == nil) != (err != nil) {
			t.Fatalf("got %+v and the error %v", info, err)
		}
		if err == nil && !isDigest(info.ConfigDigest) {
			t.Errorf("accepted with the configuration %q", info.ConfigDigest)
		}
	})
}

func isDigest(s string) bool { return strings.HasPrefix(s, "sha256:") && len(s) == len("sha256:")+64 }
