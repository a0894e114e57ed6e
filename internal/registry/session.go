package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"sync"
	"time"

	"holdfast.io/holdfast/internal/panics"
)

// Receiver takes an image that a daemon pushes. Its methods are called by several
// goroutines at a time, and return when their ctx ends. An error of it refuses the push
// for good: the daemon is told its text, and [Session.Err] returns it.
type Receiver interface {
	// Known reports whether the blob with this digest (sha256:<hex>) need not be sent, and
	// its size in bytes, which a classic store writes into the manifest. It is not asked
	// for what was committed in this session.
	Known(ctx context.Context, digest string) (size int64, known bool, err error)
	// Begin takes a blob, whose digest is told at its end. ctx is the session's.
	Begin(ctx context.Context) (Blob, error)
	// Manifest takes a manifest. That of the image is the last, and has a tag. It may report
	// ErrBlobUnknown.
	Manifest(ctx context.Context, m Manifest) error
}

// ErrBlobUnknown is wrapped by the error of [Receiver.Manifest] that does not refuse the push for
// good: the manifest names a blob that the receiver lacks. The daemon gives up, and may push again
// in the same session.
var ErrBlobUnknown = errors.New("the manifest names a blob that has to be sent")

// Blob takes the bytes of one blob, by one goroutine at a time. It is ended by one call
// of Commit or Abort.
type Blob interface {
	io.Writer
	// Commit ends it: these were all its bytes. That they have this digest is proven. A
	// daemon may send a blob twice, even at the same time. One whose Commit failed is
	// not aborted.
	Commit(ctx context.Context, digest string, size int64) error
	// Abort ends it: it is not whole.
	Abort()
}

// Manifest is a manifest as it was pushed. Nobody has looked into it.
type Manifest struct {
	// Tag is that of the session; empty for a manifest that an index refers to.
	Tag string
	// MediaType is what the daemon says that it is, Digest is that of Raw.
	MediaType, Digest string
	Raw               []byte
}

// Session is the push of one image, or the pull of one. It may be used by several
// goroutines.
type Session struct {
	server    *Server
	name, tag string
	receiver  Receiver        // of a push; nil for a pull
	offer     *Image          // of a pull; nil for a push
	ctx       context.Context //nolint:containedctx // the lifetime of the session
	cancel    context.CancelCauseFunc
	requests  gate

	mu       sync.Mutex
	err      error
	uploads  map[string]*upload // by id; those that no request works on
	received map[string]int64   // sizes of the blobs that were committed, by digest
}

// Reference is the name that the image is pushed or pulled under: an address, a repository and
// the tag. It is valid from now on, until the session is closed.
func (s *Session) Reference() string {
	return fmt.Sprintf("%s/%s/%s:%s", s.server.addr, namespace, s.name, s.tag)
}

// Err returns the error with which the receiver refused the push, or a blob could not be
// read that was to be pulled; nil if there was none.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// errEnded ends what runs in a session that is closed.
var errEnded = errors.New("the push or pull has ended")

// Close ends the session: what runs in it is cancelled. It returns when the receiver is
// not called any more, and every blob is ended; so the receiver must not call it.
func (s *Session) Close() {
	s.cancel(errEnded)
	s.requests.close()
	s.mu.Lock()
	left := s.uploads
	s.uploads = nil
	s.mu.Unlock()
	for _, u := range left {
		u.abort()
	}
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	if s.server.sessions[s.name] == s {
		delete(s.server.sessions, s.name)
	}
}

// fail ends the session by an error of the receiver or of a blob, if it has not ended.
func (s *Session) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return
	}
	s.err = err
	s.cancel(err)
}

// handler answers a request, or returns why not: a [*refusal], or an error of the
// receiver, which ends the session.
type handler func(s *Session, w http.ResponseWriter, r *http.Request) error

