package verify

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/blob"
	"holdfast.io/holdfast/internal/bytesize"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/pieces"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/volume"
)

// check looks at the manifest and at all artifacts. Afterwards a.found has what was
// found; an error means that nothing can be said of the point.
func (a *attempt) check(ctx context.Context) error {
	if err := a.readManifest(ctx); err != nil || a.manifest == nil {
		return err
	}
	a.layers = map[string]string{}
	for i := range a.manifest.Artifacts {
		artifact := &a.manifest.Artifacts[i]
		a.total += artifact.Size
	}
	for i := range a.manifest.Artifacts {
		found, err := a.checkArtifact(ctx, &a.manifest.Artifacts[i])
		if err != nil {
			return failure.At(events.StepRead, err, "read %s", a.manifest.Artifacts[i].Key)
		}
		a.share(ctx, &a.manifest.Artifacts[i], &found)
		a.found = append(a.found, found)
	}
	if a.damaged() {
		return a.stillThere(ctx)
	}
	return nil
}

// share says of a blob that is not as it was which points refer to it, and what mends it. A
// layer is stored anew by the next point that has it.
func (a *attempt) share(ctx context.Context, artifact *events.Artifact, found *events.Finding) {
	if !point.IsShared(artifact) || found.Condition == events.ConditionGood {
		return
	}
	found.Message += "; " + a.mend(ctx, artifact)
	users, err := a.Users.Of(ctx, a.Sink, artifact.Digest, a.watch.Kick)
	if err != nil {
		found.Message += fmt.Sprintf("; which points refer to this blob is not known: %v", err)
		return
	}
	found.Message += fmt.Sprintf("; points that refer to this blob: %s", users)
	for _, p := range users.Points {
		found.Points = append(found.Points, p.ID)
	}
	found.PointsOmitted = users.More
}

// mend has a damaged blob stored anew by a later backup, and says when that will be.
func (a *attempt) mend(ctx context.Context, artifact *events.Artifact) string {
	if !blob.IsFound(artifact) {
		return "a backup of the same image stores it anew"
	}
	how := "compressed in another way"
	if artifact.Encryption != "" {
		how = "encrypted anew"
	}
	instead, err := blob.Forget(ctx, a.Sink, artifact)
	switch {
	case err != nil:
		a.warn(events.WarningUnchecked, "backups go on to rely on the damaged %s, which could not be forgotten: %v", artifact.Name, err)
		return "backups go on to rely on it; verify again"
	case artifact.MediaType == point.MediaTypePack:
		return "the next backup of the volume relies on nothing in it, and stores anew what the volume still has of it; " +
			"points that refer to it stay damaged"
	case instead != "":
		return fmt.Sprintf("the layer was stored anew, %s, as %s: later points rely on that, and this blob stays damaged",
			how, sink.BlobKey(instead))
	}
	if artifact.Encryption != "" {
		return "the next backup that has this layer stores it anew, for later points: encrypted, it is another blob each time"
	}
	return "the next backup that has this layer stores it anew, which mends all points that refer to it, " +
		"if compression.level and what compresses are as they were"
}

// readManifest reads the point's manifest. One that is damaged is a finding.
func (a *attempt) readManifest(ctx context.Context) (err error) {
	if a.manifest, err = point.Read(ctx, a.Sink, a.Dir); err == nil && a.Level != events.VerifyQuick {
		err = a.manifest.Unseal(ctx, seal.Of(a.Sink))
	}
	if a.manifest != nil && a.manifest.Signed.Doubt() != "" {
		a.warn(events.WarningUntrusted, "point %s: %s", a.Item.Point, a.manifest.Signed.Doubt())
	}
	switch {
	case err == nil, errors.Is(err, seal.ErrNoIdentity) && a.Level != events.VerifyDrill: // the bytes are proven without it
		return nil
	case errors.Is(err, seal.ErrNoIdentity):
		return failure.At(events.StepRead, err, "a drill of point %s", a.Item.Point)
	case errors.Is(err, sink.ErrNotFound):
		return a.gone()
	case errors.Is(err, point.ErrNewer):
		return &failure.Error{Step: events.StepRead, Code: events.CodePointNewer, Err: fmt.Errorf("point %s: %w", a.Item.Point, err)}
	case errors.Is(err, point.ErrDamaged):
		a.found = append(a.found, events.Finding{Key: path.Join(a.Dir, sink.ManifestName), Condition: events.ConditionDamaged,
			Message: fmt.Sprintf("%v; without it nothing can be said of what else is in the folder", err)})
		return nil
	}
	return failure.At(events.StepRead, failure.FromSink(err), "read the manifest of point %s", a.Item.Point)
}

