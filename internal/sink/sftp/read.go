package sftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	pkgsftp "github.com/pkg/sftp"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
)

// Open implements [object.Store].
func (s *Store) Open(ctx context.Context, key string, offset, length int64, want string) (io.ReadCloser, object.Info, error) {
	var r *reader
	var info object.Info
	err := s.try(ctx, key, func(l *link) error {
		f, err := s.openFile(ctx, l, key)
		if err != nil {
			return err
		}
		stat, err := l.fstat(ctx, f)
		switch {
		case err != nil:
		case want != "" && want != version(stat):
			err = fmt.Errorf("%s: %w", s.Place(key), object.ErrChanged)
		case offset > stat.Size():
			err = fmt.Errorf("%s: %w: it has %d bytes", s.Place(key), sink.ErrRange, stat.Size())
		}
		if err != nil {
			_ = do(ctx, l, f.Close)
			return err
		}
		info = about(stat)
		end := info.Size
		if length >= 0 {
			end = min(end, offset+length)
		}
		r = newReader(ctx, l, f, offset, end)
		return nil
	})
	if err != nil {
		return nil, object.Info{}, err
	}
	return r, info, nil
}

func (s *Store) openFile(ctx context.Context, l *link, key string) (*pkgsftp.File, error) {
	there, err := s.find(ctx, l, key)
	if err != nil {
		return nil, err
	}
	if there == nil {
		return nil, s.notFound(key)
	}
	f, err := l.open(ctx, s.path(key), os.O_RDONLY)
	if errors.Is(err, os.ErrNotExist) {
		return nil, s.notFound(key)
	}
	return f, err
}

// What a reader asks for at a time, in bytes: little first, as most objects are small.
const (
	firstRead = 256 << 10
	maxRead   = 4 << 20
)

// reader reads a file, and reads ahead.
type reader struct {
	ctx    context.Context //nolint:containedctx // a reader has no other place for it
	cancel context.CancelFunc
	chunks chan chunk
	free   chan []byte // two buffers: one is read from while the other is filled
	now    chunk
	rest   []byte // of now
}

type chunk struct {
	bytes []byte
	err   error
}

func newReader(ctx context.Context, l *link, f *pkgsftp.File, at, end int64) *reader {
	r := &reader{chunks: make(chan chunk), free: make(chan []byte, 2)}
	r.ctx, r.cancel = context.WithCancel(ctx)
	r.free <- nil
	r.free <- nil
	go func() {
		r.fill(l, f, at, end)
		close(r.chunks)
		_ = do(context.WithoutCancel(ctx), l, f.Close) // it waits for calls that were left behind
	}()
	return r
}

// fill reads from at to end, or to an error.
func (r *reader) fill(l *link, f *pkgsftp.File, at, end int64) {
	for size := int64(firstRead); at < end; size = min(2*size, maxRead) {
		var buf []byte
		select {
		case buf = <-r.free:
		case <-r.ctx.Done():
			return
		}
		want := min(size, end-at)
		if int64(cap(buf)) < want {
			buf = make([]byte, want)
		}
		from := at
		n, err := call(r.ctx, l, 0, func() (int, error) { return f.ReadAt(buf[:want], from) })
		at += int64(n)
		switch {
		case int64(n) == want, n > 0 && errors.Is(err, io.EOF): // some servers give less than they are asked for
			err = nil
		case errors.Is(err, io.EOF):
			err = cut(at)
		}
		select {
		case r.chunks <- chunk{buf[:n], err}:
		case <-r.ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// Read implements [io.Reader].
func (r *reader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 && r.now.err == nil {
		if r.now.bytes != nil {
			r.free <- r.now.bytes[:0]
			r.now.bytes = nil
		}
		next, ok := <-r.chunks
		if err := r.ctx.Err(); err != nil {
			return 0, err
		}
		if !ok {
			next.err = io.EOF
		}
		r.now, r.rest = next, next.bytes
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	if n == 0 {
		return 0, r.now.err
	}
	return n, nil
}

// Close implements [io.Closer].
func (r *reader) Close() error {
	r.cancel()
	return nil
}
