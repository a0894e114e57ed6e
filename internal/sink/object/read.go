package object

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cenkalti/backoff/v5"

	"holdfast.io/holdfast/internal/sink"
)

// Open implements [sink.Reader].
func (s *Sink) Open(ctx context.Context, key string) (io.ReadCloser, error) {
	if err := errors.Join(ctx.Err(), sink.CheckKey(key)); err != nil {
		return nil, err
	}
	r, err := openWhole(ctx, s.store, key)
	if err != nil {
		return nil, s.missing(ctx, err)
	}
	return r, nil
}

// OpenRange implements [sink.Reader].
func (s *Sink) OpenRange(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := errors.Join(ctx.Err(), sink.CheckRange(offset, length), sink.CheckKey(key)); err != nil {
		return nil, err
	}
	info, err := s.store.Stat(ctx, key)
	if err != nil {
		return nil, s.missing(ctx, err)
	}
	if length > info.Size || offset > info.Size-length {
		return nil, fmt.Errorf("%s: %w: it has %d bytes, and %d from %d on are asked for",
			s.store.Place(key), sink.ErrRange, info.Size, length, offset)
	}
	return &reader{ctx: ctx, store: s.store, key: key, at: offset, end: offset + length, version: info.Version}, nil
}

// Stat implements [sink.Reader].
func (s *Sink) Stat(ctx context.Context, key string) (sink.Info, error) {
	if err := errors.Join(ctx.Err(), sink.CheckKey(key)); err != nil {
		return sink.Info{}, err
	}
	info, err := s.store.Stat(ctx, key)
	if err != nil {
		return sink.Info{}, s.missing(ctx, err)
	}
	return sink.Info{Size: info.Size}, nil
}

// openWhole reads the object at key from its beginning to its end.
func openWhole(ctx context.Context, store Store, key string) (*reader, error) {
	body, info, err := store.Open(ctx, key, 0, -1, "")
	if err != nil {
		return nil, err
	}
	return &reader{ctx: ctx, store: store, key: key, body: body, end: info.Size, version: info.Version}, nil
}

// reader reads a part of one version of an object. It goes on where it was when the
// connection breaks.
type reader struct {
	ctx     context.Context //nolint:containedctx // a reader has no other place for it
	store   Store
	key     string
	version string
	at, end int64
	body    io.ReadCloser // from at on; nil before the first read and after one that broke
}

// patience is for how long reading is tried again when not one byte comes.
const patience = time.Minute

// Read implements [io.Reader].
func (r *reader) Read(p []byte) (int, error) {
	if r.at == r.end {
		return 0, io.EOF
	}
	if err := r.ctx.Err(); err != nil {
		return 0, err // also where more has come already
	}
	p = p[:min(int64(len(p)), r.end-r.at)]
	n, err := r.read(p)
	if err != nil && r.body != nil { // it broke on the way
		n, err = backoff.Retry(r.ctx, func() (int, error) { return r.goOn(p) }, backoff.WithMaxElapsedTime(patience))
	}
	r.at += int64(n)
	if cause := r.ctx.Err(); err != nil && cause != nil {
		err = cause
	}
	return n, err
}

// goOn reads on after the connection broke. A store that cannot open the object has tried
// for long.
func (r *reader) goOn(p []byte) (int, error) {
	_ = r.Close()
	n, err := r.read(p)
	if err != nil && r.body == nil {
		return 0, backoff.Permanent(err)
	}
	return n, err
}

// read reads once: some bytes, or an error. r.body is nil then if the object could not be
// opened. The end of what the store sends before the end of the object is an error too.
func (r *reader) read(p []byte) (n int, err error) {
	if r.body == nil {
		body, _, err := r.store.Open(r.ctx, r.key, r.at, r.end-r.at, r.version)
		if err != nil {
			return 0, err
		}
		r.body = body
	}
	n, err = r.body.Read(p)
	switch {
	case n > 0:
		return n, nil // the error comes again
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	case err == nil:
		return 0, nil
	}
	return 0, fmt.Errorf("%s: %w: the connection broke at byte %d of %d: %w", r.store.Place(r.key), sink.ErrUnavailable, r.at, r.end, err)
}

// Close implements [io.Closer].
func (r *reader) Close() error {
	if r.body == nil {
		return nil
	}
	err := r.body.Close()
	r.body = nil
	return err
}
