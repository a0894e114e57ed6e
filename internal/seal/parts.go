package seal

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"filippo.io/age"

	"holdfast.io/holdfast/internal/codec"
)

// Parts opens parts of what is encrypted. It has the identities for as long as something is read,
// which they are read for once.
type Parts struct {
	seal       *Seal
	identities []age.Identity
}

// Parts reads the identities. It reports ErrNoIdentity.
func (s *Seal) Parts(ctx context.Context) (*Parts, error) {
	identities, err := s.identities(ctx)
	if err != nil {
		return nil, err
	}
	return &Parts{s, identities}, nil
}

// Part is something encrypted of which parts are read, one at a time. One goroutine uses it.
type Part struct {
	from  *ranges
	plain io.ReaderAt
	size  int64 // of the plain bytes
}

// Of returns what was encrypted as an object of so many bytes, of which open opens some. It reads
// its beginning and its end, and errors are as those of [Seal.Decrypt].
func (p *Parts) Of(size int64, open func(offset, length int64) (io.ReadCloser, error)) (*Part, error) {
	from := &ranges{open: open, size: size}
	plain, plainSize, err := age.DecryptReaderAt(from, size, p.identities...)
	from.close()
	if from.err != nil {
		return nil, from.err
	}
	if err != nil {
		return nil, p.seal.notOpened(err)
	}
	return &Part{from, plain, plainSize}, nil
}

// What age makes of a stream: parts of so many bytes, each encrypted to as many more.
const (
	plainPart = 64 << 10
	partMore  = 16
)

// rangeBuffer is how many bytes are decrypted at a time.
const rangeBuffer = 256 << 10

// Range returns so many of the plain bytes, from offset on, or as many as there are. Errors of
// reading are codec.ErrDamaged, or those of what is read. It is closed before the next one is
// asked for.
func (p *Part) Range(offset, length int64) io.ReadCloser {
	parts := max(1, (p.size+plainPart-1)/plainPart)
	header := p.from.size - p.size - parts*partMore
	p.from.until = min(p.from.size, header+((offset+length+plainPart-1)/plainPart)*(plainPart+partMore))
	return part{bufio.NewReaderSize(rangeReader{io.NewSectionReader(p.plain, offset, length), p.from}, rangeBuffer), p.from}
}

type part struct {
	io.Reader
	from *ranges
}

// Close implements [io.Closer].
func (p part) Close() error { return p.from.close() }

// rangeReader says of an error of decrypting that it is damage, unless it is that of what is read.
type rangeReader struct {
	io.Reader
	from *ranges
}

func (r rangeReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	switch {
	case err == nil, err == io.EOF:
		return n, err
	case r.from.err != nil:
		return n, r.from.err
	}
	return n, fmt.Errorf("%w: %v", codec.ErrDamaged, err) //nolint:errorlint // hides io.ErrUnexpectedEOF
}

// ranges reads an object from anywhere. It asks for more than it is asked for, so that what
// follows needs no request of its own.
type ranges struct {
	open   func(offset, length int64) (io.ReadCloser, error)
	size   int64
	until  int64 // where what will be needed ends
	stream io.ReadCloser
	at     int64 // in the object
	end    int64 // of the stream
	err    error // the first one of reading
}

// ReadAt implements [io.ReaderAt].
func (r *ranges) ReadAt(p []byte, off int64) (n int, err error) {
	if r.err != nil {
		return 0, r.err
	}
	end := off + int64(len(p))
	if r.stream == nil || off != r.at || end > r.end {
		err = r.close()
		if err == nil {
			r.at, r.end = off, max(end, r.until)
			r.stream, err = r.open(off, r.end-off)
		}
	}
	if err == nil {
		n, err = io.ReadFull(r.stream, p)
		r.at += int64(n)
	}
	if err == io.EOF { // not one byte was there
		err = io.ErrUnexpectedEOF
	}
	r.err = err
	return n, err
}

func (r *ranges) close() (err error) {
	if r.stream != nil {
		err = r.stream.Close()
		r.stream = nil
	}
	return err
}
