package pieces

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/blob"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/seal"
)

// Known is what a sink has of a volume, as the point before it says: an index of its pieces,
// by the first half of their digests. It is held in memory, so that it is bounded.
type Known struct {
	sizes  sizes // zero if there is nothing
	pieces int   // that the recipe names
	at     map[key]uint32
	places []place
	packs  []*pack
}

// key is the first half of a piece's digest.
type key [16]byte

// place is where a piece lies.
type place struct{ pack, offset, length uint32 }

// pack is a pack, as what a writer knows of it.
type pack struct {
	artifact      events.Artifact
	plain         string // the digest of its plain bytes
	looked, there bool   // in the sink
}

// maxKnown is how many pieces an index has. A volume with more is cut into larger ones.
const maxKnown = 1 << 19

// KnownBy returns what a sink has of the volume of this name by the point with this manifest, which
// may be nil. It knows nothing if the point has no such volume in pieces, or it cannot be
// trusted; an error is the sink's.
func KnownBy(ctx context.Context, in blob.Sink, m *point.Manifest, name string) (*Known, error) {
	if m == nil {
		return &Known{}, nil
	}
	i := slices.IndexFunc(m.Artifacts, func(a events.Artifact) bool { return a.MediaType == point.MediaTypePieces && a.Name == name })
	own := seal.Of(in)
	if i < 0 || (m.Artifacts[i].Encryption != "") != own.Encrypts() { // what lies in clear is not relied on where it must not
		return &Known{}, nil
	}
	k, err := Source{Manifest: m, Open: In(in), Seal: own}.known(ctx, &m.Artifacts[i])
	if errors.Is(err, codec.ErrDamaged) || errors.Is(err, seal.ErrNoIdentity) {
		return &Known{}, nil
	}
	return k, err
}

// known reads the recipe of a volume, by the key of the sink's names if it is encrypted.
func (s Source) known(ctx context.Context, a *events.Artifact) (*Known, error) {
	var decrypt codec.Decrypt
	if a.Encryption != "" {
		decrypt = s.Seal.Names().Decrypt
	}
	recipe, err := s.opened(ctx, a, decrypt)
	if err != nil {
		return nil, err
	}
	k := &Known{at: map[key]uint32{}}
	var used []int64 // plain bytes of each pack
	d, err := walk(a.Key, recipe, func(r record) error {
		k.pieces++
		if int(r.pack) == len(used) { // a decoder hands on no number beyond that
			used = append(used, 0)
		}
		id := key(r.digest[:])
		if _, twice := k.at[id]; twice || len(k.places) == maxKnown {
			return nil
		}
		used[r.pack] += int64(r.plain)
		k.at[id] = uint32(len(k.places))
		k.places = append(k.places, place{r.pack, r.offset, r.length})
		return nil
	})
	if err != nil {
		return nil, err
	}
	packs, err := s.packsOf(a, d)
	if err != nil {
		return nil, err
	}
	k.sizes = d.cut.sizes
	for i := range packs {
		packs[i].Reused = true
		k.packs = append(k.packs, &pack{artifact: packs[i], plain: d.packs[i].plain})
	}
	for i, worth := range reusable(used, packs) {
		if !worth {
			k.packs[i].looked = true // and it is not there, for this volume
		}
	}
	return k, nil
}

// maxSmall is how many packs of less than smallPack bytes are reused.
const (
	maxSmall  = 32
	smallPack = firstPack / 4
)

// reusable says which packs a point goes on to rely on, of which so many plain bytes are used.
// It leaves those of which less than half is used, and the smallest of many that are small:
// what is still needed of them is stored anew, so that a volume does not lie in ever more
// packs, most of which nobody needs any more.
func reusable(used []int64, packs []events.Artifact) []bool {
	worth := make([]bool, len(packs))
	var small []int
	for i, p := range packs {
		worth[i] = 2*used[i] >= p.UncompressedSize
		if worth[i] && p.Size < smallPack {
			small = append(small, i)
		}
	}
	slices.SortStableFunc(small, func(a, b int) int { return cmp.Compare(packs[b].Size, packs[a].Size) })
	for n, i := range small {
		if n >= maxSmall {
			worth[i] = false
		}
	}
	return worth
}

// Normal sizes of pieces, in bytes.
const (
	leastNormal = 16 << 10
	mostNormal  = maxPiece / 4
	// usualNormal is that of a volume whose size is not known.
	usualNormal = 64 << 10
)

// sizesFor returns how a volume of about so many bytes is cut; 0 if that is not known. It is
// cut as it was before, unless that makes too many pieces: then the index of what was is of no
// use any more.
func (k *Known) sizesFor(size int64) sizes {
	normal := uint32(leastNormal)
	if k.sizes.normal != 0 {
		normal = k.sizes.normal
		for n := k.pieces; n > maxKnown && normal < mostNormal; n /= 2 {
			normal *= 2
		}
		return sizesOf(normal)
	}
	if size <= 0 {
		return sizesOf(usualNormal)
	}
	for size/int64(normal) > maxKnown/2 && normal < mostNormal {
		normal *= 2
	}
	return sizesOf(normal)
}

// find returns where a piece lies in the sink, and in which pack. It keeps the pack from being
// removed as garbage.
func (k *Known) find(ctx context.Context, in blob.Sink, n uint32) (place, *pack, error) {
	at := k.places[n]
	p := k.packs[at.pack]
	if !p.looked {
		there, err := blob.Adopt(ctx, in, &p.artifact)
		if err != nil {
			return at, nil, err
		}
		p.looked, p.there = true, there
	}
	if !p.there {
		return at, nil, nil
	}
	return at, p, nil
}
