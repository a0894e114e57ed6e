package point_test

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"strings"
	"testing"
	"testing/quick"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/point"
)

func TestEncodeName(t *testing.T) {
	long := strings.Repeat("a", 121)
	cases := map[string]string{
		"web-1":               "web-1",
		"My_App.2":            "My_App.2",
		"":                    "%",
		"%":                   "%25",
		".":                   "%2E",
		"..":                  "%2E.",
		".hidden":             "%2Ehidden",
		"app:v1":              "app%3Av1",
		"registry:5000/a/b:1": "registry%3A5000%2Fa%2Fb%3A1",
		"a~b":                 "a%7Eb",
		"über":                "%C3%BCber",
		"a\x00b\n":            "a%00b%0A",
		`a\b`:                 "a%5Cb",
		long[:120]:            long[:120],
		long:                  long[:100] + "~" + sha256Hex([]byte(long))[:16],
		// The bound is of the encoded name.
		strings.Repeat("/", 40): strings.Repeat("%2F", 40),
		strings.Repeat("/", 41): strings.Repeat("%2F", 33) + "%" + "~" + sha256Hex([]byte(strings.Repeat("/", 41)))[:16],
	}
	for name, want := range cases {
		if got := point.EncodeName(name); got != want {
			t.Errorf("%q is encoded as %q, want %q", name, got, want)
		}
	}
}

// Whatever the name, its encoding is one element of a path that stays where it is.
func TestEncodeNameIsOneElement(t *testing.T) {
	safe := func(name string) bool {
		e := point.EncodeName(name)
		ascii := !strings.ContainsFunc(e, func(r rune) bool { return r > '~' || r <= ' ' })
		return e != "" && len(e) <= 120 && ascii && !strings.ContainsAny(e, `/\:*?"<>|`) && path.Join("/a", e) == "/a/"+e
	}
	if err := quick.Check(safe, &quick.Config{MaxCount: 5000}); err != nil {
		t.Error(err)
	}
}

// Two names have two encodings.
func TestEncodeNameTellsApart(t *testing.T) {
	apart := func(a, b string) bool { return a == b || point.EncodeName(a) != point.EncodeName(b) }
	if err := quick.Check(apart, &quick.Config{MaxCount: 5000}); err != nil {
		t.Error(err)
	}
	names := []string{"", "%", "%25", "a/b", "a%2Fb", "a~b", ".", "%2E", "..", strings.Repeat("a", 120), strings.Repeat("a", 121),
		strings.Repeat("a", 100) + "~" + sha256Hex([]byte(strings.Repeat("a", 121)))[:16]}
	seen := map[string]string{}
	for _, name := range names {
		e := point.EncodeName(name)
		if other, taken := seen[e]; taken {
			t.Errorf("%q and %q are both %q", name, other, e)
		}
		seen[e] = name
	}
}

func TestDir(t *testing.T) {
	got := point.Dir("web_2E01", events.ItemImage, "registry:5000/app:v1", "20260102T150405Z-0123abcd")
	if want := "points/web_2E01/image/registry%3A5000%2Fapp%3Av1/20260102T150405Z-0123abcd"; got != want {
		t.Errorf("the folder is %s, want %s", got, want)
	}
	if got := point.Dir("h", events.ItemContainer, "../../etc", "id"); got != "points/h/container/%2E.%2F..%2Fetc/id" {
		t.Errorf("the folder is %s", got)
	}
}

func sha256Hex(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
