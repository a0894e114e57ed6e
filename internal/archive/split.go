package archive

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"path"
	"regexp"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Layers takes the layers of an image, one after another, as they come by.
type Layers interface {
	// Next returns what takes the layer that comes next. size is how many bytes the archive
	// has of it, and digest what it has them under, "sha256:<hex>"; empty where it has no
	// digests. Layers come in any order.
	Next(digest string, size int64) (Layer, error)
}

// Layer takes the plain bytes of one layer, a tar. End or Abort ends it.
type Layer interface {
	io.Writer
	// End says that the layer is whole, and the digest of its bytes, "sha256:<hex>".
	End(diffID string) error
	// Abort says that it is not.
	Abort()
}

// Split reads r as [Check] does, and gives the layers to who takes them, in the order in
// which they come by, unpacked if the archive has them compressed. That a layer has ended
// does not mean that the archive is whole: only Split's own success does. It passes on
// the errors of layers.
func Split(r io.Reader, imageID string, layers Layers) (*Info, error) {
	return check(r, imageID, layers)
}

// sniffed is how many bytes of a file tell what it is: a tar has a NUL in its first block,
// and JSON has none.
const sniffed = 512

// podmanLayer is how Podman names a layer: by its diff id.
var podmanLayer = regexp.MustCompile(`^[0-9a-f]{64}\.tar$`)

// isLayer reports whether a file of an archive is a layer: by its name, or, where that is
// a digest, by how it begins.
func isLayer(name string, r *bufio.Reader) bool {
	if !strings.HasPrefix(name, blobPrefix) {
		return path.Base(name) == layerName || podmanLayer.MatchString(name)
	}
	head, _ := r.Peek(sniffed) // what is wrong shows when it is read
	return len(head) > 0 && (head[0] != '{' && head[0] != '[' || bytes.IndexByte(head, 0) >= 0)
}

// take gives one layer away, of so many bytes, and enters its diff id. sum has hashed what
// was read of it.
func (c *checker) take(name string, size int64, stored io.Reader, sum hash.Hash, buf []byte) error {
	digest := ""
	if hexDigits, ok := strings.CutPrefix(name, blobPrefix); ok {
		digest = digestPrefix + hexDigits
	} else if podmanLayer.MatchString(name) {
		digest = digestPrefix + strings.TrimSuffix(name, ".tar")
	}
	to, err := c.layers.Next(digest, size)
	if err != nil {
		return err
	}
	defer to.Abort()
	read, out := &failing{Reader: stored}, io.Writer(&failing{Writer: to})
	packed := bufio.NewReaderSize(read, sniffed) // larger reads pass the buffer by
	if isPacked(packed) {
		sum = sha256.New()
		out = io.MultiWriter(out, sum)
	}
	plain, err := Unpack(packed, maxWindow)
	if err == nil {
		defer plain.Close()
		_, err = io.CopyBuffer(out, struct{ io.Reader }{plain}, buf)
	}
	if err == nil { // what follows the end of what is compressed
		_, err = io.CopyBuffer(io.Discard, struct{ io.Reader }{read}, buf)
	}
	if failed, ok := errors.AsType[*ownError](err); ok {
		return failed.error
	}
	if err != nil {
		return corrupt("the layer %s cannot be unpacked: %v", name, err)
	}
	c.diffIDs[name] = digestPrefix + hex.EncodeToString(sum.Sum(nil))
	return to.End(c.diffIDs[name])
}

// failing marks the errors of a reader or a writer, to tell them from those of unpacking
// what comes by.
type failing struct {
	io.Reader
	io.Writer
}

type ownError struct{ error }

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = &ownError{err}
	}
	return n, err
}

func (f *failing) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if err != nil {
		err = &ownError{err}
	}
	return n, err
}

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// isPacked reports whether what follows is compressed.
func isPacked(r *bufio.Reader) bool {
	begin, _ := r.Peek(len(zstdMagic)) // what is wrong shows when it is read
	return bytes.HasPrefix(begin, gzipMagic) || bytes.HasPrefix(begin, zstdMagic)
}

// Unpack returns the plain bytes of a layer, which Engines keep as they are, or compressed
// by gzip or zstd. window bounds the memory that zstd may ask for, in bytes. Reading it to its
// end leaves what follows what is compressed in packed.
func Unpack(packed *bufio.Reader, window uint64) (io.ReadCloser, error) {
	begin, err := packed.Peek(len(zstdMagic))
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(begin, gzipMagic):
		return gzip.NewReader(packed)
	case bytes.HasPrefix(begin, zstdMagic):
		z, err := zstd.NewReader(packed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(window))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(packed), nil
}

// maxWindow bounds the memory that a layer compressed by zstd may ask for, in bytes.
const maxWindow = 128 << 20
