// Package oci is an object store in a repository of an image registry, by the OCI distribution
// protocol.
//
// The bytes of an object are a blob. An artifact manifest names the blob and the object's key, and
// has a tag that is made of the key. So listing is listing tags; and the registry's own garbage
// collection, which removes what no manifest names, keeps what is stored and frees what was
// removed: this package removes manifests, and never a blob, as another object may have the same
// bytes.
//
// A point of the layered format is an image of the repository too: see image.go.
package oci

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/retry"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/object/conn"
)

// ArtifactType is that of the manifests of objects.
const ArtifactType = "application/vnd.holdfast.object.v1"

// Annotations of these manifests.
const (
	// keyAnnotation is the key of the object.
	keyAnnotation = "io.holdfast.key"
	// nonceAnnotation makes every manifest another one. So a registry that removes one by its
	// digest removes the one that was meant.
	nonceAnnotation = "io.holdfast.nonce"
)

// Options say where a store lies, and how it is used.
type Options struct {
	// Registry is host or host:port, and Repository a name there, which may have slashes.
	Registry, Repository string
	// Endpoint is http://<registry> for a registry without TLS; empty, or https://<registry>, for
	// one with it.
	Endpoint string
	// CA is a file of PEM certificates that the registry's is signed by, beside the system's.
	CA string
	// UserFile and PasswordFile are files with a user and a password, or token. Without them Config
	// counts, a file as docker login writes it; if that is empty too, the one that
	// $DOCKER_CONFIG or the home folder has, if it has one.
	UserFile, PasswordFile, Config string

	first  time.Duration // until a request is tried again the first time; 0 for a second
	settle time.Duration // see PutNew; 0 for settleTime
	idle   time.Duration // for how long a connection may stand still; 0 for a minute
}

// settleTime is for how long one looks whether another process has created the same object.
const settleTime = 500 * time.Millisecond

// Store is a repository.
type Store struct {
	options  Options
	base     *url.URL // of the repository
	ref      registry.Reference
	client   *auth.Client // tries again
	once     *auth.Client // does not
	repo     *remote.Repository
	hasEmpty atomic.Bool // the empty configuration of artifacts is there
}

var (
	_ object.Store  = (*Store)(nil)
	_ object.Copier = (*Store)(nil)
)

// New checks the options, and connects to nothing.
func New(o Options) (*Store, error) {
	ref, err := registry.ParseReference(o.Registry + "/" + o.Repository)
	if err != nil || ref.Reference != "" || ref.Registry != o.Registry {
		return nil, errors.New("it is oci://registry/repository or oci://registry:port/repository, the repository in small letters " +
			"and without a tag")
	}
	base, err := endpoint(o, ref)
	if err != nil {
		return nil, err
	}
	if (o.UserFile == "") != (o.PasswordFile == "") {
		return nil, errors.New("userFile and passwordFile go together")
	}
	if o.UserFile != "" && o.Config != "" {
		return nil, errors.New("credentialsFile, and userFile with passwordFile, exclude each other")
	}
	s := &Store{options: o, ref: ref, base: base.JoinPath("v2", ref.Repository)}
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute, DisableCompression: true,
		TLSHandshakeTimeout: 30 * time.Second,
	}
	if err := conn.Tune(t, o.CA, o.idle); err != nil {
		return nil, err
	}
	again := &retry.Transport{Base: t, Policy: func() retry.Policy { return patient(cmp.Or(o.first, time.Second)) }}
	cache, header := auth.NewCache(), http.Header{"User-Agent": {"holdfast"}}
	s.client = &auth.Client{Client: &http.Client{Transport: again}, Cache: cache, Header: header, Credential: s.credential}
	s.once = &auth.Client{Client: &http.Client{Transport: t}, Cache: cache, Header: header, Credential: s.credential}
	s.repo = &remote.Repository{Client: s.client, Reference: ref, PlainHTTP: base.Scheme == "http"}
	return s, nil
}

