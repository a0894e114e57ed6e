// Package transport moves an image from an Engine to where a point is stored: [Save] streams
// the Engine's own archive, [Push] has the Engine push what the sink lacks. [Choose] says which.
package transport

import (
	"context"
	"io"
	"sync"

	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/engine"
)

// Save moves images as docker save does. It may be used by several goroutines; its
// fields are not changed once it is in use.
type Save struct {
	Engine      engine.Images
	Compression codec.Compression
	// Room returns how many bytes are free in a folder of this machine; any error
	// means that this cannot be told. It is set if the Engine may be on this machine,
	// and nil otherwise.
	Room func(dir string) (free int64, err error)

	mu       sync.Mutex
	reserved int64 // bytes that saves which have begun still need on the Engine's disk
}

// Read has take read the archive of the image with this id, as the Engine makes it, and returns its
// error. progress is told the bytes read so far, for the first time when the Engine has staged the
// image.
func (s *Save) Read(ctx context.Context, imageID string, take func(saved io.Reader) error, progress func(read int64)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the Engine's stream if the other end broke first
	saved, err := s.Engine.Save(ctx, imageID)
	if err != nil {
		return err
	}
	defer saved.Close()
	return take(&observedReader{r: saved, observe: progress})
}

// observedReader tells how many bytes were read so far.
type observedReader struct {
	r       io.Reader
	n       int64
	observe func(n int64)
}

func (o *observedReader) Read(p []byte) (int, error) {
	n, err := o.r.Read(p)
	if n > 0 {
		o.n += int64(n)
		o.observe(o.n)
	}
	return n, err
}
