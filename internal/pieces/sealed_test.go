package pieces

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"filippo.io/age"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/seal"
)

// What lies in a sink that encrypts is read where it was cut and put together of several packs,
// in any order, by ranges.
func TestSealedRanges(t *testing.T) {
	v := newSealed(t)
	plain := noise(20<<20, 1) // two packs
	v.store(plain)
	for i := range 5 {
		copy(plain[i*(4<<20)+100:], noise(50<<10, byte(i+2)))
	}
	plain = slices.Concat(plain[10<<20:], plain[:10<<20])
	v.store(plain)
	v.holds(plain)
}

// Another key for names finds nothing, relies on nothing, and what was stored by it is read
// as everything else is.
func TestAnotherNameKey(t *testing.T) {
	v := newSealed(t)
	plain := noise(3<<20, 1)
	first := v.store(plain)
	identity, err := age.GenerateX25519Identity()
	must(t, err)
	before := v.writer
	v.writer = sealFor(t, identity.Recipient().String())
	if known, err := KnownBy(t.Context(), &seal.Sealed{Sink: v.sink, Seal: v.writer}, v.manifest, "v"); err != nil || len(known.places) > 0 {
		t.Errorf("%d pieces are known, %v", len(known.places), err)
	}
	v.writer = before
	if again := v.store(plain); again > first/20 {
		t.Errorf("%d bytes were added, and %d before", again, first)
	}
}

// What lies in clear is not relied on by a point that is encrypted, nor the other way round.
func TestWhatIsInClearStaysApart(t *testing.T) {
	v := newSealed(t)
	plain, sealed := noise(3<<20, 1), v.writer
	v.writer = nil
	first := v.store(plain)
	v.writer = sealed
	if added := v.store(plain); added < first {
		t.Errorf("%d bytes were added, and there are %d", added, first)
	}
	v.holds(plain)
	v.writer = nil
	if added := v.store(plain); added < first/2 {
		t.Errorf("%d bytes were added, and there are %d", added, first)
	}
}

// Nobody reads it without the identity, and a bit that flips anywhere in a pack is seen.
func TestSealedIsProven(t *testing.T) {
	v := newSealed(t)
	plain := noise(300<<10, 1)
	v.store(plain)
	reader := v.reader
	v.reader = nil
	if _, err := v.read(); !errors.Is(err, seal.ErrNoIdentity) {
		t.Errorf("it is read without an identity: %v", err)
	}
	v.reader = reader
	pack := v.manifest.Artifact(point.MediaTypePack)
	for at := int64(0); at < pack.Size; at += 7919 {
		flip := func(b []byte) []byte { b[at] ^= 1; return b }
		v.sink.Corrupt(pack.Key, flip)
		if _, err := v.read(); !errors.Is(err, codec.ErrDamaged) {
			t.Errorf("byte %d of the pack is another one: %v", at, err)
		}
		v.sink.Corrupt(pack.Key, flip)
	}
	v.sink.Corrupt(pack.Key, func(b []byte) []byte { return b[:len(b)-1] })
	if _, err := v.read(); !errors.Is(err, codec.ErrDamaged) {
		t.Errorf("the pack is cut short: %v", err)
	}
}

// A recipe is written anew for packs that are other blobs, and refuses one that is not there.
func TestRepack(t *testing.T) {
	v := newVolume(t)
	v.store(noise(1<<20, 1))
	pack := *v.manifest.Artifact(point.MediaTypePack)
	plain, err := v.source().PlainDigests(t.Context(), v.artifact())
	if err != nil || plain[pack.Digest] != pack.Name {
		t.Errorf("the plain digests are %v, and the pack is %s: %v", plain, pack.Name, err)
	}
	other := pack
	other.Digest, other.Size = pack.Name, pack.Size+1
	var out bytes.Buffer
	repack := func(instead map[string]events.Artifact) error {
		_, err := v.source().Repack(t.Context(), v.artifact(), codec.Destination{Writer: &out}, instead)
		return err
	}
	must(t, repack(map[string]events.Artifact{pack.Digest: other}))
	if err := repack(nil); !errors.Is(err, codec.ErrDamaged) {
		t.Error(err)
	}
}
