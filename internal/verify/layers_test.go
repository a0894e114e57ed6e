package verify_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/blob"
	"holdfast.io/holdfast/internal/image"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
	"holdfast.io/holdfast/internal/verify"
)

// layered stores a point of a container whose image has these layers.
func (b *bench) layered(name string, layers ...string) (*stored, verify.Item) {
	b.Helper()
	ctx := b.Context()
	s := b.point(events.Item{Kind: events.ItemContainer, ID: strings.Repeat("3f", 32), Name: name})
	s.FormatVersion, s.State, s.Quiesce = point.LayeredVersion, events.StateRunning, events.QuiescePause
	staging, err := b.in().Stage(ctx, s.dir, "1")
	b.must(err)
	var diffIDs []string
	for _, l := range layers {
		diffIDs = append(diffIDs, digest([]byte(l)))
	}
	w := &image.Writer{Sink: b.in(), Staging: staging}
	b.must(w.Begin(ctx, diffIDs))
	for i, content := range layers {
		l, err := w.Next(diffIDs[i], int64(len(content)))
		b.must(err)
		_, err = io.WriteString(l, content)
		b.must(err)
		b.must(l.End(diffIDs[i]))
	}
	config := fmt.Appendf(nil, `{"name":%q,"rootfs":{"diff_ids":["%s"]}}`, name, strings.Join(diffIDs, `","`))
	s.Artifacts, err = w.Finish(&archive.Info{ConfigDigest: digest(config), Config: config, DiffIDs: diffIDs})
	b.must(err)
	s.Image = &point.Image{ID: digest(config), ConfigDigest: digest(config), Layers: len(layers), Reference: baseImage}
	b.must(point.Publish(ctx, b.in(), staging, s.Manifest))
	b.must(staging.Discard(ctx))
	return s, verify.Item{Dir: s.dir, PlannedItem: events.PlannedItem{Item: s.Item, Point: s.ID}}
}

func flipBit(content []byte) []byte {
	content[len(content)/2] ^= 1
	return content
}

// Of a shared blob that is damaged it is said which points suffer, also those that are not
// verified; and the next point that has the layer mends them all.
func TestADamagedLayer(t *testing.T) {
	base := strings.Repeat("the base ", 100_000)
	for name, c := range map[string]struct {
		level events.VerifyLevel
		harm  func(content []byte) []byte // nil for that it goes
	}{
		"a bit is flipped":  {events.VerifyFull, flipBit},
		"it is cut short":   {events.VerifyQuick, func(content []byte) []byte { return content[:10] }},
		"it has gone":       {events.VerifyQuick, nil},
		"it has gone, full": {events.VerifyFull, nil},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			web, item := b.layered("web-1", base, "web")
			db, other := b.layered("db", base, "db")
			_, apart := b.layered("apart", "another base")
			if _, err := b.verify(item, events.VerifyFull); err != nil {
				t.Fatal(err)
			}
			key := web.Artifacts[0].Key
			if c.harm != nil {
				b.sink.Corrupt(key, c.harm)
			} else {
				b.must(b.sink.RemoveShared(b.Context(), key))
			}
			_, err := b.verify(item, c.level)
			e := b.wantError(err, events.CodePointDamaged, false)
			for _, says := range []string{strings.TrimPrefix(web.Artifacts[0].Digest, "sha256:"), "the next backup that has this layer",
				web.ID + " of container web-1", db.ID + " of container db"} {
				if !strings.Contains(e.Error(), says) {
					t.Errorf("the error is %v, want %q in it", e, says)
				}
			}
			if f := e.Found[0]; !slices.Equal(slices.Sorted(slices.Values(f.Points)), slices.Sorted(slices.Values([]string{web.ID, db.ID}))) || f.PointsOmitted > 0 {
				t.Errorf("the points are %q", f.Points)
			}
			if strings.Contains(e.Error(), "apart") {
				t.Errorf("it names a point that has not that layer: %v", e)
			}
			if m := b.mark(web.dir); m.OK || len(m.Problems) != 1 || !strings.Contains(m.Problems[0].Message, "container db") {
				t.Errorf("the mark is %+v", m)
			}
			if _, err := b.verify(apart, events.VerifyFull); err != nil {
				t.Errorf("another point: %v", err)
			}
			b.layered("later", base)
			for _, item := range []verify.Item{item, other} {
				if _, err := b.verify(item, events.VerifyFull); err != nil {
					t.Errorf("%s is not mended: %v", item.Point, err)
				}
			}
		})
	}
}

// Where the layer came out as another blob when it was stored anew, that is said of the old one.
func TestADamagedLayerThatWasStoredOtherwise(t *testing.T) {
	b := newBench(t)
	s, item := b.layered("web-1", "base")
	b.sink.Corrupt(s.Artifacts[0].Key, flipBit)
	other := s.Artifacts[0]
	other.Digest = digest([]byte("another blob"))
	b.must(blob.Enter(b.Context(), b.sink, &other))
	_, err := b.verify(item, events.VerifyFull)
	e := b.wantError(err, events.CodePointDamaged, false)
	if !strings.Contains(e.Error(), "as blobs/sha256/"+strings.TrimPrefix(other.Digest, "sha256:")) || strings.Contains(e.Error(), "next backup") {
		t.Errorf("the error is %v", e)
	}
}

