package object

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/google/uuid"

	"holdfast.io/holdfast/internal/sink"
)

// blob is a blob that is written. Its name shows at its end, and an object store has no
// rename. So a small one is kept in memory until then, and another one is written as an
// artifact of its attempt and copied.
type blob struct {
	staging *staging
	ctx     context.Context //nolint:containedctx // a writer has no other place for it
	most    int64
	small   []byte
	large   *artifact // nil as long as it is small
	err     error     // the first one, which stays
	ended   bool
}

// maxSmall is up to how many bytes of a blob are kept in memory.
const maxSmall = 1 << 20

// blobPrefix begins the names of blobs that are written, among an attempt's artifacts.
const blobPrefix = ".blob-"

// CreateBlob implements [sink.Staging].
func (t *staging) CreateBlob(ctx context.Context, most int64) (sink.BlobWriter, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return nil, errEnded
	}
	t.blobs++
	return &blob{staging: t, ctx: ctx, most: most}, nil
}

// Write implements [sink.BlobWriter].
func (b *blob) Write(p []byte) (n int, err error) {
	if err := b.usable(); err != nil {
		return 0, err
	}
	if b.large == nil && len(b.small)+len(p) <= maxSmall {
		b.small = append(b.small, p...)
		return len(p), nil
	}
	if b.large == nil {
		err = b.grow()
	}
	if err == nil {
		n, err = b.large.Write(p)
	}
	b.err = err
	return n, err
}

// grow goes on as an artifact.
func (b *blob) grow() error {
	w, _, err := b.staging.Create(b.ctx, blobPrefix+uuid.NewString(), b.most)
	if err != nil {
		return err
	}
	b.large = w.(*artifact)
	_, err = b.large.Write(b.small)
	b.small = nil
	return err
}

// usable returns the first error, also that the blob, its attempt or ctx has ended.
func (b *blob) usable() error {
	if b.err == nil {
		b.err = b.ctx.Err()
	}
	b.staging.mu.Lock()
	defer b.staging.mu.Unlock()
	if b.err == nil && b.staging.ended {
		b.err = errEnded
	}
	return b.err
}

// Commit implements [sink.BlobWriter].
func (b *blob) Commit(digest string) error {
	if err := errors.Join(b.usable(), sink.CheckDigest(digest)); err != nil {
		return err
	}
	store, key := b.staging.sink.store, sink.BlobKey(digest)
	if err := b.staging.sink.check(b.ctx); err != nil {
		b.err = err
		return err
	}
	if b.err = b.put(store, key); b.err != nil {
		if cause := b.ctx.Err(); cause != nil {
			b.err = cause
		}
		return b.err
	}
	if b.large != nil {
		// It is not part of the point, and the blob is there: what is left goes with the attempt.
		_ = b.large.remove(b.ctx)
	}
	b.end()
	return nil
}

// put stores the blob at key. Where it takes the place of one that is locked, it is locked as
// long: that one may be damaged, and this one what heals it.
func (b *blob) put(store Store, key string) error {
	locker, until, err := b.staging.sink.locker, time.Time{}, error(nil)
	if locker != nil {
		until, err = b.staging.sink.lockOf(b.ctx, key)
	}
	switch {
	case err != nil:
		return err
	case b.large == nil:
		err = store.Put(b.ctx, key, b.small)
	default:
		if err = b.large.Commit(); err == nil {
			err = copyObject(b.ctx, store, b.large.key(), key, b.large.size)
		}
	}
	if err == nil && !until.IsZero() {
		err = locker.Lock(b.ctx, key, until)
	}
	return err
}

// Abort implements [sink.BlobWriter].
func (b *blob) Abort() error {
	if b.ended {
		return nil
	}
	if b.large != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(b.ctx), discardTime)
		defer cancel()
		if err := b.large.remove(ctx); err != nil {
			return err
		}
	}
	b.end()
	return nil
}

func (b *blob) end() {
	b.ended, b.small = true, nil
	if b.err == nil {
		b.err = errArtifactEnded
	}
	b.staging.mu.Lock()
	defer b.staging.mu.Unlock()
	b.staging.blobs--
}

// ErrCannotCopy is reported by a [Copier] that cannot, after all.
var ErrCannotCopy = errors.New("the store does not copy objects by itself")

// Copier is a Store that copies an object by itself.
type Copier interface {
	// Copy puts a copy of the object at from, which has so many bytes, at to, in place of
	// one that is there, and returns when it is durable. Readers get the old one or the new
	// one, whole. It reports ErrCannotCopy, and changes nothing, where the store cannot.
	Copy(ctx context.Context, from, to string, size int64) error
}

// copyObject copies an object: by the store, or where that cannot, through this process.
func copyObject(ctx context.Context, store Store, from, to string, size int64) (err error) {
	if c, ok := store.(Copier); ok {
		if err := c.Copy(ctx, from, to, size); !errors.Is(err, ErrCannotCopy) {
			return err
		}
	}
	r, err := openWhole(ctx, store, from)
	if err != nil {
		return err
	}
	defer r.Close()
	up, err := store.Begin(ctx, to, size)
	if err != nil {
		return err
	}
	n, err := io.Copy(up, struct{ io.Reader }{r})
	if err == nil && n != size {
		err = fmt.Errorf("%s: %w: it has %d bytes, and %d were written", store.Place(from), sink.ErrUnavailable, n, size)
	}
	if err == nil {
		err = up.Commit()
	}
	if err != nil {
		err = errors.Join(err, up.Abort(context.WithoutCancel(ctx)))
	}
	return err
}

// Shared implements [sink.Sharer].
func (s *Sink) Shared(ctx context.Context, folder string) iter.Seq2[sink.Object, error] {
	return func(yield func(sink.Object, error) bool) {
		err := errors.Join(ctx.Err(), sink.CheckSharedFolder(folder))
		if err == nil {
			err = s.check(ctx)
		}
		if err != nil {
			yield(sink.Object{}, err)
			return
		}
		for entry, err := range s.store.List(ctx, folder+"/") {
			if err == nil && sink.CheckShared(entry.Key) != nil {
				continue // it lies deeper
			}
			if !yield(sink.Object{Key: entry.Key, Info: sink.Info{Size: entry.Size}}, err) || err != nil {
				return
			}
		}
	}
}

// PutShared implements [sink.Sharer].
func (s *Sink) PutShared(ctx context.Context, key string, content []byte) error {
	if err := errors.Join(ctx.Err(), sink.CheckPutShared(key)); err != nil {
		return err
	}
	if err := s.check(ctx); err != nil {
		return err
	}
	return s.store.Put(ctx, key, content)
}

// RemoveShared implements [sink.Sharer].
func (s *Sink) RemoveShared(ctx context.Context, key string) error {
	if err := errors.Join(ctx.Err(), sink.CheckShared(key)); err != nil {
		return err
	}
	if err := s.check(ctx); err != nil {
		return err
	}
	return s.store.Delete(ctx, key)
}