// gone is the error of a point whose manifest is not there any more: it was removed
// after the plan was made.
func (a *attempt) gone() *failure.Error {
	e := &failure.Error{Step: events.StepRead, Code: events.CodeGone,
		Err: fmt.Errorf("point %s of %s %s was removed after the plan was made", a.Item.Point, a.Item.Kind, a.Item.Name)}
	if a.Named {
		e.Code = events.CodePointNotFound
	}
	return e
}

// stillThere reports whether the point that seems to be damaged is still there: one
// that is being removed loses its manifest first, and its artifacts then.
func (a *attempt) stillThere(ctx context.Context) error {
	_, err := a.Sink.Stat(ctx, path.Join(a.Dir, sink.ManifestName))
	if errors.Is(err, sink.ErrNotFound) {
		return a.gone()
	}
	if err != nil {
		return failure.At(events.StepRead, failure.FromSink(err), "see whether point %s is still there", a.Item.Point)
	}
	return nil
}

// damaged reports whether something is wrong with the point.
func (a *attempt) damaged() bool {
	for _, f := range a.found {
		if f.Condition == events.ConditionDamaged || f.Condition == events.ConditionMissing {
			return true
		}
	}
	return false
}

// checkArtifact looks at one artifact. An error means that nothing can be said of it.
func (a *attempt) checkArtifact(ctx context.Context, artifact *events.Artifact) (events.Finding, error) {
	found := events.Finding{Key: artifact.Key, MediaType: artifact.MediaType, Name: artifact.Name, Condition: events.ConditionGood}
	damaged := func(format string, args ...any) events.Finding {
		found.Condition, found.Message = events.ConditionDamaged, fmt.Sprintf(format, args...)
		return found
	}
	a.checked.Objects++
	info, err := a.Sink.Stat(ctx, artifact.Key)
	switch {
	case errors.Is(err, sink.ErrNotFound):
		found.Condition, found.Message = events.ConditionMissing, "it is not there"
		return found, nil
	case err != nil:
		return found, sinkError(err)
	}
	wrongSize := info.Size != artifact.Size
	if wrongSize {
		found = damaged("it has %d bytes instead of %d", info.Size, artifact.Size)
	}
	if a.Level == events.VerifyQuick {
		return found, nil
	}
	if !wrongSize {
		err := a.read(ctx, artifact)
		switch {
		case failure.IsFromSink(err):
			return found, err
		case errors.Is(err, sink.ErrNotFound):
			found.Condition, found.Message = events.ConditionMissing, "it was removed meanwhile"
			return found, nil
		case err == nil:
			if _, known := contentOf(artifact); !known {
				a.warn(events.WarningUnchecked, "of %s only the digest was checked: this version of Holdfast does not know its media type %s",
					artifact.Key, artifact.MediaType)
			}
			return found, nil
		}
		found = damaged("%v", err)
	}
	return found, a.locate(ctx, artifact, &found)
}

// read reads an artifact to its end, and proves its bytes and what they hold. An error
// is the artifact's fault, or the sink's. Of one that is encrypted, and cannot be opened
// here, it proves the bytes.
func (a *attempt) read(ctx context.Context, artifact *events.Artifact) error {
	var err error
	if artifact.MediaType == point.MediaTypePieces {
		err = a.readPieces(ctx, artifact)
	} else {
		decrypt := seal.Of(a.Sink).Opener(ctx, artifact.Encryption)
		err = a.readAs(ctx, artifact, func(f io.Reader) (layers int, err error) { return a.content(f, artifact, decrypt) })
	}
	if !errors.Is(err, seal.ErrNoIdentity) {
		return err
	}
	a.warn(events.WarningUnchecked, "of %s only the digest was checked: %v", artifact.Key, err)
	return a.readAs(ctx, artifact, func(f io.Reader) (int, error) {
		_, err := io.Copy(io.Discard, codec.NewRawReader(f, point.Stored(artifact)))
		return 0, err
	})
}

// readPieces assembles a volume that lies in pieces, and proves what it holds. An error is the
// fault of what is stored, or the sink's.
func (a *attempt) readPieces(ctx context.Context, artifact *events.Artifact) error {
	from := pieces.Source{Manifest: a.manifest, Seal: seal.Of(a.Sink),
		Open: func(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
			f, err := pieces.In(a.Sink)(ctx, key, offset, length)
			if err != nil {
				return nil, sinkError(err)
			}
			return &source{ReadCloser: f, observe: func(int) { a.watch.Kick() }}, nil
		}}
	plain, err := from.Volume(ctx, artifact)
	if err != nil {
		return err
	}
	defer plain.Close()
	counted := &counter{Reader: plain}
	_, err = volume.Check(counted)
	if err == nil {
		_, err = io.Copy(io.Discard, counted)
	}
	if err == nil && counted.n != artifact.UncompressedSize {
		err = fmt.Errorf("%w: the volume has %d bytes instead of %d", errContent, counted.n, artifact.UncompressedSize)
	}
	return err
}

