package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"holdfast.io/holdfast/internal/sink"
)

// Open implements [sink.Reader].
func (s *Sink) Open(ctx context.Context, key string) (io.ReadCloser, error) {
	f, size, err := s.open(ctx, key)
	if err != nil {
		return nil, err
	}
	return &object{ctx: ctx, r: io.NewSectionReader(f, 0, size), f: f, place: s.place(key)}, nil
}

// OpenRange implements [sink.Reader].
func (s *Sink) OpenRange(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := sink.CheckRange(offset, length); err != nil {
		return nil, err
	}
	f, size, err := s.open(ctx, key)
	if err != nil {
		return nil, err
	}
	if length > size || offset > size-length {
		return nil, errors.Join(fmt.Errorf("%s: %w: it has %d bytes, and %d from %d on are asked for",
			s.place(key), sink.ErrRange, size, length, offset), f.Close())
	}
	return &object{ctx: ctx, r: io.NewSectionReader(f, offset, length), f: f, place: s.place(key)}, nil
}

// Stat implements [sink.Reader].
func (s *Sink) Stat(ctx context.Context, key string) (sink.Info, error) {
	f, size, err := s.open(ctx, key)
	if err != nil {
		return sink.Info{}, err
	}
	return sink.Info{Size: size}, f.Close()
}

// open opens the object at key, and returns its size.
func (s *Sink) open(ctx context.Context, key string) (*os.File, int64, error) {
	if err := errors.Join(ctx.Err(), sink.CheckKey(key)); err != nil {
		return nil, 0, err
	}
	if f, size, ok := s.openDirect(key); ok {
		return f, size, nil
	}
	root, err := s.root()
	if err != nil {
		return nil, 0, err
	}
	defer root.Close()
	f, err := openKey(root, key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("%s: %w", s.place(key), sink.ErrNotFound)
	}
	if err != nil {
		return nil, 0, explain(s.place(key), err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(explain(s.place(key), err), f.Close())
	}
	return f, info.Size(), nil
}

// object is an object that is read.
type object struct {
	ctx   context.Context //nolint:containedctx // a reader has no other place for it
	r     io.Reader       // of f
	f     *os.File
	place string
}

func (o *object) Read(p []byte) (int, error) {
	if err := o.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := o.r.Read(p)
	if err == io.EOF {
		return n, err
	}
	return n, explain(o.place, err)
}

func (o *object) Close() error { return explain(o.place, o.f.Close()) }
