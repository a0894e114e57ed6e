package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast.io/holdfast/internal/sink"
)

// An Engine may push the image of a point to the repository by itself: under a tag of the attempt,
// from which the worker makes the point. The tag goes when the attempt has ended, or with what else
// it left. One may come later, where the registry was slow: an Engine that is told to stop does not break
// off the manifest that it sends. That goes with a prune.

var _ sink.Repository = (*Store)(nil)

// manifestTypes are those of the manifests that Engines push.
const manifestTypes = v1.MediaTypeImageManifest + ", " + v1.MediaTypeImageIndex +
	", application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json"

// repository is the registry and the repository, as the reference of an image begins.
func (s *Store) repository() string { return s.options.Registry + "/" + s.ref.Repository }

// snapshotTag is the tag of what is pushed of an attempt at the point at dir.
func snapshotTag(dir, attempt string) string {
	return sink.SnapshotTag + path.Base(dir) + "-" + attempt
}

// Reference implements [sink.Repository].
func (s *Store) Reference(dir, attempt string) string {
	return s.repository() + ":" + snapshotTag(dir, attempt)
}

// Own implements [sink.Repository].
func (s *Store) Own(ctx context.Context) (reference string, err error) {
	f, err := s.look(ctx, sink.IdentityName)
	if err != nil {
		return "", err
	}
	return s.repository() + "@" + f.digest.String(), nil
}

// Login implements [sink.Repository].
func (s *Store) Login(ctx context.Context) (sink.Login, error) {
	c, err := s.credential(ctx, s.ref.Host())
	return sink.Login{User: c.Username, Password: c.Password, RegistryToken: c.AccessToken, IdentityToken: c.RefreshToken}, s.explain("", err)
}

// Manifest implements [sink.Repository].
func (s *Store) Manifest(ctx context.Context, dir, attempt string) ([]byte, error) {
	raw, err := s.pushed(ctx, snapshotTag(dir, attempt))
	return raw, s.explain(snapshotTag(dir, attempt), err)
}

func (s *Store) pushed(ctx context.Context, tag string) ([]byte, error) {
	answer, err := s.do(ctx, request{method: http.MethodGet, url: s.at("manifests", tag), header: map[string]string{"Accept": manifestTypes}})
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(answer.Body, maxManifest+1))
	if err == nil && len(raw) > maxManifest {
		err = fmt.Errorf("%w: its manifest has more than %d bytes", sink.ErrUnavailable, maxManifest)
	}
	return raw, err
}

// OpenBlob implements [sink.Repository].
func (s *Store) OpenBlob(ctx context.Context, of string, offset, length int64) (io.ReadCloser, error) {
	body, err := s.openBlob(ctx, v1.Descriptor{Digest: digest.Digest(of), Size: offset + length + 1}, offset, length)
	return body, s.explain(of, err)
}

// KeepBlob implements [sink.Repository].
func (s *Store) KeepBlob(ctx context.Context, of string, size int64) (was bool, err error) {
	header, err := s.done(ctx, request{method: http.MethodHead, url: s.at("blobs", of)})
	if err != nil {
		return false, s.explain(of, err)
	}
	if has, err := strconv.ParseInt(header.Get("Content-Length"), 10, 64); err != nil || has != size {
		return false, fmt.Errorf("%s: %w with %d bytes", s.Place(of), sink.ErrNotFound, size)
	}
	key := sink.BlobKey(of)
	f, err := s.look(ctx, key)
	if err == nil && f.content().Digest.String() == of && f.content().Size == size {
		return true, nil
	}
	if err != nil && !errors.Is(err, sink.ErrNotFound) {
		return false, err
	}
	content := v1.Descriptor{MediaType: "application/octet-stream", Digest: digest.Digest(of), Size: size}
	return false, s.stored(key, s.replace(ctx, key, describe(key, content, dateOf(header))))
}

// Withdraw implements [sink.Repository].
func (s *Store) Withdraw(ctx context.Context, dir, attempt string) error {
	tag := snapshotTag(dir, attempt)
	return s.mayNotRemove(tag, s.withdraw(ctx, tag))
}

// snapshotTags are the tags that snapshotTag makes for points whose ids begin with their time.
var snapshotTags = regexp.MustCompile(`^` + sink.SnapshotTag + `([0-9]{8}T[0-9]{6}Z)-[0-9a-f]{8}-[0-9]+$`)

// WithdrawBefore implements [sink.Repository].
func (s *Store) WithdrawBefore(ctx context.Context, t time.Time) error {
	tags, err := s.tags(ctx, sink.SnapshotTag)
	if err != nil {
		return s.explain("", err)
	}
	for _, tag := range tags {
		parts := snapshotTags.FindStringSubmatch(tag)
		if parts == nil {
			continue
		}
		if of, err := time.Parse("20060102T150405Z", parts[1]); err != nil || !of.Before(t) {
			continue
		}
		if err := s.withdraw(ctx, tag); err != nil {
			return s.mayNotRemove(tag, err)
		}
	}
	return nil
}

// withdraw removes an image that was pushed, or its tag alone if a point refers to it.
func (s *Store) withdraw(ctx context.Context, tag string) error {
	raw, err := s.pushed(ctx, tag)
	if err == nil {
		var used bool
		used, err = s.dropImage(ctx, &found{digest: digest.FromBytes(raw), size: int64(len(raw))})
		if err == nil && used {
			_, err = s.done(ctx, request{method: http.MethodDelete, url: s.at("manifests", tag)})
		}
	}
	if notFound(err) {
		return nil
	}
	return err
}

// withdrawSwept is withdraw of what an attempt has left whose artifacts begin with prefix.
func (s *Store) withdrawSwept(ctx context.Context, prefix string) error {
	attempt := strings.TrimSuffix(prefix, "/")
	if dir := path.Dir(attempt); sink.CheckPoint(dir) == nil {
		return s.withdraw(ctx, snapshotTag(dir, path.Base(attempt)))
	}
	return nil
}