// within calls a handler with the session that the request names. The request's context
// and body end with the session.
func (s *Server) within(handle handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		session := s.session(r.PathValue("name"))
		if session == nil || !session.requests.enter() {
			unknownName.writeBeforeEnd(w, r)
			return
		}
		defer session.requests.leave()
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		cut := make(chan struct{})
		stop := context.AfterFunc(session.ctx, func() {
			defer close(cut)
			cancel(context.Cause(session.ctx))
			_ = http.NewResponseController(w).SetReadDeadline(longAgo) // the server's own always can
		})
		refused := session.handle(w, r.WithContext(ctx), handle)
		if !stop() {
			<-cut
		}
		if refused != nil {
			refused.writeBeforeEnd(w, r)
		}
	}
}

// handle calls a handler, and returns why the request is refused; nil if it was
// answered.
func (s *Session) handle(w http.ResponseWriter, r *http.Request, handle handler) *refusal {
	err := context.Cause(s.ctx)
	if err == nil {
		err = panics.Catch(func() error { return handle(s, w, r) })
	}
	if err == nil {
		return nil
	}
	refused, ok := errors.AsType[*refusal](err)
	if !ok && r.Context().Err() == nil { // else the daemon has gone, and that may be why
		s.fail(err)
	}
	switch ended := context.Cause(s.ctx); {
	case ended != nil && r.Method == http.MethodHead:
		return unknownBlob // the answer to what the daemon does then can say why
	case ended != nil:
		w.Header().Set("Connection", "close")
		return denied(ended.Error())
	case !ok:
		return invalid("UNKNOWN", "the request broke off") // nothing must look like a success
	}
	return refused
}

// longAgo is a deadline that ends what waits.
var longAgo = time.Unix(1, 0)

// pushed is a handler of what belongs to a push.
func pushed(handle handler) handler {
	return func(s *Session, w http.ResponseWriter, r *http.Request) error {
		if s.receiver == nil {
			return methodRefused
		}
		return handle(s, w, r)
	}
}

func notAllowed(*Session, http.ResponseWriter, *http.Request) error { return methodRefused }

var digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// digestOf returns what a request says that a digest is.
func digestOf(text string) (string, error) {
	if !digestForm.MatchString(text) {
		return "", invalid("DIGEST_INVALID", fmt.Sprintf("%.100q is no digest sha256:<hex>", text))
	}
	return text, nil
}

// headBlob says whether a blob is known.
func (s *Session) headBlob(w http.ResponseWriter, r *http.Request) error {
	digest, err := digestOf(r.PathValue("digest"))
	if err != nil {
		return err
	}
	if s.offer != nil {
		c, err := s.offered(digest)
		if err == nil {
			blobHeader(w, digest, c.Size)
		}
		return err
	}
	s.mu.Lock()
	size, known := s.received[digest]
	s.mu.Unlock()
	if !known {
		if size, known, err = s.receiver.Known(r.Context(), digest); err != nil {
			return err
		}
	}
	if !known {
		return unknownBlob
	}
	blobHeader(w, digest, size)
	return nil
}

// digestOfBytes returns the digest of a document.
func digestOfBytes(raw []byte) string {
	sum := sha256.Sum256(raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// maxManifest is how large a manifest may be, in bytes. It is that of other registries.
const maxManifest = 4 << 20

// putManifest takes a manifest.
func (s *Session) putManifest(w http.ResponseWriter, r *http.Request) error {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxManifest))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return invalid("MANIFEST_INVALID", "the manifest is larger than 4 MiB")
	} else if err != nil {
		return invalid("MANIFEST_INVALID", "the manifest broke off")
	}
	m := Manifest{Tag: r.PathValue("reference"), Digest: digestOfBytes(raw), Raw: raw}
	switch m.Tag {
	case s.tag:
	case m.Digest:
		m.Tag = ""
	default: // perhaps of an earlier push, that nobody has told to stop
		return denied(fmt.Sprintf("no manifest %.100q is expected", m.Tag))
	}
	if m.MediaType, _, err = mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil {
		return invalid("MANIFEST_INVALID", "the manifest has no media type")
	}
	if err := s.receiver.Manifest(r.Context(), m); errors.Is(err, ErrBlobUnknown) {
		return invalid("MANIFEST_BLOB_UNKNOWN", err.Error())
	} else if err != nil {
		return err
	}
	w.Header().Set("Location", r.URL.Path)
	w.Header().Set("Docker-Content-Digest", m.Digest)
	w.WriteHeader(http.StatusCreated)
	return nil
}
