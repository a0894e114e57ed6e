package copies

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/blob"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sink"
)

// artifact copies one artifact, and returns it as it lies in the other sink. Its stored
// bytes are read once, and proven on the way. What is encrypted never lies in clear
// there:
//
//   - If that sink encrypts, what is in clear is encrypted for its recipients, and what
//     is encrypted is encrypted anew for them, if an identity of the sink that is copied
//     from opens it.
//   - Else what is stored is copied as it is.
func (a *attempt) artifact(ctx context.Context, of events.Artifact) (events.Artifact, error) {
	from, to := seal.Of(a.From), seal.Of(a.To)
	switch {
	case point.IsShared(&of) && blob.IsFound(&of):
		return a.layer(ctx, of)
	case point.IsShared(&of) && !to.Encrypts():
		return a.blob(ctx, of)
	case !to.Encrypts(), of.Encryption != "" && to.SameRecipients(from):
		return a.asItIs(ctx, of)
	case of.MediaType == point.MediaTypePieces:
		return a.recipe(ctx, of)
	case of.Encryption == "":
		return a.encrypted(ctx, of, nil)
	}
	unread := a.unread()
	copied, err := a.encrypted(ctx, of, from.Opener(ctx, of.Encryption))
	if !errors.Is(err, seal.ErrNoIdentity) {
		return copied, err
	}
	a.staysEncrypted(path.Base(of.Key), err)
	unread()
	return a.asItIs(ctx, of)
}

// Compare says from which of two sinks a point is better copied: from one whose bytes can be
// stored in the other as that is configured, without opening anything. It is as cmp.Compare.
func Compare(to, a, b Sink) int { return cmp.Compare(cost(a, to), cost(b, to)) }

func cost(from, to Sink) int {
	if of := seal.Of(from); of.Encrypts() && !seal.Of(to).SameRecipients(of) {
		return 1
	}
	return 0
}

// staysEncrypted warns of something that is not for the recipients of the other sink.
func (a *attempt) staysEncrypted(what string, why error) {
	a.warn(events.WarningOtherRecipients, "%s of point %s stays encrypted for whom it was encrypted in sink %s, "+
		"and is not for the recipients of sink %s: %v", what, a.Point, a.From.Name, a.To.Name, why)
}

// unseal opens what is encrypted of the manifest, where it is to be encrypted anew; by the
// same rules as an artifact.
func (a *attempt) unseal(ctx context.Context, m *point.Manifest) error {
	from, to := seal.Of(a.From), seal.Of(a.To)
	if !to.Encrypts() || to.SameRecipients(from) {
		return nil
	}
	err := m.Unseal(ctx, from)
	if errors.Is(err, seal.ErrNoIdentity) {
		a.staysEncrypted(sink.ManifestName, err)
		return nil
	}
	if err != nil {
		return failure.At(events.StepRead, err, "point %s in sink %s", a.Point, a.From.Name)
	}
	return nil
}

// asItIs copies the stored bytes of an artifact.
func (a *attempt) asItIs(ctx context.Context, of events.Artifact) (events.Artifact, error) {
	f, err := a.open(ctx, of)
	if err != nil {
		return of, err
	}
	defer f.Close()
	return a.write(ctx, of, of.Size, func(w io.Writer) (codec.Stored, error) { return raw(w, f, of) })
}

// encrypted copies what an artifact holds, encrypted for the recipients of the other sink.
// It reports seal.ErrNoIdentity before anything is written.
func (a *attempt) encrypted(ctx context.Context, of events.Artifact, decrypt codec.Decrypt) (events.Artifact, error) {
	f, err := a.open(ctx, of)
	if err != nil {
		return of, err
	}
	defer f.Close()
	plain, err := codec.NewPlainReader(f, point.Stored(&of), decrypt)
	if err != nil {
		return of, err
	}
	to, as := seal.Of(a.To), of
	switch {
	case point.IsShared(&of): // the configuration of an image whose layers are encrypted too
		as.Key, as.Reused = point.ImageConfig+seal.Suffix, false
	case of.Encryption == "":
		as.Key += seal.Suffix
	}
	as.Encryption = seal.Format
	return a.write(ctx, as, to.Most(of.Size), func(w io.Writer) (codec.Stored, error) { return encrypt(w, plain, to) })
}

// encrypt stores what plain has, encrypted.
func encrypt(w io.Writer, plain io.Reader, to *seal.Seal) (codec.Stored, error) {
	out, err := codec.NewPlainWriter(codec.Destination{Writer: w, Encrypt: to.Encrypt})
	if err != nil {
		return codec.Stored{}, err
	}
	if _, err := io.CopyBuffer(out, onlyReader{plain}, make([]byte, buffer)); err != nil {
		out.Abort()
		return codec.Stored{}, err
	}
	return out.Finish()
}