// readAs has an artifact read by prove, which returns how many layers of an image it has
// proven. An error is the artifact's fault, or the sink's.
func (a *attempt) readAs(ctx context.Context, artifact *events.Artifact, prove func(f io.Reader) (layers int, err error)) error {
	f, err := a.open(ctx, artifact.Key)
	if err != nil {
		return err
	}
	defer f.Close()
	layers, err := prove(f)
	if f.err != nil {
		return f.err
	}
	a.checked.Layers += layers
	return err
}

// content proves the bytes of an artifact and what they hold, and returns how many layers
// of an image that is. When it returns, f is not read any more.
func (a *attempt) content(f io.Reader, artifact *events.Artifact, decrypt codec.Decrypt) (layers int, err error) {
	c, isKnown := contentOf(artifact)
	var plain io.Reader
	if c.compressed || c.layer {
		r, err := point.NewReader(f, artifact, decrypt)
		if err != nil {
			return 0, err
		}
		defer r.Close()
		plain = r
	} else if plain, err = codec.NewPlainReader(f, point.Stored(artifact), decrypt); err != nil {
		return 0, err
	}
	counted := &counter{Reader: plain}
	layers, err = c.check(counted, &proof{a.manifest, a.layers}, artifact)
	if err == nil { // what is read to its end is proven
		_, err = io.Copy(io.Discard, counted)
	}
	if err == nil && isKnown && artifact.MediaType != point.MediaTypeLayerGzip && counted.n != artifact.UncompressedSize {
		err = fmt.Errorf("%w: it has %d bytes uncompressed instead of %d", errContent, counted.n, artifact.UncompressedSize)
	}
	if err != nil {
		return 0, err
	}
	return layers, nil
}

// locate reads an artifact that is damaged once more, and says where it is, and what
// of it can still be saved.
func (a *attempt) locate(ctx context.Context, artifact *events.Artifact, found *events.Finding) error {
	c, _ := contentOf(artifact)
	if !c.compressed || artifact.Encryption != "" { // what is encrypted is read from its beginning, or not at all
		return nil
	}
	damage, digest, err := a.findDamage(ctx, artifact.Key)
	if errors.Is(err, sink.ErrNotFound) {
		return nil // what was seen of it stands
	}
	switch {
	case err != nil:
		return err
	case damage.Bad > 0:
		found.From, found.To, found.BadBytes = damage.Begin, damage.End, damage.Bad
		found.Message += fmt.Sprintf("; %s of %s cannot be decompressed, the first of them from byte %d up to %d: what is before can be read",
			bytesize.Format(damage.Bad), bytesize.Format(damage.Size), damage.Begin, damage.End)
		return nil
	case digest == artifact.Digest && point.IsShared(artifact): // another one may have lain there before
		return a.again(ctx, artifact, found)
	case digest == artifact.Digest:
		found.Message += storedSo
		return nil
	}
	as := *artifact
	as.Size, as.Digest = damage.Size, digest
	switch err := a.read(ctx, &as); {
	case failure.IsFromSink(err):
		return err
	case err == nil:
		found.Message += "; but what it holds is whole: it can be unpacked and loaded by hand"
	default:
		found.Message += fmt.Sprintf("; all of it can be decompressed, and is not what it should be: %v", err)
	}
	return nil
}

// storedSo is said of an artifact whose bytes are right, and which is not.
const storedSo = "; its bytes are those that were stored: it was stored so"

// again reads a blob once more that was stored anew while it was read.
func (a *attempt) again(ctx context.Context, artifact *events.Artifact, found *events.Finding) error {
	switch err := a.read(ctx, artifact); {
	case failure.IsFromSink(err):
		return err
	case err == nil:
		found.Condition, found.Message = events.ConditionGood, ""
	default:
		found.Message += storedSo
	}
	return nil
}

// findDamage reads an artifact to its end. It returns the digest of what it read.
func (a *attempt) findDamage(ctx context.Context, key string) (damage codec.Damage, digest string, err error) {
	f, err := a.open(ctx, key)
	if err != nil {
		return damage, "", err
	}
	defer f.Close()
	sum := sha256.New()
	damage, err = codec.FindDamage(io.TeeReader(f, sum))
	return damage, codec.Digest(sum), err
}
