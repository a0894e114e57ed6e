package s3

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/minio/minio-go/v7"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
)

// Sizes of parts, in bytes. All parts of an upload but its last one have the same size, as
// some services refuse others, so it must be known before the first one is sent.
const (
	minPart = 5 << 20 // Amazon takes no smaller ones
	// buffered bounds what an upload holds in memory, unless that is less than one part.
	buffered  = 3 * minPart
	roundPart = 1 << 20

	// DefaultMaxArtifact is how large an artifact of unknown size may become.
	DefaultMaxArtifact = 150 << 30
	// DefaultMaxParts is how many parts Amazon takes, and most others.
	DefaultMaxParts = 10_000
)

// partSize returns the size of the parts of an artifact of at most so many bytes, see
// [sink.Staging].
func (o Options) partSize(most int64) int64 {
	if most <= 0 {
		most = cmp.Or(o.MaxArtifact, DefaultMaxArtifact)
	}
	parts := int64(o.maxParts())
	part := (most + parts - 1) / parts
	return max(minPart, (part+roundPart-1)/roundPart*roundPart)
}

func (o Options) maxParts() int { return cmp.Or(o.MaxParts, DefaultMaxParts) }

// upload is an object that is sent in parts, some at a time. What fits into one part is sent
// as a whole.
type upload struct {
	ctx    context.Context //nolint:containedctx // a writer has no other place for it
	cancel context.CancelCauseFunc
	store  *Store
	key    string
	part   int64

	filling  []byte
	free     chan []byte // buffers of parts that were sent
	buffers  int         // that were made
	sent     int         // parts that were begun
	size     int64
	id       string // of the upload, when the first part is sent
	finished bool   // Commit was tried: the object may be there
	sending  sync.WaitGroup

	mu    sync.Mutex // guards parts
	parts []minio.CompletePart
}

// Begin implements [object.Store].
func (s *Store) Begin(ctx context.Context, key string, most int64) (object.Upload, error) {
	u := &upload{store: s, key: key, part: s.options.partSize(most)}
	if most > u.part {
		u.filling, u.buffers = make([]byte, 0, u.part), 1
	}
	u.ctx, u.cancel = context.WithCancelCause(ctx)
	u.free = make(chan []byte, max(1, buffered/u.part))
	return u, nil
}

// Write implements [object.Upload].
func (u *upload) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		if err := context.Cause(u.ctx); err != nil {
			return n, err
		}
		taken := min(int64(len(p)), u.part-int64(len(u.filling)))
		u.fill(p[:taken])
		n, p = n+int(taken), p[taken:]
		if int64(len(u.filling)) == u.part {
			if err := u.send(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// fill adds to what becomes a part. The buffer of the first one grows as it is filled, as
// most objects are small.
func (u *upload) fill(p []byte) {
	if u.filling == nil && u.sent > 0 {
		u.filling = u.buffer()
	}
	u.filling = append(u.filling, p...)
	u.size += int64(len(p))
}

// buffer returns a buffer for a part, when there is one.
func (u *upload) buffer() []byte {
	select {
	case b := <-u.free:
		return b
	default:
	}
	if u.buffers < cap(u.free) {
		u.buffers++
		return make([]byte, 0, u.part)
	}
	return <-u.free
}

// send sends what was filled as the next part, while the caller goes on.
func (u *upload) send() (err error) {
	if most := u.store.options.maxParts(); u.sent == most {
		return fmt.Errorf("%s: %w: it has more than %d parts of %d MiB; set maxArtifact of the sink to what it may have",
			u.store.Place(u.key), sink.ErrTooLarge, most, u.part>>20)
	}
	if u.id == "" {
		u.buffers = 1 // the one that is full
		u.id, err = u.store.core.NewMultipartUpload(u.ctx, u.store.options.Bucket, u.store.prefix+u.key, u.store.putOptions())
		if err != nil {
			return u.because(err)
		}
	}
	u.sent++
	number, content := u.sent, u.filling
	u.filling = nil
	u.sending.Go(func() {
		if err := u.sendPart(number, content); err != nil {
			u.cancel(err)
		}
		u.free <- content[:0]
	})
	return nil
}

func (u *upload) sendPart(number int, content []byte) error {
	o := minio.PutObjectPartOptions{Md5Base64: md5Of(content), SSE: u.store.sse, DisableContentSha256: true}
	part, err := u.store.core.PutObjectPart(u.ctx, u.store.options.Bucket, u.store.prefix+u.key, u.id, number,
		bytes.NewReader(content), int64(len(content)), o)
	if err != nil {
		return u.because(err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.parts = append(u.parts, minio.CompletePart{PartNumber: number, ETag: part.ETag})
	return nil
}

// because explains an error, unless that is only the end of ctx: the first reason counts.
func (u *upload) because(err error) error {
	if cause := context.Cause(u.ctx); cause != nil {
		return cause
	}
	err = u.store.explain(u.key, err)
	if errors.Is(err, sink.ErrNotFound) {
		err = fmt.Errorf("%s: %w: the upload was removed, perhaps by another process; retry", u.store.Place(u.key), sink.ErrUnavailable)
	}
	return err
}

// Commit implements [object.Upload].
func (u *upload) Commit() error {
	if err := context.Cause(u.ctx); err != nil {
		return err
	}
	u.finished = true
	err := u.finish()
	u.filling = nil
	if err == nil {
		u.cancel(nil)
	}
	return err
}

func (u *upload) finish() error {
	if u.id == "" {
		return u.store.Put(u.ctx, u.key, u.filling)
	}
	if len(u.filling) > 0 {
		if err := u.send(); err != nil {
			return err
		}
	}
	u.sending.Wait()
	if err := context.Cause(u.ctx); err != nil {
		return err
	}
	return u.complete()
}

// complete makes an object of the parts. Services do not agree on what a second try says,
// so after an error the object itself counts.
func (u *upload) complete() error {
	slices.SortFunc(u.parts, func(a, b minio.CompletePart) int { return cmp.Compare(a.PartNumber, b.PartNumber) })
	bucket, key := u.store.options.Bucket, u.store.prefix+u.key
	_, err := u.store.core.CompleteMultipartUpload(u.ctx, bucket, key, u.id, u.parts, minio.PutObjectOptions{})
	if err == nil {
		return nil
	}
	if info, serr := u.store.Stat(u.ctx, u.key); serr == nil && info.Size == u.size {
		return nil
	}
	return u.because(err)
}

var errAborted = errors.New("the upload was aborted")

// Abort implements [object.Upload].
func (u *upload) Abort(ctx context.Context) error {
	u.cancel(errAborted)
	u.sending.Wait()
	u.filling = nil
	if u.id != "" {
		if err := u.store.abort(ctx, u.key, u.id); err != nil {
			return err
		}
	}
	if !u.finished {
		return nil
	}
	return u.store.Delete(ctx, u.key)
}
