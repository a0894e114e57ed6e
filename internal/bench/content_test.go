//go:build linux

package bench

import (
	"archive/tar"
	"bytes"
	"io"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// tree returns the archive of a tree of n bytes.
func tree(t *testing.T, seed uint64, n int64) []byte {
	t.Helper()
	r := tarStream(func(tw *tar.Writer) error { return writeTree(tw, "root", seed, n) })
	defer r.Close()
	raw, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestWriteTreeIsTheSameForOneSeed(t *testing.T) {
	if !bytes.Equal(tree(t, 7, 300_001), tree(t, 7, 300_001)) {
		t.Error("two trees of one seed differ")
	}
	if bytes.Equal(tree(t, 7, 300_001), tree(t, 8, 300_001)) {
		t.Error("trees of two seeds are the same")
	}
}

func TestWriteTreeHoldsTheBytesAskedFor(t *testing.T) {
	const want = 30_000_001
	tr := tar.NewReader(bytes.NewReader(tree(t, 1, want)))
	var got int64
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got += h.Size
	}
	if got != want {
		t.Errorf("the files hold %d bytes, not %d", got, want)
	}
}

// What is measured means something only with content that compresses about as
// well as real images do.
func TestWriteTreeCompressesLikeAnImage(t *testing.T) {
	raw := tree(t, 1, 30_000_000)
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	ratio := float64(len(raw)) / float64(len(e.EncodeAll(raw, nil)))
	if ratio < 1.2 || ratio > 2 {
		t.Errorf("it shrinks by a factor of %.2f", ratio)
	}
}
