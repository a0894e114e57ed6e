package objects

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"slices"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
)

const (
	// chunkSize is how large the chunks of an object are, in bytes, but for its last one.
	chunkSize = 128 << 10
	// headerRoom is what the header of a chunk takes at most, of what a server takes as one
	// message.
	headerRoom = 4 << 10
	// buffers is how many chunks an upload has in memory at most.
	buffers = maxWindow + 2
)

// upload is an object that is written: a sender sends its chunks, while the next one is
// filled.
type upload struct {
	ctx    context.Context //nolint:containedctx // a writer has no other place for it
	cancel context.CancelCauseFunc
	store  *Store
	key    string
	id     string
	fresh  bool // there must be no object at its end

	size    int // of a chunk
	filling []byte
	made    int         // buffers
	free    chan []byte // buffers of chunks that are stored
	digest  hash.Hash
	total   uint64
	chunks  uint32
	queue   chan chunk // to the sender; nil before the first chunk
	sending sync.WaitGroup
}

// errRemoved: somebody took the upload for dead.
var errRemoved = errors.New("the upload was removed, perhaps by another process")

// Begin implements [object.Store]. The size does not matter.
func (s *Store) Begin(ctx context.Context, key string, _ int64) (object.Upload, error) {
	return s.begin(ctx, key, false)
}

// begin has the key say that an upload is under way.
func (s *Store) begin(ctx context.Context, key string, fresh bool) (*upload, error) {
	u := &upload{store: s, key: key, id: nuid.Next(), fresh: fresh, size: chunkSize, digest: sha256.New(), free: make(chan []byte, buffers)}
	b, err := s.connected(ctx)
	if err != nil {
		return nil, s.explain(ctx, key, err)
	}
	u.size = max(1, min(u.size, int(b.Conn().MaxPayload())-headerRoom))
	_, err = s.change(ctx, key, func(m *meta) error {
		if fresh && m.object() != "" {
			return fmt.Errorf("%s: %w", s.Place(key), sink.ErrExists)
		}
		if !slices.Contains(m.uploads, u.id) {
			m.uploads = append(m.uploads, u.id)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	u.ctx, u.cancel = context.WithCancelCause(ctx)
	return u, nil
}

// Write implements [object.Upload].
func (u *upload) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		if err := context.Cause(u.ctx); err != nil {
			return n, err
		}
		if u.filling == nil {
			u.filling = u.buffer()
		}
		taken := min(len(p), u.size-len(u.filling))
		u.filling = append(u.filling, p[:taken]...)
		u.digest.Write(p[:taken])
		n, p = n+taken, p[taken:]
		if len(u.filling) == u.size {
			u.send()
		}
	}
	return n, nil
}

// buffer returns a buffer for a chunk, when there is one. The first one grows as it is
// filled, as most objects are small.
func (u *upload) buffer() []byte {
	select {
	case b := <-u.free:
		return b
	default:
	}
	if u.made < buffers {
		u.made++
		if u.made == 1 {
			return []byte{}
		}
		return make([]byte, 0, u.size)
	}
	select {
	case b := <-u.free:
		return b
	case <-u.ctx.Done(): // Write looks at it next
		return []byte{}
	}
}

// send hands what was filled to the sender, as the next chunk.
func (u *upload) send() {
	if u.queue == nil {
		u.queue = make(chan chunk)
		u.sending.Go(func() {
			s := newSender(u)
			if err := s.run(u.queue); err != nil {
				u.cancel(err)
			}
		})
	}
	select {
	case u.queue <- chunk{index: int64(u.chunks), content: u.filling}:
	case <-u.ctx.Done():
	}
	u.chunks++
	u.total += uint64(len(u.filling))
	u.filling = nil
}

// finishSending returns when the sender has ended.
func (u *upload) finishSending() {
	if u.queue != nil {
		close(u.queue)
		u.queue = nil
	}
	u.sending.Wait()
}

// Commit implements [object.Upload].
func (u *upload) Commit() error {
	if len(u.filling) > 0 {
		u.send()
	}
	u.finishSending()
	if err := context.Cause(u.ctx); err != nil {
		return err
	}
	m, err := u.store.change(u.ctx, u.key, u.finish)
	if err != nil {
		return err
	}
	// The object is there: what it replaced is on record, should it not go now.
	_ = u.store.clean(u.ctx, u.key, m.garbage)
	u.cancel(nil)
	return nil
}

// finish makes the upload the object.
func (u *upload) finish(m *meta) error {
	switch {
	case m.object() == u.id: // by a try whose answer was lost
		return nil
	case !slices.Contains(m.uploads, u.id):
		return u.store.explain(u.ctx, u.key, errRemoved)
	case u.fresh && m.object() != "":
		return fmt.Errorf("%s: %w", u.store.Place(u.key), sink.ErrExists)
	}
	m.throwAway(m.object())
	m.uploads = slices.DeleteFunc(m.uploads, func(id string) bool { return id == u.id })
	opts := &jetstream.ObjectMetaOptions{ChunkSize: uint32(u.size)}
	m.info = jetstream.ObjectInfo{
		ObjectMeta: jetstream.ObjectMeta{Name: m.info.Name, Opts: opts}, Bucket: m.info.Bucket, NUID: u.id,
		Size: u.total, Chunks: u.chunks, Digest: jetstream.GetObjectDigestValue(u.digest),
	}
	return nil
}

var errAborted = errors.New("the upload was aborted")

// Abort implements [object.Upload].
func (u *upload) Abort(ctx context.Context) error {
	u.cancel(errAborted)
	u.finishSending()
	u.filling = nil
	return u.store.discard(ctx, u.key, func(m *meta) { m.throwAway(u.id) })
}
