// Package image is how the image of a point lies in a sink, in two formats, and how it is
// read back, whichever it is.
//
// In the archive format it is one object of the point, image.tar.zst: what docker save
// writes, compressed. In the layered format each layer is one object, for all points that
// have it:
//
//	layers/<diff id>.json             in which blob the layer is, see blob.Entry
//	blobs/sha256/<hex>                a layer, compressed by zstd; a configuration; a manifest
//	points/…/<point id>/oci-layout    {"imageLayoutVersion":"1.0.0"}
//	points/…/<point id>/index.json    names the manifest in blobs
//
// So the folder of a point, with the blobs, is an image layout as OCI has it, which
// standard tools read without Holdfast. Where a sink has recipients, the layers and the
// configuration are encrypted, and the rest is left out, as it would say what they are of.
package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/seal"
)

// Is reports whether an artifact is of the image of its point.
func Is(a *events.Artifact) bool {
	switch a.MediaType {
	case point.MediaTypeImageArchive, point.MediaTypeImageConfig, point.MediaTypeImageManifest, point.MediaTypeImageIndex,
		point.MediaTypeImageLayout:
		return true
	}
	return point.IsLayer(a)
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
	if !m.IsLayered() || len(layers) == 0 || slices.ContainsFunc(layers, func(l events.Artifact) bool { return !l.Reused }) {
		return false, nil
	}
	before, err := point.Previous(ctx, in, dir)
	if err != nil || before == nil || !before.IsLayered() {
		return false, err
	}
	return slices.EqualFunc(layers, layersOf(before), func(a, b events.Artifact) bool { return a.Name == b.Name }), nil
}

// layersOf returns the layers of the image of a point, each once, in their order.
func layersOf(m *point.Manifest) (layers []events.Artifact) {
	for _, a := range m.Artifacts {
		if point.IsLayer(&a) {
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
	parts = archive.Parts{ConfigDigest: digest.FromBytes(raw).String(), Config: raw, Reference: reference}
	diffIDs, err := DiffIDs(raw)
	if err != nil {
		return parts, err
	}
	layers, err := Assign(s.Manifest, diffIDs)
	if err != nil {
		return parts, err
	}
	for _, d := range diffIDs {
		a := layers[d]
		parts.Layers = append(parts.Layers, s.part(ctx, a, d))
	}
	return parts, nil
}

// part returns the layer with this diff id. One that an Engine has compressed is left as it is:
// how large it is, is known of that alone.
func (s Source) part(ctx context.Context, a *events.Artifact, diffID string) archive.Part {
	if a.MediaType != point.MediaTypeLayerGzip {
		return archive.Part{DiffID: diffID, Size: a.UncompressedSize,
			Open: func() (io.ReadCloser, error) { return s.layer(ctx, a, diffID) }}
	}
	return archive.Part{DiffID: diffID, Size: a.UncompressedSize, Packed: descriptor(*a), Open: func() (io.ReadCloser, error) {
		f, err := s.Open(ctx, a.Key)
		if err != nil {
			return nil, err
		}
		return codec.Over(io.NopCloser(codec.NewRawReader(f, point.Stored(a))), f), nil
	}}
}

// Assigned returns the layers of the image, by their diff ids.
func (s Source) Assigned(ctx context.Context) (map[string]*events.Artifact, error) {
	parts, err := s.parts(ctx, "")
	if err != nil {
		return nil, err
	}
	return Assign(s.Manifest, (&Layers{s, parts}).DiffIDs())
}

// Assign returns the layers of a point's image, whose configuration names them so, by these
// diff ids. In clear each has its diff id as its name. Encrypted ones come in the
// order of the configuration, each once, and which is which is proven when they are read.
func Assign(m *point.Manifest, diffIDs []string) (map[string]*events.Artifact, error) {
	all := layersOf(m)
	layers := map[string]*events.Artifact{}
	for i := range all {
		if all[i].Encryption == "" {
			layers[all[i].Name] = &all[i]
		}
	}
	next := 0
	for _, d := range diffIDs {
		if layers[d] != nil {
			continue
		}
		if next >= len(all) || all[next].Encryption == "" {
			return nil, fmt.Errorf("%w: point %s has no layer %s, which its image's configuration names", codec.ErrDamaged, m.ID, d)
		}
		layers[d] = &all[next]
		next++
	}
	return layers, nil
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

// layer returns the plain bytes of the layer with this diff id.
func (s Source) layer(ctx context.Context, a *events.Artifact, diffID string) (io.ReadCloser, error) {
	plain, err := s.plain(ctx, a)
	if err != nil || a.Encryption == "" { // what is in clear has the diff id in the manifest
		return plain, err
	}
	return &proven{plain, sha256.New(), diffID}, nil
}

// proven is a layer whose end comes only if its bytes have this digest.
type proven struct {
	io.ReadCloser
	sum    hash.Hash
	diffID string
}

// Read implements [io.Reader].
func (p *proven) Read(b []byte) (int, error) {
	n, err := p.ReadCloser.Read(b)
	p.sum.Write(b[:n])
	if err == io.EOF {
		if got := codec.Digest(p.sum); got != p.diffID {
			err = fmt.Errorf("%w: it is the layer %s, and not %s", codec.ErrDamaged, got, p.diffID)
		}
	}
	return n, err
}

// plain returns the plain bytes of what is stored compressed.
func (s Source) plain(ctx context.Context, a *events.Artifact) (io.ReadCloser, error) {
	f, err := s.Open(ctx, a.Key)
	if err != nil {
		return nil, err
	}
	return point.Plain(f, a, s.Seal.Opener(ctx, a.Encryption))
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
