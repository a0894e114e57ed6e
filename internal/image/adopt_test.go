package image_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/image"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

// repository is where blobs have been pushed, for a sink in memory.
type repository struct {
	t     testing.TB
	in    *sinktest.Memory
	blobs map[string][]byte
}

func (r *repository) OpenBlob(_ context.Context, digest string, offset, length int64) (io.ReadCloser, error) {
	b, ok := r.blobs[digest]
	if !ok || offset+length > int64(len(b)) {
		return nil, sink.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(b[offset : offset+length])), nil
}

func (r *repository) KeepBlob(ctx context.Context, digest string, size int64) (was bool, err error) {
	b, ok := r.blobs[digest]
	if !ok || int64(len(b)) != size {
		return false, fmt.Errorf("%w", sink.ErrNotFound)
	}
	if _, err := r.in.Stat(ctx, sink.BlobKey(digest)); err == nil {
		return true, nil
	}
	staging, err := r.in.Stage(ctx, point.Dir("web01", "container", "web", idOf(8)), "1")
	if err != nil {
		return false, err
	}
	w, err := staging.CreateBlob(ctx, size)
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Commit(digest)
	}
	return false, errors.Join(err, staging.Discard(ctx))
}

func (r *repository) has(mediaType string, b []byte) v1.Descriptor {
	d := digest.FromBytes(b)
	r.blobs[d.String()] = b
	return v1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
}

// adopt makes what was pushed a point's image.
func (r *repository) adopt(p picture, manifest []byte, id string) ([]events.Artifact, error) {
	r.t.Helper()
	ctx := r.t.Context()
	staging, err := r.in.Stage(ctx, point.Dir("web01", "container", "web", idOf(9)), "1")
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = staging.Discard(ctx) }()
	w := &image.Writer{Sink: r.in, Staging: staging}
	if err := w.Begin(ctx, p.diffIDs); err != nil {
		r.t.Fatal(err)
	}
	info, all, err := w.Adopt(r, manifest, id)
	if err == nil && (info.ConfigDigest != digestOf(p.config) || !slices.Equal(info.DiffIDs, p.diffIDs)) {
		r.t.Errorf("it is the image %s of %v", info.ConfigDigest, info.DiffIDs)
	}
	return all, err
}

// pushedManifest is that of an image as an Engine has pushed it, and where.
func pushedManifest(t testing.TB) (r *repository, p picture, m v1.Manifest) {
	r = &repository{t: t, in: sinktest.NewMemory(), blobs: map[string][]byte{}}
	p = newPicture("the base", strings.Repeat("what is new ", 1000))
	m.Config = r.has("application/vnd.docker.container.image.v1+json", p.config)
	m.Layers = []v1.Descriptor{
		r.has(v1.MediaTypeImageLayer, p.layers[0]),
		r.has("application/vnd.docker.image.rootfs.diff.tar.gzip", gzipped(p.layers[1])),
	}
	return r, p, m
}

// Layers stay the blobs that were pushed, whatever the sink has them as; and their sizes are known.
func TestAdopt(t *testing.T) {
	r, p, m := pushedManifest(t)
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range []string{digestOf(p.config), digestOf(raw), digestOf(p.config)} {
		all, err := r.adopt(p, raw, id)
		if err != nil {
			t.Fatal(err)
		}
		for n, mediaType := range []string{point.MediaTypeLayerPlain, point.MediaTypeLayerGzip} {
			a := all[n]
			if a.MediaType != mediaType || a.Digest != m.Layers[n].Digest.String() || a.Size != m.Layers[n].Size ||
				a.Name != p.diffIDs[n] || a.UncompressedSize != int64(len(p.layers[n])) || a.Reused != (i > 0) {
				t.Errorf("%d: layer %d is %+v", i, n, a)
			}
		}
	}
}

// What is not the image, or not all of it, is not taken.
func TestAdoptNothingElse(t *testing.T) {
	type change func(r *repository, p picture, m *v1.Manifest)
	for name, c := range map[string]change{
		"no configuration":      func(_ *repository, _ picture, m *v1.Manifest) { m.Config = v1.Descriptor{} },
		"another configuration": func(r *repository, _ picture, m *v1.Manifest) { m.Config = r.has("", []byte(`{"rootfs":{}}`)) },
		"a configuration that did not come": func(r *repository, _ picture, m *v1.Manifest) {
			delete(r.blobs, m.Config.Digest.String())
		},
		"a configuration that is damaged": func(r *repository, _ picture, m *v1.Manifest) {
			r.blobs[m.Config.Digest.String()] = bytes.Repeat([]byte{'x'}, int(m.Config.Size))
		},
		"a configuration that is large": func(_ *repository, _ picture, m *v1.Manifest) { m.Config.Size = 1 << 40 },
		"a layer less":                  func(_ *repository, _ picture, m *v1.Manifest) { m.Layers = m.Layers[:1] },
		"a layer more":                  func(_ *repository, _ picture, m *v1.Manifest) { m.Layers = append(m.Layers, m.Layers[0]) },
		"layers in another order":       func(_ *repository, _ picture, m *v1.Manifest) { slices.Reverse(m.Layers) },
		"a layer that did not come": func(r *repository, _ picture, m *v1.Manifest) {
			delete(r.blobs, m.Layers[1].Digest.String())
		},
		"a layer of another size":    func(_ *repository, _ picture, m *v1.Manifest) { m.Layers[1].Size++ },
		"a layer of no size":         func(_ *repository, _ picture, m *v1.Manifest) { m.Layers[1].Size = 0 },
		"a layer that is no digest":  func(_ *repository, _ picture, m *v1.Manifest) { m.Layers[1].Digest = "sha256:../../x" },
		"a layer in an unknown form": func(_ *repository, _ picture, m *v1.Manifest) { m.Layers[1].MediaType = point.MediaTypeLayer },
		"a layer that is cut short":  func(r *repository, _ picture, m *v1.Manifest) { m.Layers[1] = r.has(m.Layers[1].MediaType, []byte{1}) },
		"another layer as it is": func(r *repository, _ picture, m *v1.Manifest) {
			m.Layers[0] = r.has(m.Layers[0].MediaType, []byte("x"))
		},
		"a foreign layer":             func(_ *repository, _ picture, m *v1.Manifest) { m.Layers[0].MediaType += ".foreign" },
		"an index in place of it all": func(_ *repository, _ picture, m *v1.Manifest) { *m = v1.Manifest{MediaType: v1.MediaTypeImageIndex} },
	} {
		t.Run(name, func(t *testing.T) {
			r, p, m := pushedManifest(t)
			c(r, p, &m)
			raw, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.adopt(p, raw, digestOf(p.config)); !errors.Is(err, image.ErrNotTaken) {
				t.Errorf("it reports %v", err)
			}
		})
	}
}

// No manifest makes it take what is not the image.
func FuzzAdopt(f *testing.F) {
	_, _, m := pushedManifest(f)
	raw, err := json.Marshal(m)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{string(raw), "", "{}", "null", `{"config":{"size":-1},"layers":[{"size":9223372036854775807}]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, p, _ := pushedManifest(t)
		if _, err := r.adopt(p, raw, digestOf(p.config)); err != nil && !errors.Is(err, image.ErrNotTaken) {
			t.Errorf("it reports %v", err)
		}
	})
}