// isOpen reports whether an artifact says in clear of which layers an encrypted image is. Such
// an image has none of these.
func isOpen(of *events.Artifact) bool {
	switch of.MediaType {
	case point.MediaTypeImageManifest, point.MediaTypeImageIndex, point.MediaTypeImageLayout:
		return true
	}
	return false
}

// blob copies what points share as it is, unless it is there.
func (a *attempt) blob(ctx context.Context, of events.Artifact) (events.Artifact, error) {
	isFound := blob.IsFound(&of) && // by its name, in the sink that it is copied to
		(of.Encryption == "" || seal.Of(a.From).Names().Same(seal.Of(a.To).Names()))
	adopt := blob.Prove
	if isFound {
		adopt = blob.Adopt
	}
	there, err := adopt(ctx, a.To, &of)
	if err != nil {
		return of, a.notStored(of, err)
	}
	if of.Reused = there; there {
		a.read(int(of.Size)) // it is done with
		return of, nil
	}
	f, err := a.open(ctx, of)
	if err != nil {
		return of, err
	}
	defer f.Close()
	return of, a.writeBlob(ctx, of, of.Size, func(w io.Writer) (codec.Stored, error) { return raw(w, f, of) },
		func(codec.Stored) error {
			if !isFound {
				return nil
			}
			return blob.Enter(ctx, a.To, &of)
		})
}

// writeBlob stores a blob of at most so many bytes, and has it found. If it fails, nothing of it
// becomes durable, or nothing finds it.
func (a *attempt) writeBlob(
	ctx context.Context, as events.Artifact, most int64,
	write func(w io.Writer) (codec.Stored, error), enter func(codec.Stored) error,
) error {
	w, err := a.staging.CreateBlob(ctx, most)
	if err != nil {
		return a.notStored(as, err)
	}
	defer func() { _ = w.Abort() }() // what it leaves is the attempt's to discard
	stored, err := write(writer{w, a, as})
	if err != nil {
		return err
	}
	if err = w.Commit(stored.Digest); err == nil {
		err = enter(stored)
	}
	if err != nil {
		return a.notStored(as, err)
	}
	return nil
}

// raw copies the stored bytes of an artifact, which the end of the reader proves.
func raw(w io.Writer, f io.Reader, of events.Artifact) (codec.Stored, error) {
	_, err := io.CopyBuffer(w, codec.NewRawReader(f, point.Stored(&of)), make([]byte, buffer))
	return point.Stored(&of), err
}

// buffer is how much of an artifact is in memory, in bytes, beside what sinks hold of it.
const buffer = 256 << 10

// onlyReader keeps a reader from choosing how it is read.
type onlyReader struct{ io.Reader }

// write stores an artifact: as is what is known of it, by the key that it has in the sink
// that is copied from. If it fails, nothing of the artifact becomes durable.
func (a *attempt) write(
	ctx context.Context, as events.Artifact, most int64, write func(w io.Writer) (codec.Stored, error),
) (events.Artifact, error) {
	w, key, err := a.staging.Create(ctx, point.ArtifactName(as), most)
	if err != nil {
		return as, a.notStored(as, err)
	}
	defer func() { _ = w.Abort() }() // what it leaves is the attempt's to discard
	written, err := write(writer{w, a, as})
	if err != nil {
		return as, err
	}
	if err := w.Commit(); err != nil {
		return as, a.notStored(as, err)
	}
	as.Key, as.Size, as.Digest = key, written.Size, written.Digest
	return as, nil
}

func (a *attempt) notStored(as events.Artifact, err error) error {
	return failure.At(events.StepSave, failure.FromSink(err), "store %s of point %s in sink %s", path.Base(as.Key), a.Point, a.To.Name)
}

// writer marks errors as those of the sink that is copied to.
type writer struct {
	io.Writer
	attempt *attempt
	as      events.Artifact
}

func (w writer) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	w.attempt.wrote(n)
	if err != nil {
		err = w.attempt.notStored(w.as, err)
	}
	return n, err
}

// source reads an artifact, and marks errors as those of the sink that is copied from.
type source struct {
	io.ReadCloser
	attempt *attempt
}

// open opens an artifact of the point.
func (a *attempt) open(ctx context.Context, of events.Artifact) (*source, error) {
	f, err := a.From.Open(ctx, of.Key)
	if errors.Is(err, sink.ErrNotFound) {
		return nil, a.missing(ctx)
	}
	if err != nil {
		return nil, failure.FromSink(err)
	}
	return &source{f, a}, nil
}

// Read implements [io.Reader].
func (s *source) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	s.attempt.read(n)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("sink %s: %w", s.attempt.From.Name, failure.FromSink(err))
	}
	return n, err
}
