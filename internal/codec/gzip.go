package codec

import (
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
)

// NewGzipReader is as [NewReader], for a stream that something else has compressed by gzip. Of
// want, UncompressedSize does not count.
func NewGzipReader(r io.Reader, want Stored, decrypt Decrypt) (io.ReadCloser, error) {
	stored := newVerifier(r, want)
	compressed, err := opened(stored, decrypt)
	if err != nil {
		return nil, err
	}
	return &gzipReader{compressed: compressed, stored: stored}, nil
}

type gzipReader struct {
	compressed io.Reader
	plain      *gzip.Reader // nil before the first byte is read
	stored     *verifier
}

func (g *gzipReader) Read(p []byte) (n int, err error) {
	if g.plain == nil {
		g.plain, err = gzip.NewReader(g.compressed)
	}
	if err == nil {
		n, err = g.plain.Read(p)
	}
	switch {
	case err == nil:
		return n, nil
	case g.stored.err != nil:
		return n, g.stored.err
	case err == io.EOF && g.stored.proven && g.plain != nil:
		return n, err
	case err == io.EOF:
		err = errors.New("it is cut short")
	}
	return n, fmt.Errorf("%w: %w", ErrDamaged, err)
}

func (g *gzipReader) Close() error { return nil }
