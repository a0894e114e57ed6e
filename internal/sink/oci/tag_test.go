package oci

import (
	"strings"
	"testing"

	"oras.land/oras-go/v2/registry"
)

func FuzzTag(f *testing.F) {
	f.Add("points/web01/container/web-1/20261128T045523Z-77a9006b/manifest.json", 7)
	f.Add("blobs/sha256/"+strings.Repeat("0", 64), 13)
	f.Add("-.ü/ %2F\n"+strings.Repeat("x", 300), 300)
	f.Fuzz(func(t *testing.T, key string, cut int) {
		for _, kind := range []string{objectTag, uploadTag} {
			tag := tagOf(kind, key, "")
			ref := registry.Reference{Registry: "registry", Repository: "repository", Reference: tag}
			if err := ref.ValidateReferenceAsTag(); err != nil {
				t.Fatalf("%q has the tag %q: %v", key, tag, err)
			}
			prefix := key[:max(0, min(cut, len(key)))]
			if !strings.HasPrefix(tag, tagPrefix(kind, prefix)) {
				t.Fatalf("%q has the tag %q, which is not found by %q", key, tag, prefix)
			}
			if tagOf(kind, key+"x", "") == tag || tagOf(kind, key, "x") == tag {
				t.Fatalf("%q shares its tag", key)
			}
		}
	})
}
