package codec

import (
	"errors"
	"fmt"
	"io"
)

// Writer stores one stream. The stream ends with Finish or Abort, whichever comes
// first. One goroutine uses a Writer; StoredBytes is for any.
type Writer struct {
	out        *counter
	sealed     io.WriteCloser // to out; nil if the bytes are stored in clear
	compressor *compressor    // nil if they are stored as they are
	taken      int64
	ended      bool
}

var errEnded = errors.New("codec: the stream has ended")

// NewWriter returns a Writer that compresses a stream to its destination, which several
// threads do at once; they write to it from one goroutine. It holds some megabytes,
// however long the stream.
func NewWriter(to Destination, c Compression) (*Writer, error) {
	w, err := NewPlainWriter(to)
	if err != nil {
		return nil, err
	}
	w.compressor, err = newCompressor(w.inner(), c)
	return w, err
}

// NewPlainWriter returns a Writer that does not compress.
func NewPlainWriter(to Destination) (w *Writer, err error) {
	w = &Writer{out: newCounter(to.Writer)}
	if to.Encrypt != nil {
		w.sealed, err = to.Encrypt(w.out)
	}
	return w, err
}

// inner is what takes the compressed bytes.
func (w *Writer) inner() io.Writer {
	if w.sealed != nil {
		return w.sealed
	}
	return w.out
}

// Write implements [io.Writer]. Its error may be that of an earlier write to the
// underlying writer.
func (w *Writer) Write(p []byte) (n int, err error) {
	if w.ended {
		return 0, errEnded
	}
	if w.compressor != nil {
		n, err = w.compressor.Write(p)
	} else {
		n, err = w.inner().Write(p)
	}
	w.taken += int64(n)
	return n, err
}

// StoredBytes returns how many bytes the underlying writer has taken so far.
func (w *Writer) StoredBytes() int64 { return w.out.written() }

// Finish writes what is left and returns what was stored. The underlying writer is
// not closed.
func (w *Writer) Finish() (Stored, error) {
	if w.ended {
		return Stored{}, errEnded
	}
	w.ended = true
	if w.compressor != nil {
		if err := w.compressor.Close(); err != nil {
			return Stored{}, fmt.Errorf("compress: %w", err)
		}
	}
	if w.sealed != nil {
		if err := w.sealed.Close(); err != nil {
			return Stored{}, fmt.Errorf("encrypt: %w", err)
		}
	}
	return Stored{Size: w.out.written(), Digest: w.out.digest(), UncompressedSize: w.taken}, nil
}

// Abort ends a compressed stream so that no reader takes it for a whole one, and
// returns when the last write to the underlying writer has ended. One that is encrypted
// lacks its end too. After Finish it does nothing.
func (w *Writer) Abort() {
	if w.compressor != nil && !w.ended {
		w.compressor.breakOff()
	}
	w.ended = true
}
