package registry

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strings"
)

// upload is a blob on its way. Whoever works on it has taken it from the session, so
// there is one at a time.
type upload struct {
	id   string
	blob Blob // nil until its first bytes come
	hash hash.Hash
	size int64
}

func (u *upload) abort() {
	if u.blob != nil {
		u.blob.Abort()
	}
}

// beginUpload begins an upload, also where the daemon would rather have a blob mounted
// from another repository: it sends it then.
func (s *Session) beginUpload(w http.ResponseWriter, _ *http.Request) error {
	s.await(w, &upload{id: rand.Text(), hash: sha256.New()})
	return nil
}

// await answers that more of an upload may come.
func (s *Session) await(w http.ResponseWriter, u *upload) {
	s.mu.Lock()
	s.uploads[u.id] = u
	s.mu.Unlock()
	w.Header().Set("Location", fmt.Sprintf("/v2/%s/%s/blobs/uploads/%s", namespace, s.name, u.id))
	w.Header().Set("Docker-Upload-UUID", u.id)
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(u.size-1, 0)))
	w.WriteHeader(http.StatusAccepted)
}

// upload takes the upload that the request names from the session.
func (s *Session) upload(r *http.Request) (*upload, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.uploads[r.PathValue("id")]
	if u == nil {
		return nil, unknownUpload
	}
	delete(s.uploads, u.id)
	return u, nil
}

// patchUpload takes bytes of a blob. Only what comes in order is taken.
func (s *Session) patchUpload(w http.ResponseWriter, r *http.Request) error {
	u, err := s.upload(r)
	if err != nil {
		return err
	}
	if at := r.Header.Get("Content-Range"); at != "" && !strings.HasPrefix(at, fmt.Sprintf("%d-", u.size)) {
		u.abort()
		return &refusal{http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID", "an upload is not resumed: begin it anew"}
	}
	if err := s.take(u, r.Body); err != nil {
		return err
	}
	s.await(w, u)
	return nil
}

// putUpload takes the last bytes of a blob, or all, and ends it.
func (s *Session) putUpload(w http.ResponseWriter, r *http.Request) error {
	u, err := s.upload(r)
	if err != nil {
		return err
	}
	want, err := digestOf(r.URL.Query().Get("digest"))
	if err != nil {
		u.abort()
		return err
	}
	if err := s.take(u, r.Body); err != nil {
		return err
	}
	if got := "sha256:" + hex.EncodeToString(u.hash.Sum(nil)); got != want {
		u.abort()
		return invalid("DIGEST_INVALID", fmt.Sprintf("what came has the digest %s, and not %s", got, want))
	}
	if err := u.blob.Commit(r.Context(), want, u.size); err != nil {
		return fmt.Errorf("keep the blob %s: %w", want, err)
	}
	s.mu.Lock()
	s.received[want] = u.size
	s.mu.Unlock()
	w.Header().Set("Location", fmt.Sprintf("/v2/%s/%s/blobs/%s", namespace, s.name, want))
	w.Header().Set("Docker-Content-Digest", want)
	w.WriteHeader(http.StatusCreated)
	return nil
}

// deleteUpload drops an upload.
func (s *Session) deleteUpload(w http.ResponseWriter, r *http.Request) error {
	u, err := s.upload(r)
	if err != nil {
		return err
	}
	u.abort()
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// take hands bytes to the blob as they come. After an error, or a panic, the blob is
// ended.
func (s *Session) take(u *upload, body io.Reader) (err error) {
	if u.blob == nil {
		if u.blob, err = s.receiver.Begin(s.ctx); err != nil {
			return fmt.Errorf("begin a blob: %w", err)
		}
	}
	taken := false
	defer func() {
		if !taken {
			u.abort()
		}
	}()
	source := &source{Reader: body}
	n, err := io.CopyBuffer(io.MultiWriter(u.hash, u.blob), source, make([]byte, 64<<10))
	u.size += n
	switch {
	case source.err != nil && context.Cause(s.ctx) != nil:
		return context.Cause(s.ctx)
	case source.err != nil:
		return invalid("BLOB_UPLOAD_INVALID", "the blob broke off")
	case err != nil:
		return fmt.Errorf("take a blob: %w", err)
	}
	taken = true
	return nil
}

// source remembers its error: whoever copies from it can't tell that from one of
// writing.
type source struct {
	io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != io.EOF {
		s.err = err
	}
	return n, err
}
