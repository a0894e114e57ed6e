package pieces

import (
	"context"
	"fmt"
	"io"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/codec"
)

// PlainDigests returns the digests of the plain bytes of the packs that a volume lies in, by those
// of the packs as they are stored.
func (s Source) PlainDigests(ctx context.Context, a *events.Artifact) (map[string]string, error) {
	d, err := s.walk(ctx, a)
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, p := range d.packs {
		all[p.digest] = p.plain
	}
	return all, nil
}

// Repack writes the recipe of a volume, compressed, whose packs are other blobs elsewhere:
// instead returns which, by the digests of those here.
func (s Source) Repack(
	ctx context.Context, a *events.Artifact, to codec.Destination, instead map[string]events.Artifact,
) (codec.Stored, error) {
	recipe, err := s.recipe(ctx, a)
	if err != nil {
		return codec.Stored{}, err
	}
	defer recipe.Close()
	out, err := codec.NewWriter(to, codec.Compression{})
	if err != nil {
		return codec.Stored{}, err
	}
	defer out.Abort()
	if err := repack(out, recipe, instead); err != nil {
		return codec.Stored{}, fmt.Errorf("%s: %w", a.Key, err)
	}
	return out.Finish()
}

func repack(out io.Writer, recipe io.Reader, instead map[string]events.Artifact) error {
	d, err := newDecoder(recipe)
	if err != nil {
		return err
	}
	b := header(d.cut)
	for {
		if _, err := out.Write(b); err != nil {
			return err
		}
		r, err := d.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		b = appendRecord(b[:0], r)
	}
	for i, p := range d.packs {
		as, ok := instead[p.digest]
		if !ok {
			return wrong("it names the pack %s, which the point does not have", p.digest)
		}
		d.packs[i].digest, d.packs[i].size = as.Digest, as.Size
	}
	end, err := appendEnd(nil, d.size, d.digest[:], d.packs)
	if err == nil {
		_, err = out.Write(end)
	}
	return err
}
