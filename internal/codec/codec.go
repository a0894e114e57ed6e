// Package codec turns a stream of bytes into the form in which it is stored, and
// back: compressed or as it is, encrypted or not, counted and hashed. It is pure io: it
// knows no sink, no key, and not what the bytes mean.
package codec

import "io"

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
}

const defaultLevel = 3

// Stored describes a stream that was stored.
type Stored struct {
	// Size, in bytes, and Digest, "sha256:<hex>", are of the bytes as they lie in
	// the sink.
	Size   int64
	Digest string
	// UncompressedSize is the number of bytes that were written to the Writer.
	UncompressedSize int64
}
