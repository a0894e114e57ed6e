package codec_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"filippo.io/age"
	"go.uber.org/goleak"

	"holdfast.io/holdfast/internal/codec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// random returns so many bytes, half of which cannot be compressed.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b[:n/2])
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func sha256Hex(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// forms are the two forms of stored streams.
var forms = map[string]struct {
	writer func(w io.Writer) (*codec.Writer, error)
	reader func(t testing.TB, r io.Reader, want codec.Stored) io.Reader
}{
	"zstd":             {zstdTo(nil), zstdFrom(nil)},
	"plain":            {plainTo(nil), plainFrom(nil)},
	"zstd, encrypted":  {zstdTo(encrypt), zstdFrom(decrypt)},
	"plain, encrypted": {plainTo(encrypt), plainFrom(decrypt)},
}

// identity is who the tests encrypt for.
var identity = func() *age.X25519Identity {
	i, err := age.GenerateX25519Identity()
	if err != nil {
		panic(err)
	}
	return i
}()

func encrypt(w io.Writer) (io.WriteCloser, error) { return age.Encrypt(w, identity.Recipient()) }

func decrypt(r io.Reader) (io.Reader, error) {
	plain, err := age.Decrypt(r, identity)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", codec.ErrDamaged, err)
	}
	return plain, nil
}

func zstdTo(encrypt func(io.Writer) (io.WriteCloser, error)) func(io.Writer) (*codec.Writer, error) {
	return func(w io.Writer) (*codec.Writer, error) {
		return codec.NewWriter(codec.Destination{Writer: w, Encrypt: encrypt}, codec.Compression{})
	}
}

func plainTo(encrypt func(io.Writer) (io.WriteCloser, error)) func(io.Writer) (*codec.Writer, error) {
	return func(w io.Writer) (*codec.Writer, error) {
		return codec.NewPlainWriter(codec.Destination{Writer: w, Encrypt: encrypt})
	}
}

// begin begins a stream in a form.
func begin(t testing.TB, form string, w io.Writer) *codec.Writer {
	t.Helper()
	out, err := forms[form].writer(w)
	must(t, err)
	return out
}

func zstdFrom(decrypt codec.Decrypt) func(testing.TB, io.Reader, codec.Stored) io.Reader {
	return func(t testing.TB, r io.Reader, want codec.Stored) io.Reader {
		plain, err := codec.NewReader(r, want, decrypt)
		if err != nil {
			return iotest.ErrReader(err)
		}
		t.Cleanup(func() { _ = plain.Close() })
		return plain
	}
}

func plainFrom(decrypt codec.Decrypt) func(testing.TB, io.Reader, codec.Stored) io.Reader {
	return func(_ testing.TB, r io.Reader, want codec.Stored) io.Reader {
		plain, err := codec.NewPlainReader(r, want, decrypt)
		if err != nil {
			return iotest.ErrReader(err)
		}
		return plain
	}
}

func newWriter(t testing.TB, w io.Writer, level int) *codec.Writer {
	t.Helper()
	out, err := codec.NewWriter(codec.Destination{Writer: w}, codec.Compression{Level: level})
	must(t, err)
	return out
}

// store returns the stored form of some bytes.
func store(t *testing.T, out *codec.Writer, plain []byte) codec.Stored {
	t.Helper()
	_, err := io.Copy(out, iotest.HalfReader(bytes.NewReader(plain)))
	must(t, err)
	stored, err := out.Finish()
	must(t, err)
	return stored
}

func TestThereAndBack(t *testing.T) {
	for name, form := range forms {
		for _, size := range []int{0, 1, 300 << 10, 3<<20 + 17} {
			plain := random(size)
			var lies bytes.Buffer
			stored := store(t, begin(t, name, &lies), plain)
			want := codec.Stored{Size: int64(lies.Len()), Digest: "sha256:" + sha256Hex(lies.Bytes()), UncompressedSize: int64(size)}
			if stored != want {
				t.Errorf("%s, %d bytes: %+v was stored, want %+v", name, size, stored, want)
			}
			got, err := io.ReadAll(form.reader(t, &lies, stored))
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%s: %d bytes came back as %d, %v", name, size, len(got), err)
			}
		}
	}
}

func TestEveryLevel(t *testing.T) {
	plain := random(300 << 10)
	for _, level := range []int{0, 1, 3, 19} {
		var lies bytes.Buffer
		stored := store(t, newWriter(t, &lies, level), plain)
		got, err := io.ReadAll(forms["zstd"].reader(t, &lies, stored))
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("level %d: %d bytes came back, %v", level, len(got), err)
		}
	}
}

func TestStoredBytesFollowsWhatIsStored(t *testing.T) {
	var lies bytes.Buffer
	out := begin(t, "plain", &lies)
	for range 3 {
		_, err := out.Write([]byte("abc"))
		must(t, err)
		if out.StoredBytes() != int64(lies.Len()) {
			t.Errorf("%d bytes are said to be stored, and %d are", out.StoredBytes(), lies.Len())
		}
	}
}

// What was broken off does not look whole, wherever it ends.
func TestAbort(t *testing.T) {
	for _, form := range []string{"zstd", "zstd, encrypted"} {
		testAbort(t, form)
	}
}

