// Package codec turns a stream of bytes into the form in which it is stored, and
// back: compressed or as it is, encrypted or not, counted and hashed. It is pure io: it
// knows no sink, no key, and not what the bytes mean.
package codec

import (
	"fmt"
	"io"
	"runtime"

	"github.com/klauspost/compress/zstd"
)

// Destination is where a stream is stored.
type Destination struct {
	io.Writer
	// Encrypt returns a writer that encrypts to w, and whose Close ends the stream and not
	// w; nil to store it in clear.
	Encrypt func(w io.Writer) (io.WriteCloser, error)
}

// Decrypt returns what was encrypted to r. A nil one stands for what was stored in clear.
type Decrypt func(r io.Reader) (io.Reader, error)

// Compression says how a stream is compressed.
type Compression struct {
	// Level is a level of the zstd tool, 1 to 19. 0 means 3, the tool's default.
	Level int
	// Streams is how many streams are compressed at the same time, this one among them: they
	// share the threads, and with them the memory. 0 means one.
	Streams int
}

const defaultLevel = 3

func (c Compression) level() zstd.EncoderLevel {
	if c.Level == 0 {
		return zstd.EncoderLevelFromZstd(defaultLevel)
	}
	return zstd.EncoderLevelFromZstd(c.Level)
}

// NewEncoder returns what compresses frames of at most so many plain bytes, each by itself, and
// how many threads may use it at a time.
func (c Compression) NewEncoder(most int) (enc *zstd.Encoder, threads int, err error) {
	threads = max(1, min(runtime.GOMAXPROCS(0), maxThreads)/max(1, c.Streams))
	enc, err = zstd.NewWriter(nil,
		zstd.WithEncoderLevel(c.level()),
		zstd.WithEncoderConcurrency(threads),
		zstd.WithWindowSize(most),
		zstd.WithLowerEncoderMem(true), // no history beyond one frame: it would never be used
	)
	if err != nil {
		return nil, 0, fmt.Errorf("set up zstd: %w", err)
	}
	return enc, threads, nil
}

// Stored describes a stream that was stored.
type Stored struct {
	// Size, in bytes, and Digest, "sha256:<hex>", are of the bytes as they lie in
	// the sink.
	Size   int64
	Digest string
	// UncompressedSize is the number of bytes that were written to the Writer.
	UncompressedSize int64
}
