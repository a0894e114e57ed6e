package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"

	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
)

// readAtOnce is how many bytes are asked for at once, and a chunk more. Twice that is in
// memory.
const readAtOnce = 1 << 20

// reader reads the chunks of an object, those to come while others are used.
type reader struct {
	ctx    context.Context //nolint:containedctx // a reader has no other place for it
	cancel context.CancelFunc
	store  *Store
	key    string
	meta   meta

	next  uint64 // the sequence from which on the next chunk is looked for
	index int64  // of the next chunk
	skip  int64  // bytes that come and were not asked for
	left  int64  // bytes that were asked for and have not come
	chunk []byte // what is left of the current one
	batch []*bus.Stored
	ahead chan fetched // the next batch, when it is there

	fetching sync.WaitGroup
}

type fetched struct {
	batch []*bus.Stored
	err   error
}

var (
	errMissing = errors.New("a chunk of the object is missing")
	errStrange = errors.New("a chunk is not the one that comes next")
)

// Open implements [object.Store].
func (s *Store) Open(ctx context.Context, key string, offset, length int64, version string) (io.ReadCloser, object.Info, error) {
	m, err := s.find(ctx, key)
	if err != nil {
		return nil, object.Info{}, err
	}
	info := m.Info()
	switch {
	case version != "" && info.Version != version:
		return nil, object.Info{}, fmt.Errorf("%s: %w", s.Place(key), object.ErrChanged)
	case offset > info.Size:
		return nil, object.Info{}, fmt.Errorf("%s: %w", s.Place(key), sink.ErrRange)
	}
	left := info.Size - offset
	if length >= 0 {
		left = min(left, length)
	}
	r := &reader{store: s, key: key, meta: m, next: 1, skip: offset, left: left, ahead: make(chan fetched, 1)}
	r.ctx, r.cancel = context.WithCancel(ctx)
	if err := r.seek(offset); err != nil {
		r.cancel()
		return nil, object.Info{}, s.explain(ctx, key, err)
	}
	r.fetch()
	return r, info, nil
}

// seek finds the chunk in which the byte at offset lies. Chunks lie in the stream in their
// order, with those of other objects in between: the one that is looked for cannot be
// nearer than there are chunks up to it, and mostly lies just there. Objects that others
// have stored have no numbers, and are read from their beginning.
func (r *reader) seek(offset int64) error {
	opts := r.meta.info.Opts
	if opts == nil || opts.ChunkSize == 0 || offset < int64(opts.ChunkSize) || r.left == 0 {
		return nil
	}
	wanted := offset / int64(opts.ChunkSize)
	for at := uint64(1); ; {
		m, err := r.find(at)
		if err != nil {
			return err
		}
		header, err := nats.DecodeHeadersMsg(m.Header)
		if err != nil {
			return nil
		}
		switch index, numbered := indexOf(header); {
		case !numbered:
			return nil
		case index > wanted:
			return errMissing
		case index == wanted:
			r.next, r.index, r.skip = m.Sequence, index, offset-index*int64(opts.ChunkSize)
			return nil
		default:
			at = m.Sequence + uint64(wanted-index)
		}
	}
}

// find returns the first chunk at a sequence or behind it, from the stream's leader.
func (r *reader) find(at uint64) (m *stored, err error) {
	b, err := r.store.connected(r.ctx)
	if err != nil {
		return nil, err
	}
	err = b.Once(r.ctx, r.store.chunkTime(), func(ctx context.Context) (err error) {
		m, err = r.store.load(ctx, b, bus.Query{NextFor: r.store.chunkSubject(r.meta.info.NUID), Sequence: at})
		return err
	})
	if err == nil && m == nil {
		err = errMissing
	}
	return m, err
}

func indexOf(h nats.Header) (index int64, ok bool) {
	index, err := strconv.ParseInt(h.Get(indexHeader), 10, 64)
	return index, err == nil
}

// fetch begins to read the next batch, unless nothing is to come.
func (r *reader) fetch() {
	there := -r.skip
	for _, m := range r.batch {
		there += int64(len(m.Data))
	}
	if there >= r.left {
		return
	}
	from := r.next
	r.fetching.Go(func() {
		batch, err := r.read(from)
		r.ahead <- fetched{batch, err}
	})
}

// read reads a batch, from any replica; one that has not heard of the object yet is passed
// over for the leader.
func (r *reader) read(from uint64) (batch []*bus.Stored, err error) {
	b, err := r.store.connected(r.ctx)
	if err != nil {
		return nil, err
	}
	err = b.Once(r.ctx, r.store.chunkTime(), func(ctx context.Context) (err error) {
		batch, err = b.NextBatch(ctx, r.store.stream, r.store.chunkSubject(r.meta.info.NUID), from, readAtOnce)
		return err
	})
	if err != nil || len(batch) > 0 {
		return batch, err
	}
	m, err := r.find(from)
	if err != nil {
		return nil, err
	}
	header, err := nats.DecodeHeadersMsg(m.Header)
	if err != nil {
		header = nil // of an object that others have stored
	}
	return []*bus.Stored{{Sequence: m.Sequence, Header: header, Data: m.Data}}, nil
}

// Read implements [io.Reader].
func (r *reader) Read(p []byte) (int, error) {
	for len(r.chunk) == 0 {
		if r.left == 0 {
			return 0, io.EOF
		}
		if err := r.advance(); err != nil {
			return 0, r.store.explain(r.ctx, r.key, err)
		}
	}
	n := copy(p, r.chunk)
	r.chunk = r.chunk[n:]
	r.left -= int64(n)
	return n, nil
}

// advance takes the next chunk.
func (r *reader) advance() error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	if len(r.batch) == 0 {
		next := <-r.ahead
		if next.err != nil {
			r.ahead <- next // it stays
			return next.err
		}
		r.batch = next.batch
		r.next = r.batch[len(r.batch)-1].Sequence + 1
		r.fetch()
	}
	m := r.batch[0]
	r.batch = r.batch[1:]
	if index, numbered := indexOf(m.Header); numbered && index != r.index {
		return fmt.Errorf("%w: it has number %d, and %d is due", errStrange, index, r.index)
	}
	r.index++
	skipped := min(r.skip, int64(len(m.Data)))
	r.skip -= skipped
	r.chunk = m.Data[skipped:]
	r.chunk = r.chunk[:min(int64(len(r.chunk)), r.left)]
	return nil
}

// Close implements [io.Closer].
func (r *reader) Close() error {
	r.cancel()
	r.fetching.Wait()
	return nil
}