func testAbort(t *testing.T, form string) {
	for _, n := range []int{0, 1, 512, 1 << 20, 5 << 20} {
		var lies bytes.Buffer
		out := begin(t, form, &lies)
		_, err := out.Write(random(n))
		must(t, err)
		out.Abort()
		out.Abort()
		if _, err := out.Finish(); err == nil {
			t.Errorf("after %d bytes, what was broken off was finished", n)
		}
		if _, err := out.Write([]byte("late")); err == nil {
			t.Errorf("after %d bytes, something was written to what was broken off", n)
		}
		want := codec.Stored{Size: int64(lies.Len()), Digest: "sha256:" + sha256Hex(lies.Bytes())}
		if _, err := io.Copy(io.Discard, forms[form].reader(t, &lies, want)); !errors.Is(err, codec.ErrDamaged) {
			t.Errorf("broken off after %d bytes, what was stored is read as whole: %v", n, err)
		}
	}
}

// Every change of what is stored is noticed before its end is.
func TestReaderNotices(t *testing.T) {
	for name, form := range forms {
		var lies bytes.Buffer
		stored := store(t, begin(t, name, &lies), random(300))
		whole := lies.Bytes()
		read := func(raw []byte) error {
			_, err := io.Copy(io.Discard, form.reader(t, bytes.NewReader(raw), stored))
			return err
		}
		for i := range whole {
			changed := bytes.Clone(whole)
			changed[i] ^= 1
			if err := read(changed); !errors.Is(err, codec.ErrDamaged) {
				t.Errorf("%s: byte %d of %d is another: %v", name, i, len(whole), err)
			}
			if err := read(whole[:i]); !errors.Is(err, codec.ErrDamaged) {
				t.Errorf("%s: cut after %d of %d bytes: %v", name, i, len(whole), err)
			}
		}
		if err := read(append(bytes.Clone(whole), whole...)); !errors.Is(err, codec.ErrDamaged) {
			t.Errorf("%s: stored twice: %v", name, err)
		}
	}
}

func TestReaderTellsASourceThatBreaksFromDamage(t *testing.T) {
	for _, broken := range []error{errors.New("broken"), io.ErrUnexpectedEOF} { // which is how a connection ends
		testBreaks(t, broken)
	}
}

func testBreaks(t *testing.T, broken error) {
	for name, form := range forms {
		var lies bytes.Buffer
		stored := store(t, begin(t, name, &lies), random(3<<20))
		for _, n := range []int{0, 1, 1 << 20, lies.Len()} {
			r := io.MultiReader(bytes.NewReader(lies.Bytes()[:n]), iotest.ErrReader(broken))
			_, err := io.Copy(io.Discard, form.reader(t, r, stored))
			if !errors.Is(err, broken) || errors.Is(err, codec.ErrDamaged) {
				t.Errorf("%s: broken after %d of %d bytes: %v", name, n, lies.Len(), err)
			}
		}
	}
}

// What is not read to its end is not read any more after its Close: the race detector
// would notice.
func TestReaderClosed(t *testing.T) {
	var lies bytes.Buffer
	stored := store(t, newWriter(t, &lies, 0), random(12<<20))
	r := &countedReader{r: &lies}
	plain, err := codec.NewReader(r, stored, nil)
	must(t, err)
	_, err = io.CopyN(io.Discard, plain, 10)
	must(t, err)
	must(t, plain.Close())
	if r.n++; lies.Len() == 0 {
		t.Error("all was read ahead")
	}
}

// countedReader counts how often it is read.
type countedReader struct {
	r io.Reader
	n int
}

func (c *countedReader) Read(p []byte) (int, error) {
	c.n++
	return c.r.Read(p)
}

// limitedWriter takes so many bytes and then reports an error. Nobody may write to
// it once the stream has ended: the race detector would notice.
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

func TestWriterToWhatIsFull(t *testing.T) {
	full := errors.New("full")
	plain := random(12 << 20)
	for name, form := range forms {
		for _, n := range []int{0, 1, 100, 1 << 20, 3 << 20} {
			w := &limitedWriter{left: n, err: full}
			out, err := form.writer(w)
			if err == nil {
				if _, err = out.Write(plain); err == nil {
					_, err = out.Finish()
				}
				out.Abort()
			}
			if !errors.Is(err, full) {
				t.Errorf("%s: full after %d bytes, the error is %v", name, n, err)
			}
			w.left++ // a write that comes too late is a race with this
		}
	}
}

// FuzzReader: a reader never panics, and takes nothing for whole that is not what
// was stored.
func FuzzReader(f *testing.F) {
	var lies bytes.Buffer
	out := newWriter(f, &lies, 0)
	_, _ = out.Write(random(2000))
	stored, err := out.Finish()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(lies.Bytes())
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, err := io.Copy(io.Discard, forms["zstd"].reader(t, bytes.NewReader(raw), stored))
		if whole := bytes.Equal(raw, lies.Bytes()); whole != (err == nil) {
			t.Errorf("whole: %t, and the error is %v", whole, err)
		}
	})
}