// endpoint returns the URL of the registry.
func endpoint(o Options, ref registry.Reference) (*url.URL, error) {
	secure := &url.URL{Scheme: "https", Host: ref.Host()}
	switch strings.TrimRight(o.Endpoint, "/") {
	case "", "https://" + o.Registry:
		return secure, nil
	case "http://" + o.Registry:
		return &url.URL{Scheme: "http", Host: ref.Host()}, nil
	}
	return nil, fmt.Errorf("the endpoint must be http://%s for a registry without TLS, or be left out", o.Registry)
}

// scoped returns a ctx in which a token is asked for that is good for all that is done here.
func (s *Store) scoped(ctx context.Context) context.Context {
	return auth.AppendRepositoryScope(ctx, s.ref, auth.ActionPull, auth.ActionPush, auth.ActionDelete)
}

// Place implements [object.Store].
func (s *Store) Place(key string) string {
	place := "oci://" + s.options.Registry + "/" + s.options.Repository
	if key == "" {
		return place
	}
	return place + "/" + key
}

// Put implements [object.Store].
func (s *Store) Put(ctx context.Context, key string, content []byte) error {
	stored, err := s.sendBlob(ctx, content)
	if err == nil {
		err = s.replace(ctx, key, describe(key, blobOf(content), stored))
	}
	return s.stored(key, err)
}

// stored is explain for a failure to store: that something is not there says then that the
// repository is not.
func (s *Store) stored(key string, err error) error {
	err = s.explain(key, err)
	if errors.Is(err, sink.ErrNotFound) {
		return fmt.Errorf("%s: %w: there is no such repository, and the registry makes none; make it, or correct the sink's url",
			s.Place(key), sink.ErrUnavailable)
	}
	return err
}

// replace puts the manifest of an object in place of one that is there.
func (s *Store) replace(ctx context.Context, key string, m *v1.Manifest) error {
	tag := tagOf(objectTag, key, "")
	old, err := s.manifest(ctx, tag)
	if err != nil && !notFound(err) {
		return err
	}
	if _, err := s.sendManifest(ctx, tag, m); err != nil {
		return err
	}
	if old != nil {
		_ = s.removeManifest(ctx, old) // nothing leads to it any more
	}
	return nil
}

// PutNew implements [object.Store]. A registry cannot create a tag only if there is none. So
// one looks first, and after it was put looks again, when all have put theirs who saw none:
// the last one has won. That holds while nobody needs longer than settleTime from the one look to
// the put.
func (s *Store) PutNew(ctx context.Context, key string, content []byte) error {
	stored, err := s.sendBlob(ctx, content)
	if err != nil {
		return s.stored(key, err)
	}
	m := describe(key, blobOf(content), stored)
	if err := s.checkNone(ctx, key); err != nil {
		return err
	}
	if path.Base(key) == sink.ManifestName {
		if err := s.complete(ctx, m, key, content); err != nil {
			return s.stored(key, err)
		}
	}
	err = s.create(ctx, key, m)
	if m.Subject != nil && (err == nil || errors.Is(err, sink.ErrExists)) {
		err = errors.Join(err, s.stored(key, s.keepImage(ctx, key, *m.Subject)))
	}
	return err
}

// checkNone reports sink.ErrExists if there is an object at key.
func (s *Store) checkNone(ctx context.Context, key string) error {
	there, err := s.digestAt(ctx, tagOf(objectTag, key, ""))
	if err == nil && there != "" {
		return fmt.Errorf("%s: %w", s.Place(key), sink.ErrExists)
	}
	return s.explain(key, err)
}

// create is PutNew of an object whose bytes are there.
func (s *Store) create(ctx context.Context, key string, m *v1.Manifest) error {
	tag := tagOf(objectTag, key, "")
	if err := s.checkNone(ctx, key); err != nil {
		return err
	}
	own, err := s.sendManifest(ctx, tag, m)
	if err != nil {
		return s.stored(key, err)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(cmp.Or(s.options.settle, settleTime)):
	}
	there, err := s.digestAt(ctx, tag)
	switch {
	case err != nil:
		return s.explain(key, err)
	case there == own:
		return nil
	}
	if lost, err := s.manifest(ctx, own.String()); err == nil {
		_ = s.removeManifest(ctx, lost) // nothing leads to it any more
	}
	if there == "" {
		return fmt.Errorf("%s: %w: it was removed while it was stored; retry", s.Place(key), sink.ErrUnavailable)
	}
	return fmt.Errorf("%s: %w", s.Place(key), sink.ErrExists)
}