// A blob that another host stores anew while it is verified is good, and nobody is told that it
// is not.
func TestALayerThatIsMendedMeanwhile(t *testing.T) {
	b := newBench(t)
	s, item := b.layered("web-1", strings.Repeat("base", 100_000))
	b.sink.Corrupt(s.Artifacts[0].Key, flipBit)
	mended := false
	_, err := b.verifyUntil(b.Context(), item, events.VerifyFull, func(_ events.Step, read int64) {
		if read > 0 && !mended {
			mended = true
			b.sink.Corrupt(s.Artifacts[0].Key, flipBit)
		}
	})
	if err != nil || !mended {
		t.Errorf("mended is %t, and the error %v", mended, err)
	}
	if _, found, err := blob.Find(b.Context(), b.sink, s.Artifacts[0].Name); !found || err != nil {
		t.Errorf("the layer is found: %t, %v", found, err)
	}
}

// What describes an image is no layer: another image has another one.
func TestADamagedConfiguration(t *testing.T) {
	b := newBench(t)
	s, item := b.layered("web-1", "base")
	b.layered("db", "base")
	b.sink.Corrupt(s.Artifact(point.MediaTypeImageConfig).Key, flipBit)
	_, err := b.verify(item, events.VerifyFull)
	e := b.wantError(err, events.CodePointDamaged, false)
	if !strings.Contains(e.Error(), "points that refer to this blob: "+s.ID+" of container web-1;") || strings.Contains(e.Error(), "next backup") {
		t.Errorf("the error is %v", e)
	}
}

// That it cannot be said who suffers does not hide what is damaged.
func TestADamagedLayerInASinkThatFails(t *testing.T) {
	for _, op := range []sinktest.Op{sinktest.OpPoints, sinktest.OpPutShared} {
		b := newBench(t)
		s, item := b.layered("web-1", "base")
		b.sink.Corrupt(s.Artifacts[0].Key, flipBit)
		b.sink.Fail(t, op, 1, io.ErrUnexpectedEOF)
		_, err := b.verify(item, events.VerifyFull)
		e := b.wantError(err, events.CodePointDamaged, false)
		says := map[sinktest.Op]string{sinktest.OpPoints: "is not known", sinktest.OpPutShared: "go on to rely on it"}[op]
		if !strings.Contains(e.Error(), says) {
			t.Errorf("%s: the error is %v", op, e)
		}
		_, err = b.verify(item, events.VerifyFull)
		if e := b.wantError(err, events.CodePointDamaged, false); !strings.Contains(e.Error(), "the next backup that has this layer") {
			t.Errorf("%s: again the error is %v", op, e)
		}
	}
}

// sealKeys are an identity, its recipient and a key for names.
func sealKeys(t *testing.T) seal.Options {
	t.Helper()
	i, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	o := seal.Options{Recipients: []string{i.Recipient().String()}, IdentityFile: filepath.Join(t.TempDir(), "identity"),
		NameKeyFile: filepath.Join(t.TempDir(), "names")}
	key := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))
	if err := errors.Join(os.WriteFile(o.IdentityFile, []byte(i.String()), 0o600), os.WriteFile(o.NameKeyFile, []byte(key), 0o600)); err != nil {
		t.Fatal(err)
	}
	return o
}

// Layers that are encrypted are proven to be those that the image's configuration names, where
// an identity opens them; where none does, their bytes are.
func TestSealedLayers(t *testing.T) {
	b := newBench(t)
	keys := sealKeys(t)
	sealed := func(o seal.Options) *seal.Seal {
		s, err := seal.New(o)
		b.must(err)
		return s
	}
	b.seal = sealed(keys)
	s, item := b.layered("web-1", "the base", "the rest")
	r, err := b.verify(item, events.VerifyFull)
	if err != nil || r.Checked.Layers != 2 || len(r.Warnings) > 0 {
		t.Errorf("checked is %+v, %v", r, err)
	}
	b.seal = sealed(seal.Options{Recipients: keys.Recipients, NameKeyFile: keys.NameKeyFile})
	r, err = b.verify(item, events.VerifyFull)
	if err != nil || r.Checked.Layers != 0 || !slices.Contains(events.WarningCodes(r.Warnings), events.WarningUnchecked) {
		t.Errorf("without an identity checked is %+v, %v", r, err)
	}
	b.sink.Corrupt(s.Artifacts[0].Key, flipBit)
	_, err = b.verify(item, events.VerifyFull)
	if e := b.wantError(err, events.CodePointDamaged, false); !strings.Contains(e.Error(), "stores it anew, for later points") {
		t.Errorf("the error is %v", e)
	}
	b.sink.Corrupt(s.Artifacts[0].Key, flipBit)

	// Two layers in the place of each other are whole, and not what they should be.
	b.seal = sealed(keys)
	b.sink.Corrupt(path.Join(s.dir, sink.ManifestName), func(raw []byte) []byte {
		m, err := point.Decode(raw)
		b.must(err)
		m.Artifacts[0], m.Artifacts[1] = m.Artifacts[1], m.Artifacts[0]
		raw, err = m.Encode()
		b.must(err)
		return raw
	})
	_, err = b.verify(item, events.VerifyFull)
	if e := b.wantError(err, events.CodePointDamaged, false); !strings.Contains(e.Error(), "and the image's configuration says") {
		t.Errorf("the error is %v", e)
	}
}
