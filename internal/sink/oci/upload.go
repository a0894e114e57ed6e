package oci

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/object/parts"
)

// upload is a blob that is sent in chunks, one after another, as a registry takes them. What fits
// into one is sent as a whole.
type upload struct {
	*parts.Writer
	store *Store
	key   string
	tag   string // of what says that it is under way
	hash  hash.Hash

	mu   sync.Mutex
	turn *sync.Cond // when next changes
	next int        // the number of the chunk that is sent next
	at   *url.URL   // where it is sent to; nil before the first one
	sent int64      // bytes that the registry has
}

// Begin implements [object.Store].
func (s *Store) Begin(ctx context.Context, key string, most int64) (object.Upload, error) {
	u := &upload{store: s, key: key, tag: tagOf(uploadTag, key, uuid.NewString()), hash: sha256.New(), next: 1}
	u.turn = sync.NewCond(&u.mu)
	u.Writer = parts.New(ctx, parts.Options{
		Size: parts.Min, Max: math.MaxInt, Large: most > parts.Min, Place: s.Place(key), Begin: u.begin, Send: u.sendChunk,
	})
	return u, nil
}

// Write implements [object.Upload].
func (u *upload) Write(p []byte) (int, error) {
	n, err := u.Writer.Write(p)
	u.hash.Write(p[:n])
	return n, err
}

// locationOf returns where an upload goes on.
func (s *Store) locationOf(h http.Header, from *url.URL) (*url.URL, error) {
	location := h.Get("Location")
	if location == "" {
		return nil, fmt.Errorf("%w: the registry does not say where to send the bytes to", sink.ErrUnavailable)
	}
	at, err := from.Parse(location)
	if err != nil {
		return nil, fmt.Errorf("%w: the registry sends the upload to what is no URL", sink.ErrUnavailable)
	}
	if from.Scheme == "https" && at.Scheme != "https" {
		return nil, fmt.Errorf("%w: the registry sends the upload to a place without TLS", sink.ErrUnavailable)
	}
	return at, nil
}

// begin begins the upload, and says in the repository that it is under way: see Sweep.
func (u *upload) begin(ctx context.Context) error {
	m := describe(u.key, v1.DescriptorEmptyJSON, time.Time{})
	if _, err := u.store.sendManifest(ctx, u.tag, m); err != nil {
		return u.because(err)
	}
	header, err := u.store.done(ctx, request{method: http.MethodPost, url: u.store.at("blobs", "uploads/")})
	if err == nil {
		u.at, err = u.store.locationOf(header, u.store.base)
	}
	return u.because(err)
}

// because explains an error, unless that is only the end of ctx: the first reason counts.
func (u *upload) because(err error) error {
	if err == nil {
		return nil
	}
	if cause := u.Err(); cause != nil {
		return cause
	}
	return u.store.stored(u.key, err)
}

// sendChunk sends a chunk when it has its turn. Every one before it ends, as ctx is also theirs.
func (u *upload) sendChunk(ctx context.Context, number int, content []byte) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	for u.next != number {
		u.turn.Wait()
	}
	defer func() {
		u.next++
		u.turn.Broadcast()
	}()
	if err := ctx.Err(); err != nil {
		return err
	}
	return u.because(u.patch(ctx, content))
}

// patience is for how long a chunk is tried again.
const patience = time.Minute

// patch sends a chunk. When that breaks off it goes on with what the registry has not got.
func (u *upload) patch(ctx context.Context, content []byte) error {
	begin := u.sent
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval = cmp.Or(u.store.options.first, time.Second)
	wait.MaxInterval = 15 * wait.InitialInterval
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := u.patchOnce(ctx, content[u.sent-begin:])
		if err == nil || !resumable(err) {
			return struct{}{}, permanent(err)
		}
		if rerr := u.resume(ctx); rerr != nil {
			return struct{}{}, backoff.Permanent(errors.Join(err, rerr))
		}
		if u.sent < begin || u.sent > begin+int64(len(content)) {
			return struct{}{}, backoff.Permanent(fmt.Errorf("%w: the registry has %d bytes of the upload, and not %d or more",
				sink.ErrUnavailable, u.sent, begin))
		}
		if u.sent == begin+int64(len(content)) {
			return struct{}{}, nil
		}
		return struct{}{}, err
	}, backoff.WithBackOff(wait), backoff.WithMaxElapsedTime(60*wait.InitialInterval))
	return err
}

