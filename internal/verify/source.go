package verify

import (
	"context"
	"io"

	"holdfast.io/holdfast/internal/failure"
)

// source reads an object of the sink. It remembers an error of the sink: whoever reads
// through it may take that for a fault of what is stored.
type source struct {
	io.ReadCloser
	err     error
	observe func(n int)
}

// open opens the object at key. Its errors are the sink's, but for sink.ErrNotFound,
// which is passed on as it is.
func (a *attempt) open(ctx context.Context, key string) (*source, error) {
	f, err := a.Sink.Open(ctx, key)
	if err != nil {
		return nil, sinkError(err)
	}
	return &source{ReadCloser: f, observe: a.observe}, nil
}

// Read implements [io.Reader].
func (s *source) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	s.observe(n)
	if err != nil && err != io.EOF {
		s.err = failure.FromSink(err)
		return n, s.err
	}
	return n, err
}

// counter counts what is read.
type counter struct {
	io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}
