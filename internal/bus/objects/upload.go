package objects

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
)

const (
	// chunkSize is how large the chunks of an object are, in bytes, but for its last one.
	chunkSize = 512 << 10
	// headerRoom is what the header of a chunk takes at most, of what a server takes as one
	// message.
	headerRoom = 4 << 10
	// indexHeader numbers the chunks of an object, from 0 on.
	indexHeader = "Holdfast-Chunk"
)

// upload is an object that is written: one chunk is on its way while the next one is filled.
// Each is stored only behind the one before it, so that a chunk that is sent twice, or comes
// late, does no harm.
type upload struct {
	ctx    context.Context //nolint:containedctx // a writer has no other place for it
	cancel context.CancelCauseFunc
	store  *Store
	key    string
	id     string
	fresh  bool // there must be no object at its end

	size    int // of a chunk
	filling []byte
	spare   []byte // the buffer that is not being filled
	digest  hash.Hash
	total   uint64
	chunks  uint32
	sending sync.WaitGroup
	last    uint64 // the sequence of the last chunk that is stored
}

// errRemoved: somebody took the upload for dead.
var errRemoved = errors.New("the upload was removed, perhaps by another process")

// Begin implements [object.Store]. The size does not matter.
func (s *Store) Begin(ctx context.Context, key string, _ int64) (object.Upload, error) {
	return s.begin(ctx, key, false)
}

// begin has the key say that an upload is under way.
func (s *Store) begin(ctx context.Context, key string, fresh bool) (*upload, error) {
	u := &upload{store: s, key: key, id: nuid.Next(), fresh: fresh, size: chunkSize, digest: sha256.New()}
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

// send sends what was filled as the next chunk, when the one before is stored.
func (u *upload) send() {
	u.sending.Wait()
	if u.ctx.Err() != nil {
		return
	}
	index, content := u.chunks, u.filling
	u.chunks++
	u.total += uint64(len(content))
	u.filling, u.spare = u.spare[:0], content
	u.sending.Go(func() {
		if err := u.sendChunk(index, content); err != nil {
			u.cancel(err)
		}
	})
}

// sendChunk stores a chunk behind the last one.
func (u *upload) sendChunk(index uint32, content []byte) error {
	subject := u.store.chunkSubject(u.id)
	var removed error
	err := u.store.try(u.ctx, u.key, u.store.chunkTime(), func(ctx context.Context, b *bus.Bus) error {
		message := &nats.Msg{Subject: subject, Data: content, Header: expecting(u.last)}
		message.Header.Set(indexHeader, strconv.FormatUint(uint64(index), 10))
		sequence, err := b.Append(ctx, message)
		if wrongSequence(err) {
			sequence, err = u.stored(ctx, b, subject)
			if errors.Is(err, errRemoved) {
				removed = u.store.explain(u.ctx, u.key, err)
				return nil
			}
		}
		if err == nil {
			u.last = sequence
		}
		return err
	})
	return errors.Join(err, removed)
}

// stored returns the sequence of the chunk that a try has stored whose answer was lost. The
// server has refused another one.
func (u *upload) stored(ctx context.Context, b *bus.Bus, subject string) (uint64, error) {
	m, err := u.store.load(ctx, b, bus.Query{LastFor: subject})
	switch {
	case err != nil:
		return 0, err
	case m == nil && u.last > 0:
		return 0, errRemoved
	case m == nil || m.Sequence == u.last:
		return 0, errBusy // a cluster refuses while another message is not yet stored
	}
	return m.Sequence, nil
}

// Commit implements [object.Upload].
func (u *upload) Commit() error {
	if len(u.filling) > 0 {
		u.send()
	}
	u.sending.Wait()
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
	m.info = jetstream.ObjectInfo{
		ObjectMeta: jetstream.ObjectMeta{Name: m.info.Name, Opts: &jetstream.ObjectMetaOptions{ChunkSize: uint32(u.size)}}, //nolint:gosec // see chunkSize
		Bucket:     m.info.Bucket, NUID: u.id, Size: u.total, Chunks: u.chunks, Digest: jetstream.GetObjectDigestValue(u.digest),
	}
	return nil
}

var errAborted = errors.New("the upload was aborted")

// Abort implements [object.Upload].
func (u *upload) Abort(ctx context.Context) error {
	u.cancel(errAborted)
	u.sending.Wait()
	u.filling, u.spare = nil, nil
	return u.store.discard(ctx, u.key, func(m *meta) { m.throwAway(u.id) })
}
