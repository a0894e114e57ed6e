package seal_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast.io/holdfast/internal/seal"
)

// nameKey writes a file with a key for names, or what should be one.
func nameKey(t *testing.T, content string, mode os.FileMode) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "names")
	must(t, os.WriteFile(file, []byte(content), mode))
	must(t, os.Chmod(file, mode))
	return file
}

func keyOf(digit string) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Repeat(digit, 32))) + "\n"
}

// The same key and the same recipients give the same names, in any order and whatever the
// comment of a key is; and nothing else does.
func TestNames(t *testing.T) {
	_, a := key(t)
	_, b := key(t)
	_, ssh := sshKey(t, "ed25519")
	const digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	names := func(content string, recipients ...string) *seal.Names {
		return newSeal(t, seal.Options{Recipients: recipients, NameKeyFile: nameKey(t, content, 0o600)}).Names()
	}
	one := names(keyOf("1"), a, b, ssh)
	if is := one.Of(digest); len(is) != 64 || strings.Contains(digest, is) {
		t.Errorf("the name is %s", is)
	}
	sealed := one.Seal("a/key", []byte("content"))
	for name, c := range map[string]struct {
		names *seal.Names
		same  bool
	}{
		"the same":             {names(keyOf("1"), a, b, ssh), true},
		"in another order":     {names(keyOf("1"), " "+b, strings.TrimSpace(ssh)+" of somebody", a), true},
		"another key":          {names(keyOf("2"), a, b, ssh), false},
		"without a recipient":  {names(keyOf("1"), a, b), false},
		"none":                 {nil, false},
		"of a seal without it": {newSeal(t, seal.Options{Recipients: []string{a, b, ssh}}).Names(), false},
	} {
		if c.names.Same(one) != c.same || (c.names.Of(digest) == one.Of(digest)) != c.same {
			t.Errorf("%s: it is the same: %t", name, !c.same)
		}
		if plain, err := c.names.Open("a/key", sealed); (err == nil) != c.same || c.same && string(plain) != "content" {
			t.Errorf("%s: it opens %q, %v", name, plain, err)
		}
	}
	if _, err := one.Open("another/key", sealed); err == nil {
		t.Error("it is opened at another key")
	}
	if again := one.Seal("a/key", []byte("content")); string(again) == string(sealed) {
		t.Error("it is the same bytes each time")
	}
	if is := (*seal.Names)(nil).Of(digest); is != digest {
		t.Errorf("in clear the name is %s", is)
	}
}

// A key that cannot be one, or that others may read, is refused, and never repeated.
func TestNameKeyIsRefused(t *testing.T) {
	_, recipient := key(t)
	for name, c := range map[string]struct{ file, want string }{
		"there is none":   {filepath.Join(t.TempDir(), "none"), "no such file"},
		"others read it":  {nameKey(t, keyOf("1"), 0o640), "chmod 600"},
		"it is short":     {nameKey(t, "c2VjcmV0\n", 0o600), "head -c 32 /dev/urandom | base64"},
		"it is no base64": {nameKey(t, strings.Repeat("secret!", 9), 0o600), "head -c 32 /dev/urandom | base64"},
		"it is large":     {nameKey(t, strings.Repeat("c2VjcmV0", 1000), 0o600), "more than"},
	} {
		_, err := seal.New(seal.Options{Recipients: []string{recipient}, NameKeyFile: c.file})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "nameKeyFile "+c.file) ||
			strings.Contains(err.Error(), "secret!") {
			t.Errorf("%s: %v, want it to say %q", name, err, c.want)
		}
	}
}
