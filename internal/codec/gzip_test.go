package codec_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"io"
	"testing"

	"holdfast.io/holdfast/internal/codec"
)

// What something else has compressed is read as what was compressed here: one stream, or several
// after each other. Its end comes only if it is proven, and any change of it is found.
func TestGzipReader(t *testing.T) {
	plain := bytes.Repeat([]byte("a layer "), 4000)
	var packed bytes.Buffer
	for _, part := range [][]byte{plain[:100], plain[100:]} {
		z := gzip.NewWriter(&packed)
		_, err := z.Write(part)
		if err := errors.Join(err, z.Close()); err != nil {
			t.Fatal(err)
		}
	}
	whole := packed.Bytes()
	sum := sha256.New()
	sum.Write(whole)
	want := codec.Stored{Size: int64(len(whole)), Digest: codec.Digest(sum)}
	read := func(stored []byte) ([]byte, error) {
		r, err := codec.NewGzipReader(bytes.NewReader(stored), want, nil)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(r)
	}
	if got, err := read(whole); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("it reads %d bytes and reports %v, want %d", len(got), err, len(plain))
	}
	damaged := map[string][]byte{"nothing": nil, "cut": whole[:len(whole)-1], "longer": append(bytes.Clone(whole), 0), "plain": plain[:len(whole)]}
	for i := range whole {
		flipped := bytes.Clone(whole)
		flipped[i] ^= 1
		damaged[string(rune('a'+i%26))+"flipped"] = flipped
	}
	for name, stored := range damaged {
		if _, err := read(stored); !errors.Is(err, codec.ErrDamaged) {
			t.Errorf("%s: it reports %v, want damage", name, err)
		}
	}
}
