package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"holdfast.io/holdfast/internal/sink"
)

// A point is whole in the registry by itself, for whoever copies it with other tools: the artifact
// manifest of its manifest.json names the blobs of all its artifacts. Where one of them is the
// manifest of an image, that is put into the repository as what it is, with the point's id as
// its tag, and the artifact manifest refers to it as its subject. So
//
//	docker pull registry/repository:<point id>
//
// pulls the image, and who asks for its referrers finds the configuration and the volumes.
// Unchanged points of one container have one image, and a tag each.

// named is what is read of the manifest of a point.
type named struct {
	Artifacts []struct {
		MediaType string        `json:"mediaType"`
		Digest    digest.Digest `json:"digest"`
		Size      int64         `json:"size"`
		Key       string        `json:"key"`
	} `json:"artifacts"`
}

// complete adds to the artifact manifest of the manifest of a point what that names, and puts its
// image into the repository. What is no manifest of a point is left as it is.
func (s *Store) complete(ctx context.Context, m *v1.Manifest, key string, content []byte) error {
	var point named
	if json.Unmarshal(content, &point) != nil {
		return nil
	}
	seen := map[digest.Digest]bool{m.Layers[0].Digest: true}
	for _, a := range point.Artifacts {
		if a.Digest.Validate() != nil || a.Size < 0 || seen[a.Digest] {
			continue
		}
		seen[a.Digest] = true
		d := v1.Descriptor{MediaType: a.MediaType, Digest: a.Digest, Size: a.Size,
			Annotations: map[string]string{v1.AnnotationTitle: path.Base(a.Key)}}
		m.Layers = append(m.Layers, d)
		if a.MediaType == v1.MediaTypeImageManifest {
			d.Annotations = nil
			if err := s.putImage(ctx, key, d); err != nil {
				return err
			}
			m.Subject = &d
		}
	}
	return nil
}

// imageTag returns the tag of the image of the point whose manifest has a key: its id.
func (s *Store) imageTag(manifest string) (tag string, ok bool) {
	ref := s.ref
	ref.Reference = path.Base(path.Dir(manifest))
	return ref.Reference, sink.CheckPoint(path.Dir(manifest)) == nil && ref.ValidateReferenceAsTag() == nil
}

// putImage puts the manifest of an image, which is a blob so far, under the tag of a point.
func (s *Store) putImage(ctx context.Context, key string, d v1.Descriptor) error {
	tag, ok := s.imageTag(key)
	if !ok || d.Size > maxManifest {
		return nil
	}
	r, err := s.openBlob(ctx, d, 0, d.Size)
	if err != nil {
		return err
	}
	raw, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return err
	}
	if digest.FromBytes(raw) != d.Digest {
		return fmt.Errorf("%w: the manifest of the image is damaged", sink.ErrUnavailable)
	}
	_, err = s.done(ctx, request{method: http.MethodPut, url: s.at("manifests", tag), body: raw,
		header: map[string]string{"Content-Type": d.MediaType}})
	return err
}

// removeImage removes the tag of a point that is gone, and the image with it, unless that is of
// another point too.
func (s *Store) removeImage(ctx context.Context, key string) error {
	tag, ok := s.imageTag(key)
	if !ok {
		return nil
	}
	image, err := s.manifest(ctx, tag)
	if notFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if image.Annotations[keyAnnotation] != "" {
		return nil // it is an object
	}
	used, err := s.dropImage(ctx, image)
	if err != nil || !used {
		return err
	}
	_, err = s.done(ctx, request{method: http.MethodDelete, url: s.at("manifests", tag)})
	if notFound(err) {
		return nil
	}
	return err
}

// dropImage removes the manifest of an image with all its tags, unless a point refers to it.
func (s *Store) dropImage(ctx context.Context, image *found) (used bool, err error) {
	of := v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: image.digest, Size: image.size}
	err = s.repo.Referrers(s.scoped(ctx), of, ArtifactType, func(points []v1.Descriptor) error {
		used = used || len(points) > 0
		return nil
	})
	if used || err != nil && !notFound(err) {
		return used, err
	}
	return false, s.removeManifest(ctx, image)
}

// keepImage has the tag of the point at key lead to the image of the manifest that is there, whoever
// has stored that: own is the image of one who tried, and may have put his there meanwhile.
func (s *Store) keepImage(ctx context.Context, key string, own v1.Descriptor) error {
	tag, ok := s.imageTag(key)
	if !ok {
		return nil
	}
	point, err := s.manifest(ctx, tagOf(objectTag, key, ""))
	if err != nil || point.Subject == nil {
		return err
	}
	there, err := s.digestAt(ctx, tag)
	if err == nil && there != point.Subject.Digest {
		err = s.putImage(ctx, key, *point.Subject)
	}
	if err != nil || own.Digest == point.Subject.Digest {
		return err
	}
	if lost, err := s.manifest(ctx, own.Digest.String()); err == nil {
		_, _ = s.dropImage(ctx, lost) // nothing leads to it any more
	}
	return nil
}

// attemptLevels is how many elements the prefix of what an attempt has stored has.
const attemptLevels = 6

// sweepImage removes the image of a point that was not published after all, if prefix is that of an
// attempt at it.
func (s *Store) sweepImage(ctx context.Context, prefix string) error {
	attempt := strings.TrimSuffix(prefix, "/")
	manifest := path.Join(path.Dir(attempt), sink.ManifestName)
	if strings.Count(attempt, "/")+1 != attemptLevels {
		return nil
	}
	if _, ok := s.imageTag(manifest); !ok {
		return nil
	}
	there, err := s.digestAt(ctx, tagOf(objectTag, manifest, ""))
	if err != nil || there != "" {
		return err
	}
	return s.removeImage(ctx, manifest)
}

// unsupported reports whether the registry does not do what it was asked for.
func unsupported(err error) bool {
	return statusOf(err) == http.StatusMethodNotAllowed || hasCode(err, errcode.ErrorCodeUnsupported)
}
