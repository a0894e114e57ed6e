package point

import (
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Compression says how an archive is compressed.
type Compression struct {
	// Level is a level of the zstd tool, 1 to 19. 0 means 3, the tool's default.
	Level int
}

// Written is what is known of an artifact when its last byte was written.
type Written struct {
	// Size and Digest are of the bytes stored.
	Size   int64
	Digest string
	// UncompressedSize is the number of bytes before compression.
	UncompressedSize int64
}

// Progress is told how many bytes were read and how many were stored so far. It
// is called from the goroutine that writes, often, and must be quick.
type Progress func(read, stored int64)

// WriteArchive compresses the image archive in r to w, and checks on the way
// that the archive is whole, that it holds the image imageID and nothing else,
// and that every digest in it is true. It holds a few megabytes, however large
// the archive. An error that wraps [ErrCorrupt] is the archive's fault; other
// errors come from r or w.
func WriteArchive(w io.Writer, r io.Reader, imageID string, c Compression, p Progress) (Written, *ArchiveInfo, error) {
	out := &counter{w: w, hash: sha256.New()}
	level := c.Level
	if level == 0 {
		level = 3
	}
	enc, err := newCompressor(out, zstd.EncoderLevelFromZstd(level))
	if err != nil {
		return Written{}, nil, err
	}
	defer enc.breakOff()
	in := &tee{r: r, w: enc, after: func(read int64) { p(read, out.written()) }}
	info, err := CheckArchive(in, imageID)
	if err != nil {
		return Written{}, nil, err
	}
	if err := enc.Close(); err != nil {
		return Written{}, nil, fmt.Errorf("compress the archive: %w", err)
	}
	written := out.result()
	written.UncompressedSize = in.read
	return written, info, nil
}

// WriteBytes writes b to w as it is.
func WriteBytes(w io.Writer, b []byte) (Written, error) {
	out := &counter{w: w, hash: sha256.New()}
	if _, err := out.Write(b); err != nil {
		return Written{}, err
	}
	written := out.result()
	written.UncompressedSize = written.Size
	return written, nil
}

// tee reads from r and writes what was read to w.
type tee struct {
	r     io.Reader
	w     io.Writer
	read  int64
	after func(read int64)
}

func (t *tee) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if n > 0 {
		t.read += int64(n)
		if _, werr := t.w.Write(p[:n]); werr != nil {
			return n, werr
		}
		t.after(t.read)
	}
	return n, err
}
