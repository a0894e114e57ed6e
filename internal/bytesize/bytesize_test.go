package bytesize_test

import (
	"encoding/json"
	"math"
	"testing"

	"holdfast.io/holdfast/internal/bytesize"
)

func TestFormat(t *testing.T) {
	for n, want := range map[int64]string{
		math.MinInt64: "0 B", -1: "0 B", 0: "0 B", 1: "1 B", 1023: "1023 B",
		1024: "1.0 KiB", 1 << 11: "2.0 KiB", 10188: "9.9 KiB", 10189: "10 KiB", 734 << 10: "734 KiB",
		1<<20 - 513: "1023 KiB", 1<<20 - 512: "1.0 MiB", 1 << 20: "1.0 MiB", 5<<20 + 1<<19: "5.5 MiB",
		1<<30 - 1: "1.0 GiB", 3 << 40: "3.0 TiB", 1 << 50: "1.0 PiB", math.MaxInt64: "8.0 EiB",
	} {
		if got := bytesize.Format(n); got != want {
			t.Errorf("%d bytes are %q, want %q", n, got, want)
		}
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]bytesize.Size{
		"0": 0, "4096": 4096, "1KiB": 1 << 10, "1 MB": 1e6, "150GiB": 150 << 30, "1.5 TiB": 3 << 39,
	} {
		var got bytesize.Size
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q is %d bytes, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-1", "many", "10 parsec", "16EiB", "1e400"} {
		var got bytesize.Size
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for %d bytes", text, got)
		}
	}
}

// What one process writes of its settings another one reads.
func TestSizeAsJSON(t *testing.T) {
	for _, n := range []bytesize.Size{0, 1, 4097, 150 << 30, 1<<50 + 1} {
		raw, err := json.Marshal(struct{ Limit bytesize.Size }{n})
		if err != nil {
			t.Fatal(err)
		}
		var back struct{ Limit bytesize.Size }
		if err := json.Unmarshal(raw, &back); err != nil || back.Limit != n {
			t.Errorf("%d bytes are written as %s, and read as %d, %v", n, raw, back.Limit, err)
		}
	}
}
