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
// another goroutine, ahead of who reads the plain bytes; Close does not close r. It may
// read the beginning of r at once, and reports the error of decrypt as it is.
func NewReader(r io.Reader, want Stored, decrypt Decrypt) (io.ReadCloser, error) {
	stored := newVerifier(r, want)
	compressed, err := opened(stored, decrypt)
	if err != nil {
		return nil, err
	}
	d, err := zstd.NewReader(compressed, zstd.WithDecoderConcurrency(ahead), zstd.WithDecoderMaxWindow(maxWindow))
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
	case err == nil:
		return n, nil
	case r.stored.err != nil: // the decoder takes some errors for the end
		return n, r.stored.err
	case err == io.EOF && r.stored.proven:
		return n, err
	case err == io.EOF:
		err = errors.New("it goes on after its end")
	}
	return n, fmt.Errorf("%w: %w", ErrDamaged, err)
}

func (r *reader) Close() error {
	r.zstd.Close()
	return nil
}

// Over returns r, whose Close closes what it reads, too, after it.
func Over(r io.ReadCloser, under io.Closer) io.ReadCloser { return over{r, under} }

type over struct {
	io.ReadCloser
	under io.Closer
}

func (o over) Close() error { return errors.Join(o.ReadCloser.Close(), o.under.Close()) }

// NewPlainReader is as [NewReader], for a stream that was not compressed.
func NewPlainReader(r io.Reader, want Stored, decrypt Decrypt) (io.Reader, error) {
	stored := newVerifier(r, want)
	plain, err := opened(stored, decrypt)
	if err != nil {
		return nil, err
	}
	return plain, nil
}

// NewRawReader returns the stored bytes of a stream. It reports the end only as
// [NewReader] does.
func NewRawReader(r io.Reader, want Stored) io.Reader { return newVerifier(r, want) }

// opened returns what was encrypted.
func opened(stored *verifier, decrypt Decrypt) (io.Reader, error) {
	if decrypt == nil {
		return stored, nil
	}
	plain, err := decrypt(stored)
	if err != nil && stored.err != nil { // that is why
		err = stored.err
	}
	if err != nil {
		return nil, err
	}
	return &decrypted{plain, stored}, nil
}

// decrypted says of an error of decrypting that it is damage, unless it is that of the
// stored bytes. It hides which one it was: a decoder takes [io.ErrUnexpectedEOF], which is
// what an encrypted stream ends with that was cut short, for the end.
type decrypted struct {
	plain  io.Reader
	stored *verifier
}

func (d *decrypted) Read(p []byte) (int, error) {
	n, err := d.plain.Read(p)
	switch {
	case err == nil, err == io.EOF:
		return n, err
	case d.stored.err != nil:
		return n, d.stored.err
	}
	return n, fmt.Errorf("%w: %v", ErrDamaged, err) //nolint:errorlint // see above
}

// verifier passes on what it counts and hashes.
type verifier struct {
	r    io.Reader
	want Stored
	hash hash.Hash
	n    int64
	err  error // the first one that is not the end
	// proven is set when the end was reached, and all was as it should be.
	proven bool
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
	if digest := Digest(v.hash); digest != v.want.Digest {
		return fmt.Errorf("%w: its digest is %s instead of %s", ErrDamaged, digest, v.want.Digest)
	}
	v.proven = true
	return io.EOF
}
