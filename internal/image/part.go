package image

import (
	"context"
	"io"
	"slices"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/blob"
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

// Parts returns the plain layers, the lowest first, each of which can be opened until the
// context ends that [Source.Layers] was called with.
func (l *Layers) Parts() []archive.Part { return slices.Clone(l.parts.Layers) }

// Blobs returns as which blobs an Engine may have the layers, the likelier first: as Engines
// push them, so far as the sink knows that, and as they are.
func (l *Layers) Blobs(ctx context.Context) (likely, plain []v1.Descriptor) {
	for _, p := range l.parts.Layers {
		blob := archive.PlainBlob(p.DiffID, p.Size)
		plain = append(plain, blob)
		if p.Packed.Digest != "" {
			likely = append(likely, p.Packed)
			continue
		}
		if pushed := l.pushed(ctx, p.DiffID); len(pushed) > 0 {
			blob = pushed[0]
		}
		likely = append(likely, blob)
	}
	return likely, plain
}

// pushed returns as which blobs Engines push a layer, the newest first. An entry that cannot
// be read says none: it is a hint.
func (l *Layers) pushed(ctx context.Context, diffID string) []v1.Descriptor {
	if e, ok, err := blob.ReadEntry(ctx, l.source.Open, l.source.Seal.Names(), diffID); err == nil && ok {
		return e.Pushed
	}
	return nil
}

// Above returns the archive without the lowest n layers, for a classic store that has them.
// It is read as that of [Source.Archive].
func (l *Layers) Above(n int) io.ReadCloser { return archive.Join(l.without(make([]v1.Descriptor, n))) }

// Beside returns the archive without the lowest layers, for a containerd store that has them
// as these blobs. It is read as that of [Source.Archive].
func (l *Layers) Beside(kept []v1.Descriptor) io.ReadCloser { return archive.Layout(l.without(kept)) }

func (l *Layers) without(kept []v1.Descriptor) archive.Parts {
	parts := l.parts
	parts.Layers = slices.Clone(l.parts.Layers)
	for i, blob := range kept {
		parts.Layers[i].Open, parts.Layers[i].Kept = nil, blob
	}
	return parts
}
