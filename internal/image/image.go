// Package image is how the image of a point lies in a sink, in two formats, and how it is
// read back, whichever it is.
//
// In the archive format it is one object of the point, image.tar.zst: what docker save
// writes, compressed. In the layered format each layer is one object, for all points that
// have it:
//
//	layers/<diff id>.json             in which blob the layer is, see Entry
//	blobs/sha256/<hex>                a layer, compressed by zstd; a configuration; a manifest
//	points/…/<point id>/oci-layout    {"imageLayoutVersion":"1.0.0"}
//	points/…/<point id>/index.json    names the manifest in blobs
//
// So the folder of a point, with the blobs, is an image layout as OCI has it, which
// standard tools read without Holdfast.
package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/go-json-experiment/json"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/seal"
)

// Is reports whether an artifact is of the image of its point.
func Is(a *events.Artifact) bool {
	switch a.MediaType {
	case point.MediaTypeImageArchive, point.MediaTypeLayer, point.MediaTypeImageConfig, point.MediaTypeImageManifest,
		point.MediaTypeImageIndex, point.MediaTypeImageLayout:
		return true
	}
	return false
}

// Size is how large an image is, in bytes.
type Size struct {
	Stored int64 // with what other points share
	Plain  int64
}

// SizeOf returns the size of a point's image, and whether the point has one.
func SizeOf(m *point.Manifest) (size Size, has bool) {
	for i := range m.Artifacts {
		a := &m.Artifacts[i]
		if !Is(a) {
			continue
		}
		has = true
		size.Stored += a.Size
		size.Plain += a.UncompressedSize
	}
	return size, has
}

// Unchanged reports whether the image of the point in the folder dir has the layers of the
// point before it in the sink, and none of them was stored anew. What an image is configured
// as may differ. It is false in the archive format.
func Unchanged(ctx context.Context, in point.Catalogue, dir string, m *point.Manifest) (bool, error) {
	layers := layersOf(m)
	if m.FormatVersion != point.LayeredVersion || slices.ContainsFunc(layers, func(l events.Artifact) bool { return !l.Reused }) {
		return false, nil
	}
	before, err := point.Previous(ctx, in, dir)
	if err != nil || before == nil || before.FormatVersion != point.LayeredVersion {
		return false, err
	}
	return slices.EqualFunc(layers, layersOf(before), func(a, b events.Artifact) bool { return a.Name == b.Name }), nil
}

// layersOf returns the layers of the image of a point, each once, in their order.
func layersOf(m *point.Manifest) (layers []events.Artifact) {
	for _, a := range m.Artifacts {
		if a.MediaType == point.MediaTypeLayer {
			layers = append(layers, a)
		}
	}
	return layers
}

// ErrNone is reported for a point that has no image.
var ErrNone = errors.New("it has no image")

// Source is where the image of a point is read from.
type Source struct {
	Manifest *point.Manifest
	// Open opens an object of the sink.
	Open func(ctx context.Context, key string) (io.ReadCloser, error)
	// Seal is the sink's; nil if it has none.
	Seal *seal.Seal
}

// Archive returns the image archive, as docker load takes it. An Engine that loads it
// gives the image this reference, repository:tag; an empty one leaves it without a name.
// The end is reported only when all that was stored has been read and is proven; before
// that, nothing of it is to be trusted. Errors that wrap [codec.ErrDamaged] or
// [archive.ErrCorrupt] are the fault of what is stored. It must be closed, and when Close
// has returned, nothing is read any more.
func (s Source) Archive(ctx context.Context, reference string) (io.ReadCloser, error) {
	a := s.Manifest.Artifact(point.MediaTypeImageArchive)
	if a == nil {
		parts, err := s.parts(ctx, reference)
		if err != nil {
			return nil, err
		}
		return archive.Join(parts), nil
	}
	plain, err := s.plain(ctx, a)
	if err != nil || reference == "" {
		return plain, err
	}
	return codec.Over(archive.WithName(plain, reference), plain), nil
}

// parts returns an image whose layers are apart.
func (s Source) parts(ctx context.Context, reference string) (parts archive.Parts, err error) {
	config := s.Manifest.Artifact(point.MediaTypeImageConfig)
	if config == nil {
		return parts, fmt.Errorf("point %s: %w", s.Manifest.ID, ErrNone)
	}
	raw, err := s.document(ctx, config)
	if err != nil {
		return parts, err
	}
	parts = archive.Parts{ConfigDigest: config.Digest, Config: raw, Reference: reference}
	diffIDs, err := DiffIDs(raw)
	if err != nil {
		return parts, err
	}
	layers := map[string]*events.Artifact{}
	for _, a := range layersOf(s.Manifest) {
		layers[a.Name] = &a
	}
	for _, d := range diffIDs {
		a := layers[d]
		if a == nil {
			return parts, fmt.Errorf("%w: point %s has no layer %s, which its image's configuration names", codec.ErrDamaged, s.Manifest.ID, d)
		}
		parts.Layers = append(parts.Layers, archive.Part{DiffID: d, Size: a.UncompressedSize,
			Open: func() (io.ReadCloser, error) { return s.plain(ctx, a) }})
	}
	return parts, nil
}

// DiffIDs returns the digests of the plain layers of the image with this configuration,
// the lowest first.
func DiffIDs(config []byte) ([]string, error) {
	var c struct {
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("%w: the image's configuration: %w", codec.ErrDamaged, err)
	}
	return c.RootFS.DiffIDs, nil
}

// plain returns the plain bytes of what is stored compressed.
func (s Source) plain(ctx context.Context, a *events.Artifact) (io.ReadCloser, error) {
	f, err := s.Open(ctx, a.Key)
	if err != nil {
		return nil, err
	}
	plain, err := codec.NewReader(f, point.Stored(a), s.Seal.Opener(ctx, a.Encryption))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return codec.Over(plain, f), nil
}

// maxDocument bounds what is read of a document that describes an image, in bytes.
const maxDocument = 16 << 20

func (s Source) document(ctx context.Context, a *events.Artifact) ([]byte, error) {
	f, err := s.Open(ctx, a.Key)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	plain, err := codec.NewPlainReader(f, point.Stored(a), s.Seal.Opener(ctx, a.Encryption))
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(plain, maxDocument+1))
	if err == nil && len(raw) > maxDocument {
		err = fmt.Errorf("%w: %s has more than %d bytes", codec.ErrDamaged, a.Key, maxDocument)
	}
	return raw, err
}
