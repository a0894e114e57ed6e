package prime

import (
	"strings"
	"testing"

	"holdfast.io/holdfast/internal/archive"
)

func TestWorth(t *testing.T) {
	const mib = 1 << 20
	for name, c := range map[string]struct {
		sizes []int64
		known int
		why   string // empty if it is worth it
	}{
		"built from nothing":             {[]int64{100 * mib, mib}, 0, ""},
		"built on what was pulled":       {[]int64{100 * mib, 50 * mib}, 1, "pulled most"},
		"more was built than was pulled": {[]int64{100 * mib, 50 * mib, 60 * mib}, 1, ""},
		"all was pulled":                 {[]int64{100 * mib, 50 * mib}, 2, "has pulled its layers"},
		"small":                          {[]int64{15 * mib}, 0, "small"},
		"of layers without files":        {[]int64{0, 0}, 0, "has pulled its layers"},
	} {
		var layers []archive.Part
		for _, size := range c.sizes {
			layers = append(layers, archive.Part{Size: size})
		}
		if why := worth(layers, c.known); (why == "") != (c.why == "") || !strings.Contains(why, c.why) {
			t.Errorf("%s: it says %q, want %q", name, why, c.why)
		}
	}
}
