// Package transport moves an image from an Engine to where a point is stored: [Save] streams
// the Engine's own archive, [Push] has the Engine push what the sink lacks. [Choose] says which.
package transport

import (
	"context"
	"io"
	"sync"

	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/engine"
)

// Target takes what an image consists of. One that is given to Save is used by one
// goroutine.
type Target interface {
	// Put stores what write writes, and returns when it is durable. If write fails,
	// nothing of it becomes durable, and Put reports that error.
	Put(ctx context.Context, write func(to codec.Destination) (codec.Stored, error)) error
}

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

// Move streams the image with this id into the target, and checks it as it streams by.
// progress is told the bytes read and the bytes stored so far, for the first time when
// the Engine has staged the image.
func (s *Save) Move(ctx context.Context, imageID string, to Target, progress func(read, stored int64)) (info *archive.Info, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the Engine's stream if the target's end broke first
	saved, err := s.Engine.Save(ctx, imageID)
	if err != nil {
		return nil, err
	}
	defer saved.Close()
	err = to.Put(ctx, func(at codec.Destination) (stored codec.Stored, err error) {
		stored, info, err = store(at, saved, imageID, s.Compression, progress)
		return stored, err
	})
	return info, err
}

// Split streams the image with this id to who takes its layers, and proves them as they
// stream by. progress is told the bytes read so far, for the first time when the Engine has
// staged the image.
func (s *Save) Split(ctx context.Context, imageID string, to archive.Layers, progress func(read int64)) (*archive.Info, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the Engine's stream if the other end broke first
	saved, err := s.Engine.Save(ctx, imageID)
	if err != nil {
		return nil, err
	}
	defer saved.Close()
	return archive.Split(&observedReader{r: saved, observe: progress}, imageID, to)
}

// store compresses an image archive, and checks it as it streams by.
// progress is told the bytes read and the bytes stored so far.
func store(
	to codec.Destination, saved io.Reader, imageID string, c codec.Compression, progress func(read, stored int64),
) (codec.Stored, *archive.Info, error) {
	out, err := codec.NewWriter(to, c)
	if err != nil {
		return codec.Stored{}, nil, err
	}
	defer out.Abort()
	in := &observedReader{r: io.TeeReader(saved, out), observe: func(read int64) { progress(read, out.StoredBytes()) }}
	info, err := archive.Check(in, imageID)
	if err != nil {
		return codec.Stored{}, nil, err
	}
	stored, err := out.Finish()
	return stored, info, err
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
