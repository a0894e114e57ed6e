package point_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"holdfast.io/holdfast/internal/point"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func noProgress(int64, int64) {}

// random returns so many bytes that cannot be compressed.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// bigArchive is an archive that is written in many pieces.
func bigArchive(t *testing.T) (archive []byte, imageID string) {
	t.Helper()
	a := classicArchive()
	a.file("much.else", random(6<<20))
	return a.bytes(t), a.imageID
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWriteArchive(t *testing.T) {
	for _, level := range []int{0, 1, 3, 19} {
		for name, shape := range shapes {
			a := shape()
			a.file("much.else", random(300<<10))
			archive, id := a.bytes(t), a.imageID
			var stored bytes.Buffer
			var read, done int64
			written, info, err := point.WriteArchive(&stored, bytes.NewReader(archive), id, point.Compression{Level: level}, func(r, s int64) {
				if r < read || s < done || s > int64(stored.Len()) {
					t.Errorf("the progress goes from %d, %d to %d, %d; stored are %d", read, done, r, s, stored.Len())
				}
				read, done = r, s
			})
			if err != nil {
				t.Fatalf("%s, level %d: %v", name, level, err)
			}
			if written.Size != int64(stored.Len()) || written.Digest != "sha256:"+sha256Hex(stored.Bytes()) || written.UncompressedSize != int64(len(archive)) {
				t.Errorf("%s, level %d: %+v was written of %d bytes, stored are %d", name, level, written, len(archive), stored.Len())
			}
			if read != int64(len(archive)) || info.Layers < len(layers) {
				t.Errorf("%s, level %d: the progress ended at %d of %d bytes, and it holds %+v", name, level, read, len(archive), info)
			}
			if plain := decompress(t, stored.Bytes()); !bytes.Equal(plain, archive) {
				t.Errorf("%s, level %d: the archive came out as %d bytes, and had %d", name, level, len(plain), len(archive))
			}
		}
	}
}

func decompress(t *testing.T, stored []byte) []byte {
	t.Helper()
	r, err := zstd.NewReader(bytes.NewReader(stored))
	must(t, err)
	defer r.Close()
	plain, err := io.ReadAll(r)
	must(t, err)
	return plain
}

// What was broken off does not look whole: zstd itself notices.
func TestWriteArchiveCut(t *testing.T) {
	archive, id := bigArchive(t)
	for _, n := range []int{0, 1, 512, 1 << 20, 5 << 20, len(archive) - 1} {
		var stored bytes.Buffer
		_, _, err := point.WriteArchive(&stored, bytes.NewReader(archive[:n]), id, point.Compression{}, noProgress)
		if !errors.Is(err, point.ErrCorrupt) {
			t.Fatalf("cut after %d bytes, it is taken: %v", n, err)
		}
		if stored.Len() == 0 {
			continue
		}
		r, err := zstd.NewReader(&stored)
		must(t, err)
		if _, err := io.Copy(io.Discard, r); err == nil {
			t.Errorf("cut after %d bytes, what was stored looks whole", n)
		}
		r.Close()
	}
}

// limitedWriter takes so many bytes and then reports an error. Nobody may write to
// it once WriteArchive has returned: the race detector would notice.
type limitedWriter struct {
	left int
	err  error
}

func (w *limitedWriter) Write(p []byte) (int, error) {
	if len(p) > w.left {
		n := w.left
		w.left = 0
		return n, w.err
	}
	w.left -= len(p)
	return len(p), nil
}

func TestWriteArchiveToWhatIsFull(t *testing.T) {
	full := errors.New("full")
	archive, id := bigArchive(t)
	for _, n := range []int{0, 1, 100, 1 << 20, 3 << 20, 6 << 20} {
		w := &limitedWriter{left: n, err: full}
		_, _, err := point.WriteArchive(w, bytes.NewReader(archive), id, point.Compression{}, noProgress)
		if !errors.Is(err, full) || errors.Is(err, point.ErrCorrupt) {
			t.Errorf("full after %d bytes, the error is %v", n, err)
		}
		w.left++ // a write that comes too late is a race with this
	}
}

func TestWriteArchiveFromWhatBreaks(t *testing.T) {
	broken := errors.New("broken")
	archive, id := bigArchive(t)
	for _, n := range []int{0, 700, 2 << 20, len(archive)} {
		r := io.MultiReader(bytes.NewReader(archive[:n]), iotest.ErrReader(broken))
		_, _, err := point.WriteArchive(io.Discard, r, id, point.Compression{}, noProgress)
		if !errors.Is(err, broken) || errors.Is(err, point.ErrCorrupt) {
			t.Errorf("broken after %d bytes, the error is %v", n, err)
		}
	}
}

func TestWriteBytes(t *testing.T) {
	var b bytes.Buffer
	written, err := point.WriteBytes(&b, []byte("hello"))
	must(t, err)
	if want := (point.Written{Size: 5, UncompressedSize: 5, Digest: "sha256:" + sha256Hex([]byte("hello"))}); written != want || b.String() != "hello" {
		t.Errorf("%+v was written, want %+v; stored is %q", written, want, &b)
	}
	full := errors.New("full")
	if _, err := point.WriteBytes(&limitedWriter{left: 2, err: full}, []byte("hello")); !errors.Is(err, full) {
		t.Errorf("the error is %v", err)
	}
}
