package pieces

import (
	"context"
	"io"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/seal"
)

// maxOpened is how many encrypted packs stay opened. What is read next is mostly in one of the
// last, and each takes some requests and a hundred kilobytes.
const maxOpened = 16

// packs are the packs of a volume that is read. One goroutine uses them.
type packs struct {
	source Source
	all    []events.Artifact
	parts  *seal.Parts // opens them; nil if they are in clear
	opened map[uint32]*seal.Part
}

// openPacks returns the packs of a recipe.
func (s Source) openPacks(ctx context.Context, a *events.Artifact, d *decoder) (*packs, error) {
	all, err := s.packsOf(a, d)
	if err != nil || a.Encryption == "" {
		return &packs{source: s, all: all}, err
	}
	parts, err := s.Seal.Parts(ctx)
	return &packs{source: s, all: all, parts: parts, opened: map[uint32]*seal.Part{}}, err
}

// open returns so many bytes of a pack, from offset on. They are closed before others are asked for.
func (p *packs) open(ctx context.Context, n uint32, offset, length int64) (io.ReadCloser, error) {
	pack := p.all[n]
	if p.parts == nil {
		return p.source.Open(ctx, pack.Key, offset, length)
	}
	one := p.opened[n]
	if one == nil {
		var err error
		one, err = p.parts.Of(pack.Size, func(offset, length int64) (io.ReadCloser, error) {
			return p.source.Open(ctx, pack.Key, offset, length)
		})
		if err != nil {
			return nil, err
		}
		if len(p.opened) == maxOpened {
			clear(p.opened)
		}
		p.opened[n] = one
	}
	return one.Range(offset, length), nil
}
