package copies_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"filippo.io/age"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/pieces"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/schemas/examples"
)

// storePieces stores the point of a volume that lies in pieces, after the point before, which may
// be nil. Its recipe comes first in the manifest, as it may.
func (b *bench) storePieces(in sink.Sink, id string, before *point.Manifest, plain []byte) (*point.Manifest, string) {
	b.Helper()
	valid, err := examples.Valid("manifest")
	b.must(err)
	m, err := point.Decode(valid["volume.json"])
	b.must(err)
	m.ID, m.Artifacts, m.Signature, m.FormatVersion = id, nil, "", point.PiecesVersion
	dir := point.Dir(m.Host, m.Item.Kind, m.Item.Name, id)
	staging, err := in.Stage(b.Context(), dir, "1")
	b.must(err)
	known, err := pieces.KnownBy(b.Context(), in, before, "data")
	b.must(err)
	a := events.Artifact{Name: "data", MediaType: point.MediaTypePieces}
	name := point.VolumePieces("data")
	if seal.Of(in).Encrypts() {
		name, a.Encryption = name+seal.Suffix, seal.Format
	}
	out, key, err := staging.Create(b.Context(), name, 0)
	b.must(err)
	w, err := pieces.NewWriter(b.Context(), codec.Destination{Writer: out}, pieces.Options{Sink: in, Staging: staging, Known: known})
	b.must(err)
	_, err = w.Write(plain)
	b.must(err)
	stored, err := w.Finish()
	b.must(err)
	b.must(out.Commit())
	a.Key, a.Size, a.Digest, a.UncompressedSize = key, stored.Size, stored.Digest, stored.UncompressedSize
	m.Artifacts = append([]events.Artifact{a}, w.Packs()...)
	b.must(point.Publish(b.Context(), in, staging, m))
	return m, dir
}

// A copy of a volume in pieces is read by whom it is for, wherever it comes from, the next one
// brings only what the sink does not have, and a backup there finds the pieces if it has the key.
func TestCopyPieces(t *testing.T) {
	one, two := identity(t), identity(t)
	first := make([]byte, 3<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(first)
	second := slices.Concat(first, []byte("more"))
	for name, c := range map[string]struct {
		from, to *seal.Seal
		opens    *age.X25519Identity // what opens the copy; nil if it is in clear
		known    bool                // to who stores there
	}{
		"clear to clear":              {nil, nil, nil, true},
		"clear to sealed":             {nil, sealNamed(t, two, nil, "b"), two, false}, // it is cut by another key
		"the same":                    {sealNamed(t, one, nil, "a"), sealNamed(t, one, nil, "a"), one, true},
		"another key":                 {sealNamed(t, one, nil, "a"), sealNamed(t, one, nil, "b"), one, false},
		"sealed to clear":             {sealNamed(t, one, nil, "a"), nil, one, false},
		"other recipients":            {sealNamed(t, one, one, "a"), sealNamed(t, two, nil, "a"), two, false},
		"other recipients, not known": {sealNamed(t, one, nil, "a"), sealNamed(t, two, nil, "a"), one, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.seals["a"], b.seals["b"] = c.from, c.to
			from, to := in(b.from, c.from), in(b.to, c.to)
			var reader *seal.Seal
			if c.opens != nil {
				reader = sealFor(t, nil, c.opens)
			}
			var before *point.Manifest
			for i, plain := range [][]byte{first, second} {
				id := []string{id, "20260302T141503Z-441e7819"}[i]
				m, dir := b.storePieces(from, id, before, plain)
				before = m
				task := b.task()
				task.Point, task.Dir, task.PlannedItem.Item = id, dir, m.Item
				r, err := b.runner.Run(b.Context(), task)
				b.must(err)
				if i == 1 && r.Manifest.Added() > int64(len(first)/4) {
					t.Errorf("the second copy adds %d bytes", r.Manifest.Added())
				}
				b.mustHold(dir, reader, plain)
			}
			copied, err := point.Previous(b.Context(), to, point.Dir(before.Host, before.Item.Kind, before.Item.Name, "20260303T141503Z-441e7819"))
			b.must(err)
			m, dir := b.storePieces(to, "20260303T141503Z-441e7819", copied, second)
			if known := m.Added() < int64(len(first)/4); known != c.known {
				t.Errorf("what was copied is known there: %t; %d bytes were added", known, m.Added())
			}
			if c.to == nil {
				reader = nil
			} else if c.to.SameRecipients(sealFor(t, two, nil)) {
				reader = sealFor(t, nil, two)
			}
			b.mustHold(dir, reader, second)
		})
	}
}

// mustHold reads the volume of a copy: encrypted, if there is a seal to open it.
func (b *bench) mustHold(dir string, s *seal.Seal, plain []byte) {
	b.Helper()
	m, err := point.Read(b.Context(), b.to, dir)
	b.must(err)
	version := point.PiecesVersion
	if s != nil {
		version = point.SealedPiecesVersion
	}
	if m.FormatVersion != version {
		b.Errorf("the copy is of format %d, want %d", m.FormatVersion, version)
	}
	for _, a := range m.Artifacts {
		if (a.Encryption != "") != (s != nil) {
			b.Errorf("an artifact is %+v", a)
		}
	}
	r, err := pieces.Source{Manifest: m, Open: pieces.In(b.to), Seal: s}.Volume(b.Context(), m.Artifact(point.MediaTypePieces))
	b.must(err)
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, plain) {
		b.Errorf("%d bytes came back of %d: %v", len(got), len(plain), err)
	}
}
