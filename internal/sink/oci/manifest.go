package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
)

// maxManifest bounds a manifest, in bytes: registries take none that is larger.
const maxManifest = 4 << 20

// found is an object, or another manifest, as the registry has it.
type found struct {
	v1.Manifest
	digest digest.Digest
	size   int64
	now    time.Time // by the clock of the registry
}

// content is the blob that holds the object.
func (f *found) content() v1.Descriptor { return f.Layers[0] }

func (f *found) info() object.Info {
	stored, _ := time.Parse(time.RFC3339, f.Annotations[v1.AnnotationCreated])
	return object.Info{Size: f.content().Size, Version: f.digest.String(), Modified: stored}
}

// manifest reads the manifest at a tag or a digest.
func (s *Store) manifest(ctx context.Context, reference string) (*found, error) {
	answer, err := s.do(ctx, request{method: http.MethodGet, url: s.at("manifests", reference),
		header: map[string]string{"Accept": v1.MediaTypeImageManifest}})
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	f := &found{now: dateOf(answer.Header)}
	raw, err := io.ReadAll(io.LimitReader(answer.Body, maxManifest))
	if err != nil {
		return nil, err
	}
	f.digest, f.size = digest.FromBytes(raw), int64(len(raw))
	if err := json.Unmarshal(raw, &f.Manifest); err != nil {
		return nil, fmt.Errorf("the manifest %s is damaged: %w", reference, err)
	}
	return f, nil
}

// look returns the object at key, or reports sink.ErrNotFound.
func (s *Store) look(ctx context.Context, key string) (*found, error) {
	f, err := s.manifest(ctx, tagOf(objectTag, key, ""))
	if err != nil {
		return nil, s.explain(key, err)
	}
	if f.Annotations[keyAnnotation] != key || len(f.Layers) == 0 {
		return nil, fmt.Errorf("%s: %w: its tag %s is that of something else", s.Place(key), sink.ErrUnavailable, tagOf(objectTag, key, ""))
	}
	return f, nil
}

// digestAt returns what a tag leads to, and nothing if it is not there.
func (s *Store) digestAt(ctx context.Context, tag string) (digest.Digest, error) {
	f, err := s.manifest(ctx, tag)
	if notFound(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return f.digest, nil
}

// maxInline is how large an object is at most that lies in its manifest too, so that it
// is read with that.
const maxInline = 4 << 10

// describe returns the manifest of the object at key, whose bytes are a blob that is there.
func describe(key string, content v1.Descriptor, stored time.Time) *v1.Manifest {
	return &v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, ArtifactType: ArtifactType,
		Config: v1.DescriptorEmptyJSON, Layers: []v1.Descriptor{content},
		Annotations: map[string]string{
			keyAnnotation: key, nonceAnnotation: uuid.NewString(), v1.AnnotationCreated: stored.UTC().Format(time.RFC3339),
		},
	}
}

func blobOf(content []byte) v1.Descriptor {
	d := v1.Descriptor{MediaType: "application/octet-stream", Digest: digest.FromBytes(content), Size: int64(len(content))}
	if len(content) <= maxInline {
		d.Data = content
	}
	return d
}

// sendBlob stores a blob that is in memory, and returns when that was.
func (s *Store) sendBlob(ctx context.Context, content []byte) (time.Time, error) {
	begun, err := s.done(ctx, request{method: http.MethodPost, url: s.at("blobs", "uploads/")})
	if err != nil {
		return time.Time{}, err
	}
	at, err := s.locationOf(begun, s.base)
	if err != nil {
		return time.Time{}, err
	}
	return s.endBlob(ctx, at, digest.FromBytes(content), content)
}

// endBlob ends an upload with its last bytes. If the answer to a try was lost, the next one finds
// no upload, but the blob.
func (s *Store) endBlob(ctx context.Context, at *url.URL, d digest.Digest, rest []byte) (time.Time, error) {
	to := *at
	query := to.Query()
	query.Set("digest", d.String())
	to.RawQuery = query.Encode()
	header, err := s.done(ctx, request{method: http.MethodPut, url: &to, body: rest,
		header: map[string]string{"Content-Type": "application/octet-stream"}})
	if statusOf(err) == http.StatusNotFound {
		if there, herr := s.done(ctx, request{method: http.MethodHead, url: s.at("blobs", d.String())}); herr == nil {
			return dateOf(there), nil
		}
	}
	return dateOf(header), err
}

// sendManifest puts a manifest under a tag. Where it refers to a manifest, the registry lists it
// as that one's referrer; where that does not, the client keeps the list.
func (s *Store) sendManifest(ctx context.Context, tag string, m *v1.Manifest) (digest.Digest, error) {
	raw, err := json.Marshal(m)
	if err != nil {
		return "", err
	}
	d := v1.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	for range 2 {
		if !s.hasEmpty.Load() {
			if _, err := s.sendBlob(ctx, v1.DescriptorEmptyJSON.Data); err != nil {
				return "", err
			}
			s.hasEmpty.Store(true)
		}
		err = s.repo.Manifests().PushReference(s.scoped(ctx), d, bytes.NewReader(raw), tag)
		if referrers, ok := errors.AsType[*remote.ReferrersError](err); ok && referrers.IsReferrersIndexDelete() {
			err = nil // what is left is the list as it was before
		}
		if !hasCode(err, errcode.ErrorCodeManifestBlobUnknown) {
			break
		}
		s.hasEmpty.Store(false) // the registry's garbage collection may have removed it
	}
	return d.Digest, err
}

// removeManifest removes a manifest with all its tags.
func (s *Store) removeManifest(ctx context.Context, f *found) error {
	var err error
	if f.Subject == nil {
		_, err = s.done(ctx, request{method: http.MethodDelete, url: s.at("manifests", f.digest.String())})
	} else {
		err = s.repo.Manifests().Delete(s.scoped(ctx), v1.Descriptor{MediaType: f.MediaType, Digest: f.digest, Size: f.size})
	}
	if notFound(err) {
		return nil
	}
	return err
}