// Caveats implements [object.Store].
func (s *Store) Caveats(ctx context.Context, key string) ([]string, error) {
	err := s.PutNew(ctx, key, []byte("first"))
	if err != nil && !errors.Is(err, sink.ErrExists) {
		return nil, err
	}
	return []string{"a registry cannot create something only if it is not there: should two workers store one point at a time, " +
		"and the registry be slow, the later manifest replaces the first"}, nil
}

// Copy implements [object.Copier]: both objects have one blob.
func (s *Store) Copy(ctx context.Context, from, to string, size int64) error {
	f, err := s.look(ctx, from)
	if err != nil {
		return err
	}
	if f.content().Size != size {
		return fmt.Errorf("%s: %w: it has %d bytes, and %d were written", s.Place(from), sink.ErrUnavailable, f.content().Size, size)
	}
	return s.stored(to, s.replace(ctx, to, describe(to, f.content(), f.now)))
}

// Open implements [object.Store].
func (s *Store) Open(ctx context.Context, key string, offset, length int64, version string) (io.ReadCloser, object.Info, error) {
	f, err := s.look(ctx, key)
	if err != nil {
		return nil, object.Info{}, err
	}
	info, content := f.info(), f.content()
	switch {
	case version != "" && version != info.Version:
		return nil, object.Info{}, fmt.Errorf("%s: %w", s.Place(key), object.ErrChanged)
	case offset > info.Size:
		return nil, object.Info{}, fmt.Errorf("%s: %w", s.Place(key), sink.ErrRange)
	}
	if length < 0 || length > info.Size-offset {
		length = info.Size - offset
	}
	switch {
	case length == 0:
		return io.NopCloser(strings.NewReader("")), info, nil
	case int64(len(content.Data)) == info.Size && digest.FromBytes(content.Data) == content.Digest:
		return io.NopCloser(bytes.NewReader(content.Data[offset : offset+length])), info, nil
	}
	body, err := s.openBlob(ctx, content, offset, length)
	return body, info, s.explain(key, err)
}

// openBlob reads a part of a blob, which is not empty.
func (s *Store) openBlob(ctx context.Context, d v1.Descriptor, offset, length int64) (io.ReadCloser, error) {
	q := request{method: http.MethodGet, url: s.at("blobs", d.Digest.String())}
	part := offset > 0 || length < d.Size
	if part {
		q.header = map[string]string{"Range": "bytes=" + strconv.FormatInt(offset, 10) + "-" + strconv.FormatInt(offset+length-1, 10)}
	}
	answer, err := s.do(ctx, q)
	if err != nil {
		return nil, err
	}
	if part && answer.StatusCode != http.StatusPartialContent { // a registry need not know ranges
		if _, err := io.CopyN(io.Discard, answer.Body, offset); err != nil {
			return nil, errors.Join(err, answer.Body.Close())
		}
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(answer.Body, length), answer.Body}, nil
}

// Stat implements [object.Store].
func (s *Store) Stat(ctx context.Context, key string) (object.Info, error) {
	f, err := s.look(ctx, key)
	if err != nil {
		return object.Info{}, err
	}
	return f.info(), nil
}

// Delete implements [object.Store].
func (s *Store) Delete(ctx context.Context, key string) error {
	f, err := s.manifest(ctx, tagOf(objectTag, key, ""))
	switch {
	case err == nil:
		err = s.removeManifest(ctx, f)
	case notFound(err):
		err = nil
	default:
		return s.explain(key, err)
	}
	if err == nil && path.Base(key) == sink.ManifestName {
		err = s.removeImage(ctx, key)
	}
	return s.mayNotRemove(key, err)
}
