package image

import (
	"context"
	"io"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/point"
)

// Layers is an image whose layers are apart, so that it can be read without some.
type Layers struct {
	source Source
	parts  archive.Parts
}

// Layers returns the layers of the image, which gets a reference as by [Source.Archive].
// ok is false for an image in the archive format.
func (s Source) Layers(ctx context.Context, reference string) (l *Layers, ok bool, err error) {
	if s.Manifest.Artifact(point.MediaTypeImageConfig) == nil {
		return nil, false, nil
	}
	parts, err := s.parts(ctx, reference)
	return &Layers{s, parts}, err == nil, err
}

// DiffIDs returns the digests of the plain layers, the lowest first.
func (l *Layers) DiffIDs() []string {
	ids := make([]string, len(l.parts.Layers))
	for i, p := range l.parts.Layers {
		ids[i] = p.DiffID
	}
	return ids
}

// Blobs returns as which blobs an Engine may have a layer: as it is, and as Engines push it.
// What the sink does not know of that is left out.
func (l *Layers) Blobs(ctx context.Context, layer int) []v1.Descriptor {
	p := l.parts.Layers[layer]
	blobs := []v1.Descriptor{archive.PlainBlob(p.DiffID, p.Size)}
	f, err := l.source.Open(ctx, entryKey(p.DiffID))
	if err != nil {
		return blobs
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxEntry))
	if e, ok := decodeEntry(raw, p.DiffID); err == nil && ok {
		blobs = append(blobs, e.Pushed...)
	}
	return blobs
}

// Above returns the archive without the lowest n layers, for a classic store that has them.
// It is read as that of [Source.Archive].
func (l *Layers) Above(n int) io.ReadCloser {
	return archive.Join(l.without(func(layer int) (v1.Descriptor, bool) { return v1.Descriptor{}, layer < n }))
}

// Beside returns the archive without the layers of which a containerd store has a blob, by
// the places of the layers. It is read as that of [Source.Archive].
func (l *Layers) Beside(kept map[int]v1.Descriptor) io.ReadCloser {
	return archive.Layout(l.without(func(layer int) (v1.Descriptor, bool) {
		d, has := kept[layer]
		return d, has
	}))
}

func (l *Layers) without(left func(layer int) (as v1.Descriptor, out bool)) archive.Parts {
	parts := l.parts
	parts.Layers = make([]archive.Part, len(l.parts.Layers))
	for i, p := range l.parts.Layers {
		if as, out := left(i); out {
			p.Open, p.Kept = nil, as
		}
		parts.Layers[i] = p
	}
	return parts
}
