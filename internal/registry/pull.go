package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// Image is an image that a daemon may pull.
type Image struct {
	// MediaType is that of Manifest, which names the blobs by their digests (sha256:<hex>).
	MediaType string
	Manifest  []byte
	Blobs     map[string]Content
}

// Content is one blob that a daemon may pull.
type Content struct {
	// Size is how many bytes it has.
	Size int64
	// Open returns them. A daemon may ask for a blob again, and for several at a time. ctx
	// is the session's and the request's.
	Open func(ctx context.Context) (io.ReadCloser, error)
}

// Offer lets the daemon pull an image under this tag, until the session is closed; see
// [Server.Open]. describe is told the reference that it is pulled by, and returns it at once.
// An error of a blob ends the session, and [Session.Err] returns it.
func (s *Server) Offer(tag string, describe func(reference string) Image) *Session {
	return s.open(tag, func(session *Session) {
		i := describe(session.Reference())
		session.offer = &i
	})
}

// getManifest sends the manifest of an image that is offered.
func (s *Session) getManifest(w http.ResponseWriter, r *http.Request) error {
	if s.offer == nil {
		return unknownManifest
	}
	digest := digestOfBytes(s.offer.Manifest)
	if reference := r.PathValue("reference"); reference != s.tag && reference != digest {
		return unknownManifest
	}
	w.Header().Set("Content-Type", s.offer.MediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(s.offer.Manifest)))
	w.Header().Set("Docker-Content-Digest", digest)
	_, _ = w.Write(s.offer.Manifest) // whoever asked may have gone
	return nil
}

// offered is what is offered of a blob.
func (s *Session) offered(digest string) (Content, error) {
	c, ok := s.offer.Blobs[digest]
	if !ok {
		return c, unknownBlob
	}
	return c, nil
}

// getBlob sends a blob of an image that is offered. One that cannot be read to its end
// breaks off, so that nobody takes it for whole.
func (s *Session) getBlob(w http.ResponseWriter, r *http.Request) error {
	if s.offer == nil {
		return methodRefused
	}
	digest, err := digestOf(r.PathValue("digest"))
	if err != nil {
		return err
	}
	c, err := s.offered(digest)
	if err != nil {
		return err
	}
	from, err := c.Open(r.Context())
	if err != nil {
		return fmt.Errorf("open the blob %s: %w", digest, err)
	}
	defer from.Close()
	blobHeader(w, digest, c.Size)
	// A daemon that takes nothing more must not keep the session.
	stop := context.AfterFunc(s.ctx, func() { _ = http.NewResponseController(w).SetWriteDeadline(longAgo) })
	defer stop()
	source := &source{Reader: from}
	if _, err := io.CopyBuffer(onlyWriter{w}, source, make([]byte, 64<<10)); err == nil || r.Context().Err() != nil {
		return nil
	}
	if source.err != nil {
		s.fail(fmt.Errorf("read the blob %s: %w", digest, source.err))
	}
	return nil // what was sent is shorter than was told, and the connection ends by that
}

// onlyWriter hides that what answers could read by itself, with a buffer of its own.
type onlyWriter struct{ io.Writer }

// blobHeader says what a blob is.
func blobHeader(w http.ResponseWriter, digest string, size int64) {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	w.Header().Set("Docker-Content-Digest", digest)
}
