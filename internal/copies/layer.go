package copies

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/blob"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/image"
	"holdfast.io/holdfast/internal/pieces"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/seal"
)

// layer copies a layer or a pack that points share, by the rules of artifact.
func (a *attempt) layer(ctx context.Context, of events.Artifact) (events.Artifact, error) {
	from, to := seal.Of(a.From), seal.Of(a.To)
	switch {
	case !to.Encrypts(), of.Encryption != "" && to.SameRecipients(from):
		return a.blob(ctx, of)
	case to.Names() == nil:
		return of, failure.New(events.StepSave, events.CodeUnsuitable,
			"sink %s has recipients and no layers, so the layers of an image, and pieces of volumes, that points share "+
				"cannot be copied there: set format: layers and nameKeyFile of it", a.To.Name)
	case of.Encryption == "":
		return a.sealed(ctx, of, of.Name, nil)
	case a.unopened:
		return a.blob(ctx, of)
	}
	plain, err := a.plainDigest(ctx, &of)
	if errors.Is(err, seal.ErrNoIdentity) {
		a.unopened = true // nor are the others
		a.staysEncrypted("what is shared with other points", err)
		return a.blob(ctx, of)
	}
	if err != nil {
		return of, err
	}
	return a.sealed(ctx, of, plain, from.Opener(ctx, of.Encryption))
}

// plainDigest returns the digest of the plain bytes of an encrypted layer or pack of the point that
// is copied.
func (a *attempt) plainDigest(ctx context.Context, of *events.Artifact) (string, error) {
	if a.plain == nil {
		plain := map[string]string{}
		if err := a.plainDigests(ctx, plain); err != nil {
			return "", err
		}
		a.plain = plain
	}
	if d := a.plain[of.Digest]; d != "" {
		return d, nil
	}
	return "", fmt.Errorf("%w: nothing in point %s says what it is", codec.ErrDamaged, a.Point)
}

// plainDigests enters those of all layers and packs, by the digests of their blobs, as the
// configuration of the image and the recipes of volumes have them.
func (a *attempt) plainDigests(ctx context.Context, into map[string]string) error {
	defer a.unread()() // what they have is read once more
	if a.manifest.Artifact(point.MediaTypeImageConfig) != nil {
		source := image.Source{Manifest: a.manifest, Seal: seal.Of(a.From), Open: func(ctx context.Context, key string) (io.ReadCloser, error) {
			return a.open(ctx, events.Artifact{Key: key})
		}}
		layers, err := source.Assigned(ctx)
		if err != nil {
			return err
		}
		for d, layer := range layers {
			into[layer.Digest] = d
		}
	}
	for i := range a.manifest.Artifacts {
		recipe := &a.manifest.Artifacts[i]
		if recipe.MediaType != point.MediaTypePieces {
			continue
		}
		packs, err := a.pieces().PlainDigests(ctx, recipe)
		if err != nil {
			return err
		}
		maps.Copy(into, packs)
	}
	return nil
}

// pieces is where the recipes of volumes are read from.
func (a *attempt) pieces() pieces.Source {
	open := func(ctx context.Context, key string, _, _ int64) (io.ReadCloser, error) { // a recipe is read from its beginning to its end
		return a.open(ctx, events.Artifact{Key: key})
	}
	return pieces.Source{Manifest: a.manifest, Seal: seal.Of(a.From), Open: open}
}

// recipe stores the recipe of a volume encrypted for the recipients of the sink that is copied to,
// where its packs are other blobs. They were copied before.
func (a *attempt) recipe(ctx context.Context, of events.Artifact) (events.Artifact, error) {
	if a.unopened {
		return a.asItIs(ctx, of)
	}
	to, as := seal.Of(a.To), of
	if of.Encryption == "" {
		as.Key += seal.Suffix
	}
	as.Encryption = seal.Format
	return a.write(ctx, as, to.Most(2*of.Size+smallRecipe), func(w io.Writer) (codec.Stored, error) {
		return a.pieces().Repack(ctx, &of, codec.Destination{Writer: w, Encrypt: to.EncryptNamed}, a.copied)
	})
}

// smallRecipe is more than a recipe has that hardly compresses where it did before, in bytes.
const smallRecipe = 1 << 20

// sealed stores a layer or a pack, of these plain bytes, encrypted for the recipients of the sink
// that is copied to, unless it is there.
func (a *attempt) sealed(ctx context.Context, of events.Artifact, digest string, decrypt codec.Decrypt) (events.Artifact, error) {
	e, found, err := blob.Find(ctx, a.To, digest)
	if err != nil {
		return of, a.notStored(of, err)
	}
	as := func() events.Artifact {
		as := e.Artifact()
		if of.MediaType == point.MediaTypePack {
			as.MediaType = of.MediaType
		}
		as.Reused = found
		return as
	}
	if found {
		a.read(int(of.Size)) // it is done with
		return as(), nil
	}
	f, err := a.open(ctx, of)
	if err != nil {
		return of, err
	}
	defer f.Close()
	to, plainSize := seal.Of(a.To), of.UncompressedSize
	most, write := of.Size, func(w io.Writer) (codec.Stored, error) { return encryptStored(w, f, of, decrypt, to) }
	if point.IsPushed(&of) {
		most, write = 0, func(w io.Writer) (stored codec.Stored, err error) {
			stored, err = repack(w, f, of, to)
			plainSize = stored.UncompressedSize
			return stored, err
		}
	}
	err = a.writeBlob(ctx, of, to.Most(most), write,
		func(stored codec.Stored) error {
			e = blob.Entry{Name: to.Names().Of(digest), Digest: stored.Digest, Size: stored.Size,
				UncompressedSize: plainSize, Encryption: seal.Format}
			return e.Put(ctx, a.To)
		})
	if err != nil {
		return of, err
	}
	return as(), nil
}

// encryptStored stores an artifact as it is, encrypted.
func encryptStored(w io.Writer, f io.Reader, of events.Artifact, decrypt codec.Decrypt, to *seal.Seal) (codec.Stored, error) {
	plain, err := codec.NewPlainReader(f, point.Stored(&of), decrypt)
	if err != nil {
		return codec.Stored{}, err
	}
	return encrypt(w, plain, to)
}

// repack stores a layer as an Engine has pushed it in the form of those that it has not, encrypted:
// of an encrypted layer one must know how large it is.
func repack(w io.Writer, f io.Reader, of events.Artifact, to *seal.Seal) (codec.Stored, error) {
	plain, err := point.NewReader(f, &of, nil)
	if err != nil {
		return codec.Stored{}, err
	}
	defer plain.Close()
	out, err := codec.NewWriter(codec.Destination{Writer: w, Encrypt: to.Encrypt}, codec.Compression{})
	if err != nil {
		return codec.Stored{}, err
	}
	defer out.Abort()
	if _, err := io.CopyBuffer(out, onlyReader{plain}, make([]byte, buffer)); err != nil {
		return codec.Stored{}, err
	}
	return out.Finish()
}
