// Package pieces is how the content of a volume lies in a sink of the layered format, and how
// it is read back: cut where its bytes say so, each piece once, and many of them in one blob,
// a pack. What has not changed since the point before is read, and not stored. Its README is
// the format, byte by byte.
package pieces

import (
	"context"
	"fmt"
	"io"
	"slices"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sink"
)

// Source is where the volumes of a point are read from.
type Source struct {
	Manifest *point.Manifest
	// Open opens so many bytes of an object of the sink, from offset on; all of it if length
	// is negative.
	Open Open
	// Seal is the sink's; nil if it has none.
	Seal *seal.Seal
}

// Open opens some bytes of an object.
type Open func(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)

// In opens objects of a sink.
func In(from sink.Reader) Open {
	return func(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
		if length < 0 {
			return from.Open(ctx, key)
		}
		return from.OpenRange(ctx, key, offset, length)
	}
}

// Volume returns the plain bytes of a volume, whichever way it is stored. Its end is reported
// only when all that was stored has been read and is proven; before that, nothing of it is to
// be trusted. Errors that wrap [codec.ErrDamaged] are the fault of what is stored.
func (s Source) Volume(ctx context.Context, a *events.Artifact) (io.ReadCloser, error) {
	if a.MediaType != point.MediaTypePieces {
		return s.recipe(ctx, a)
	}
	return s.assemble(ctx, a)
}

// recipe returns the plain bytes of a recipe, or of a volume that is stored whole.
func (s Source) recipe(ctx context.Context, a *events.Artifact) (io.ReadCloser, error) {
	return s.opened(ctx, a, s.Seal.Opener(ctx, a.Encryption))
}

// opened returns the plain bytes of what is stored as one compressed stream, and maybe encrypted.
func (s Source) opened(ctx context.Context, a *events.Artifact, decrypt codec.Decrypt) (io.ReadCloser, error) {
	f, err := s.Open(ctx, a.Key, 0, -1)
	if err != nil {
		return nil, err
	}
	return point.Plain(f, a, decrypt)
}

// walk reads the recipe of a volume to its end.
func (s Source) walk(ctx context.Context, a *events.Artifact) (*decoder, error) {
	recipe, err := s.recipe(ctx, a)
	if err != nil {
		return nil, err
	}
	return walk(a.Key, recipe, func(record) error { return nil })
}

// walk reads a recipe to its end, hands on each of its records, and closes it.
func walk(key string, recipe io.ReadCloser, each func(record) error) (*decoder, error) {
	defer recipe.Close()
	d, err := newDecoder(recipe)
	for err == nil {
		var r record
		if r, err = d.next(); err == nil {
			err = each(r)
		}
	}
	if err != io.EOF {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return d, nil
}

// packsOf returns the packs of a recipe, as the manifest has them.
func (s Source) packsOf(a *events.Artifact, d *decoder) ([]events.Artifact, error) {
	packs := make([]events.Artifact, 0, len(d.packs))
	for _, p := range d.packs {
		i := slices.IndexFunc(s.Manifest.Artifacts, func(of events.Artifact) bool {
			return of.MediaType == point.MediaTypePack && of.Digest == p.digest && of.Size == p.size && point.IsShared(&of) &&
				of.Encryption == a.Encryption
		})
		if i < 0 {
			return nil, fmt.Errorf("%w: %s names the pack %s, which point %s does not have", codec.ErrDamaged, a.Key, p.digest, s.Manifest.ID)
		}
		packs = append(packs, s.Manifest.Artifacts[i])
	}
	return packs, nil
}
