package enginetest

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast.io/holdfast/internal/engine"
)

// blob is a layer as a manifest of an image has it.
type blob struct {
	digest string
	layer  []byte // its plain bytes; nil if the store lacks the blob
}

// leaves is what of an image need not be sent.
func (f *Fake) leaves() engine.Leaves {
	if f.streams {
		return engine.LeavesBlobs
	}
	return engine.LeavesLowest
}

// Content implements [engine.Loader].
func (f *Fake) Content(ctx context.Context, name string) (map[string]bool, error) {
	if _, err := f.begin(ctx, Content, name); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.streams {
		return nil, fmt.Errorf("%w: it keeps no blobs", engine.ErrUnsupported)
	}
	img := f.findImage(name)
	if img == nil {
		return nil, noImage(name)
	}
	content := map[string]bool{}
	for manifest, blobs := range img.manifests {
		content[manifest] = !slices.ContainsFunc(blobs, func(b blob) bool { return b.layer == nil })
	}
	return content, nil
}

// LoseBlobs has a store that keeps blobs lose those of an image, which stays unpacked. It
// panics if there is no such image.
func (f *Fake) LoseBlobs(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, blobs := range f.findImage(name).manifests {
		for i := range blobs {
			blobs[i].layer = nil
		}
	}
}

// The methods below are called with the lock held.

// manifest has the store keep a blob of each layer.
func (img *image) manifest(blobOf func(layer []byte) []byte) {
	var blobs []blob
	for _, layer := range img.layers {
		blobs = append(blobs, blob{digest(blobOf(layer)), layer})
	}
	img.manifests = map[string][]blob{img.id: blobs}
}

// layout is the archive of an image of which a containerd store has all blobs, or none: it
// then leaves them out, and does not say so.
func (img *image) layout() []byte {
	name := func(raw []byte) string { return layoutBlob(digest(raw)) }
	describe := func(mediaType string, raw []byte) descriptor {
		return descriptor{MediaType: mediaType, Digest: digest(raw), Size: int64(len(raw))}
	}
	files := map[string][]byte{"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`), name(img.config): img.config}
	manifest := map[string]any{"schemaVersion": 2, "mediaType": v1.MediaTypeImageManifest,
		"config": describe(v1.MediaTypeImageConfig, img.config)}
	var names []string
	layers := []descriptor{}
	for _, b := range img.manifests[img.id] {
		stored, mediaType := b.layer, v1.MediaTypeImageLayer
		if digest(stored) != b.digest {
			stored, mediaType = packed(b.layer), v1.MediaTypeImageLayerGzip
		}
		layers = append(layers, descriptor{MediaType: mediaType, Digest: b.digest, Size: int64(len(stored))})
		names = append(names, layoutBlob(b.digest))
		if b.layer != nil {
			files[layoutBlob(b.digest)] = stored
		}
	}
	manifest["layers"] = layers
	raw := mustJSON(manifest)
	files[name(raw)] = raw
	files["index.json"] = mustJSON(map[string]any{"schemaVersion": 2, "mediaType": v1.MediaTypeImageIndex,
		"manifests": []descriptor{describe(v1.MediaTypeImageManifest, raw)}})
	files["manifest.json"] = mustJSON([]map[string]any{{"Config": name(img.config), "RepoTags": nil, "Layers": names}})
	return tarOf(files)
}

func layoutBlob(digest string) string { return "blobs/sha256/" + strings.TrimPrefix(digest, "sha256:") }

// shared returns the layer on top of others, if an image has just these lowest layers.
func (f *Fake) shared(diffIDs []string) []byte {
	for _, img := range f.images {
		if len(img.layers) < len(diffIDs) {
			continue
		}
		same := true
		for i, d := range diffIDs {
			same = same && digest(img.layers[i]) == d
		}
		if same {
			return img.layers[len(diffIDs)-1]
		}
	}
	return nil
}

// kept returns the layer that the store has as this blob.
func (f *Fake) kept(digest string) []byte {
	for _, img := range f.images {
		for _, blobs := range img.manifests {
			for _, b := range blobs {
				if b.digest == digest && b.layer != nil {
					return b.layer
				}
			}
		}
	}
	return nil
}

// layoutDocument is a manifest or an index.
type layoutDocument struct {
	Config    descriptor
	Layers    []descriptor
	Manifests []struct {
		descriptor
		Annotations map[string]string
	}
}

// loadLayout loads an image layout. What it lacks is taken as a containerd store does:
// layers that are unpacked need no blobs, and without those the image stays, and cannot be
// used.
func (f *Fake) loadLayout(files map[string][]byte) (id string, err error) {
	read := func(name string) (d layoutDocument, err error) {
		if err = json.Unmarshal(files[name], &d); err != nil {
			err = fmt.Errorf("the archive has no %s: %w", name, err)
		}
		return d, err
	}
	index, err := read("index.json")
	if err != nil || len(index.Manifests) != 1 {
		return "", errors.Join(err, errors.New("the archive holds no image"))
	}
	named := index.Manifests[0]
	top, err := read(layoutBlob(named.Digest))
	if err != nil {
		return "", err
	}
	manifests := map[string]layoutDocument{named.Digest: top}
	img := &image{id: named.Digest, manifests: map[string][]blob{}}
	if len(top.Manifests) > 0 {
		delete(manifests, named.Digest)
		for _, m := range top.Manifests {
			if manifests[m.Digest], err = read(layoutBlob(m.Digest)); err != nil {
				return "", err
			}
		}
	} else {
		img.config = files[layoutBlob(top.Config.Digest)]
		img.id = digest(img.config)
	}
	for name, m := range manifests {
		if name == named.Digest {
			name = img.id
		}
		if img.manifests[name], err = f.blobs(files, m.Layers); err != nil {
			return "", err
		}
	}
	unusable := img.config != nil && !f.unpack(img, img.manifests[img.id])
	if there := f.images[img.id]; there != nil {
		img.references = there.references
	}
	f.images[img.id] = img
	if name := named.Annotations["io.containerd.image.name"]; name != "" {
		f.tag(img, strings.TrimPrefix(strings.TrimPrefix(name, "docker.io/"), "library/"))
	}
	if unusable {
		return "", fmt.Errorf("the image cannot be used: its layers are not there")
	}
	return img.id, nil
}

// blobs are those that come with an archive, or are there; or neither.
func (f *Fake) blobs(files map[string][]byte, named []descriptor) (all []blob, err error) {
	for _, d := range named {
		layer := f.kept(d.Digest)
		if stored, sent := files[layoutBlob(d.Digest)]; sent {
			if layer, err = plain(stored); err != nil {
				return nil, err
			}
		}
		all = append(all, blob{d.Digest, layer})
	}
	return all, nil
}

// plain is a layer unpacked.
func plain(stored []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(stored))
	if err != nil {
		return stored, nil //nolint:nilerr // it is not packed
	}
	return io.ReadAll(z)
}

// unpack makes the layers of an image of its blobs, but for those that are unpacked.
func (f *Fake) unpack(img *image, blobs []blob) bool {
	var c config
	if err := json.Unmarshal(img.config, &c); err != nil || len(c.RootFS.DiffIDs) != len(blobs) {
		return false
	}
	for i, b := range blobs {
		layer := f.shared(c.RootFS.DiffIDs[:i+1])
		if layer == nil {
			layer = b.layer
		}
		if layer == nil || digest(layer) != c.RootFS.DiffIDs[i] {
			return false
		}
		img.layers = append(img.layers, layer)
	}
	return true
}
