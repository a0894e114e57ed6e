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
	"holdfast.io/holdfast/internal/sink/object/parts"
)

const (
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
	return parts.Size(most, o.maxParts())
}

func (o Options) maxParts() int { return cmp.Or(o.MaxParts, DefaultMaxParts) }

// upload is an object that is sent in parts. What fits into one part is sent as a whole.
type upload struct {
	*parts.Writer
	store *Store
	key   string
	id    string // of the upload, when the first part is sent

	mu   sync.Mutex // guards sent
	sent []minio.CompletePart
}

// Requests implements [object.Billed]: one for what fits into a part; else one for each part,
// one before and one after them.
func (s *Store) Requests(size int64) int64 {
	part := s.options.partSize(size)
	if size < part {
		return 1
	}
	return (size+part-1)/part + 2
}

// Begin implements [object.Store].
func (s *Store) Begin(ctx context.Context, key string, most int64) (object.Upload, error) {
	u, size := &upload{store: s, key: key}, s.options.partSize(most)
	u.Writer = parts.New(ctx, parts.Options{
		Size: size, Max: s.options.maxParts(), Large: most > size, Place: s.Place(key), Begin: u.begin, Send: u.sendPart,
	})
	return u, nil
}

func (u *upload) begin(ctx context.Context) (err error) {
	u.id, err = u.store.core.NewMultipartUpload(ctx, u.store.options.Bucket, u.store.prefix+u.key, u.store.putOptions())
	if err != nil {
		return u.because(err)
	}
	return nil
}

func (u *upload) sendPart(ctx context.Context, number int, content []byte) error {
	o := minio.PutObjectPartOptions{Md5Base64: md5Of(content), SSE: u.store.sse, DisableContentSha256: true}
	part, err := u.store.core.PutObjectPart(ctx, u.store.options.Bucket, u.store.prefix+u.key, u.id, number,
		bytes.NewReader(content), int64(len(content)), o)
	if err != nil {
		return u.because(err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sent = append(u.sent, minio.CompletePart{PartNumber: number, ETag: part.ETag})
	return nil
}

// because explains an error, unless that is only the end of ctx: the first reason counts.
func (u *upload) because(err error) error {
	if cause := u.Err(); cause != nil {
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
	return u.Writer.Commit(func(ctx context.Context, content []byte) error { return u.store.Put(ctx, u.key, content) }, u.complete)
}

// complete makes an object of the parts. Services do not agree on what a second try says,
// so after an error the object itself counts.
func (u *upload) complete() error {
	slices.SortFunc(u.sent, func(a, b minio.CompletePart) int { return cmp.Compare(a.PartNumber, b.PartNumber) })
	bucket, key := u.store.options.Bucket, u.store.prefix+u.key
	_, err := u.store.core.CompleteMultipartUpload(u.Context(), bucket, key, u.id, u.sent, minio.PutObjectOptions{})
	if err == nil {
		return nil
	}
	if info, serr := u.store.Stat(u.Context(), u.key); serr == nil && info.Size == u.Size() {
		return nil
	}
	return u.because(err)
}

// Abort implements [object.Upload].
func (u *upload) Abort(ctx context.Context) error {
	u.Close()
	if u.id != "" {
		if err := u.store.abort(ctx, u.key, u.id); err != nil {
			return err
		}
	}
	if !u.Tried() {
		return nil
	}
	return u.store.Delete(ctx, u.key)
}