func permanent(err error) error {
	if err == nil {
		return nil
	}
	return backoff.Permanent(err)
}

// resumable reports whether a chunk that failed may be sent on.
func resumable(err error) bool {
	status := statusOf(err)
	if status == 0 {
		return passing(nil, err)
	}
	return status == http.StatusRequestedRangeNotSatisfiable || passing(&http.Response{StatusCode: status}, nil)
}

func (u *upload) patchOnce(ctx context.Context, content []byte) error {
	end := u.sent + int64(len(content))
	header, err := u.store.done(ctx, request{method: http.MethodPatch, url: u.at, body: content, by: u.store.once,
		header: map[string]string{
			"Content-Type":  "application/octet-stream",
			"Content-Range": fmt.Sprintf("%d-%d", u.sent, end-1),
		}})
	if err != nil {
		return err
	}
	at, err := u.store.locationOf(header, u.at)
	if err != nil {
		return err
	}
	u.at, u.sent = at, end
	return nil
}

// resume asks the registry what it has of the upload.
func (u *upload) resume(ctx context.Context) error {
	header, err := u.store.done(ctx, request{method: http.MethodGet, url: u.at})
	if err != nil {
		return err
	}
	_, last, _ := strings.Cut(header.Get("Range"), "-")
	n, err := strconv.ParseInt(last, 10, 64)
	if err != nil || n < 0 {
		return fmt.Errorf("%w: the registry does not say what it has of the upload", sink.ErrUnavailable)
	}
	if u.sent = n + 1; n == 0 {
		u.sent = 0 // "0-0" is said of nothing
	}
	if header.Get("Location") == "" {
		return nil
	}
	u.at, err = u.store.locationOf(header, u.at)
	return err
}

// Commit implements [object.Upload].
func (u *upload) Commit() error {
	return u.Writer.Commit(func(ctx context.Context, content []byte) error { return u.store.Put(ctx, u.key, content) }, u.join)
}

// join makes an object of the blob that was sent.
func (u *upload) join() error {
	d := digest.NewDigest(digest.SHA256, u.hash)
	stored, err := u.store.endBlob(u.Context(), u.at, d, nil)
	if err != nil {
		return u.because(err)
	}
	content := v1.Descriptor{MediaType: "application/octet-stream", Digest: d, Size: u.Size()}
	if err := u.store.replace(u.Context(), u.key, describe(u.key, content, stored)); err != nil {
		return u.because(err)
	}
	// Who sweeps removes that first and lists then, so that one of the two sees the other.
	mark, err := u.store.manifest(u.Context(), u.tag)
	if notFound(err) {
		return fmt.Errorf("%s: %w: the upload was removed, perhaps by another process; retry", u.store.Place(u.key), sink.ErrUnavailable)
	}
	if err != nil {
		return u.because(err)
	}
	_ = u.store.removeManifest(u.Context(), mark) // what is left of it the next sweep removes
	return nil
}

// Abort implements [object.Upload].
func (u *upload) Abort(ctx context.Context) error {
	u.Close()
	if u.Count() > 0 {
		if err := u.cancel(ctx); err != nil {
			return u.store.mayNotRemove(u.key, err)
		}
	}
	if !u.Tried() {
		return nil
	}
	return u.store.Delete(ctx, u.key)
}

// cancel has the registry remove what was sent. It may still be writing what was broken off, and
// refuses then.
func (u *upload) cancel(ctx context.Context) error {
	if u.at != nil {
		wait := backoff.NewConstantBackOff(100 * time.Millisecond)
		_, err := backoff.Retry(ctx, func() (struct{}, error) {
			err := u.resume(ctx)
			if err == nil {
				_, err = u.store.done(ctx, request{method: http.MethodDelete, url: u.at})
			}
			if err == nil || notFound(err) {
				return struct{}{}, nil
			}
			if statusOf(err) == http.StatusRequestedRangeNotSatisfiable {
				return struct{}{}, err
			}
			return struct{}{}, backoff.Permanent(err)
		}, backoff.WithBackOff(wait), backoff.WithMaxElapsedTime(patience))
		if err != nil && !unsupported(err) {
			return err
		}
	}
	mark, err := u.store.manifest(ctx, u.tag)
	if notFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return u.store.removeManifest(ctx, mark)
}
