package codec

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"
)

// ErrDamaged is wrapped by every error that says that stored bytes are not those
// that were stored.
var ErrDamaged = errors.New("what is stored was changed or cut short")

// maxWindow bounds the memory of a reader, in bytes. Frames of a Writer need less.
const maxWindow = 8 << 20

// ahead is how many blocks, of up to 128 KiB, may be on their way through a reader: while
// what was read is hashed or sent, the next ones are read and decompressed.
const ahead = 4

// NewReader returns the plain bytes of a stream that a Writer of [NewWriter]
// compressed. It reports the end only when the size and the digest of what it read
// from r are those of want, and else an error that wraps [ErrDamaged]; what was
// read before that error must not be trusted. Until Close returns, r may be read by
// another goroutine, ahead of who reads the plain bytes; Close does not close r.
func NewReader(r io.Reader, want Stored) (io.ReadCloser, error) {
	stored := newVerifier(r, want)
	d, err := zstd.NewReader(stored, zstd.WithDecoderConcurrency(ahead), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, fmt.Errorf("set up zstd: %w", err)
	}
	return &reader{zstd: d, stored: stored}, nil
}

// reader decompresses in goroutines of its own. They have ended when the decoder reports
// an error, so what they wrote of the stored bytes can be read then.
type reader struct {
	zstd   *zstd.Decoder
	stored *verifier
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.zstd.Read(p)
	switch {
	case err == nil, err == io.EOF:
		return n, err
	case r.stored.err != nil:
		return n, r.stored.err
	}
	return n, fmt.Errorf("%w: %w", ErrDamaged, err)
}

func (r *reader) Close() error {
	r.zstd.Close()
	return nil
}

// NewPlainReader returns the bytes of a stream that was stored as it is, or the
// stored bytes of any other. It reports the end only as [NewReader] does.
func NewPlainReader(r io.Reader, want Stored) io.Reader { return newVerifier(r, want) }

// verifier passes on what it counts and hashes.
type verifier struct {
	r    io.Reader
	want Stored
	hash hash.Hash
	n    int64
	err  error // the first one that is not the end
}

func newVerifier(r io.Reader, want Stored) *verifier {
	return &verifier{r: r, want: want, hash: sha256.New()}
}

func (v *verifier) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	n, err := v.r.Read(p)
	v.hash.Write(p[:n])
	v.n += int64(n)
	if err == io.EOF {
		err = v.atEnd()
	} else if err == nil && v.n > v.want.Size {
		err = fmt.Errorf("%w: it has more than %d bytes", ErrDamaged, v.want.Size)
	}
	if err != io.EOF {
		v.err = err
	}
	return n, err
}

func (v *verifier) atEnd() error {
	if v.n != v.want.Size {
		return fmt.Errorf("%w: it has %d bytes instead of %d", ErrDamaged, v.n, v.want.Size)
	}
	if digest := digestOf(v.hash); digest != v.want.Digest {
		return fmt.Errorf("%w: its digest is %s instead of %s", ErrDamaged, digest, v.want.Digest)
	}
	return io.EOF
}
