package image_test

import (
	"errors"
	"io"
	"path"
	"strings"
	"testing"

	"holdfast.io/holdfast/internal/blob"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/image"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

// Nothing in a sink that encrypts says of which layers an image is, or as what they were
// pushed; and a sink in which all was stored in clear says it, so that this is looked for
// where it would be.
func TestNothingIsInClear(t *testing.T) {
	inBoth(t, func(t *testing.T, s box) {
		p := newPicture("lowest layer", "highest layer")
		low, high := gzipped(p.layers[0]), gzipped(p.layers[1])
		if _, err := receive(t, s, p, image.ReceiverOptions{}, [][]byte{low, high}, digestOf(low), digestOf(high)); err != nil {
			t.Fatal(err)
		}
		mustStore(t, s, 1, p)
		all := ""
		for key, content := range s.memory.Contents() {
			all += key + "\n" + content + "\n"
		}
		for _, digest := range []string{p.diffIDs[0], p.diffIDs[1], digestOf(low), digestOf(high), digestOf(p.config)} {
			if got, want := strings.Contains(all, strings.TrimPrefix(digest, "sha256:")), !s.sealed; got != want {
				t.Errorf("%s is in clear: %t", digest, got)
			}
		}
	})
}

// Who has another key, or encrypts for others, finds nothing, stores anew, and breaks nothing;
// and who has no key reads everything.
func TestAnotherNameKey(t *testing.T) {
	mine, s := keys(t), sinktest.NewMemory()
	theirs, others := mine, mine
	theirs.NameKeyFile = keys(t).NameKeyFile
	others.Recipients = append(others.Recipients, keys(t).Recipients...)
	reader := mine
	reader.Recipients, reader.NameKeyFile = nil, ""
	for i, o := range []seal.Options{mine, theirs, others} {
		m := mustStore(t, sealing(t, s, o), i, web)
		for _, a := range m.Artifacts {
			if a.Reused || a.Encryption != seal.Format {
				t.Errorf("%d: an artifact is %+v", i, a)
			}
		}
		for _, o := range []seal.Options{mine, theirs, others, reader} {
			mustLoad(t, sealing(t, s, o), m, web)
		}
	}
	entries := 0
	for key := range s.Contents() {
		if path.Dir(key) == sink.LayersName {
			entries++
		}
	}
	if want := 3 * len(web.layers); entries != want {
		t.Errorf("the sink has %d entries, want %d", entries, want)
	}
}

// Of a blob that is damaged the layer is stored anew, for later points; who has no key for
// names cannot have that done, and says so.
func TestForgetSealed(t *testing.T) {
	o, m := keys(t), sinktest.NewMemory()
	s := sealing(t, m, o)
	first := mustStore(t, s, 1, web)
	layer := first.Artifacts[0]
	m.Corrupt(layer.Key, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	without := o
	without.Recipients, without.NameKeyFile = nil, ""
	another := o
	another.NameKeyFile = keys(t).NameKeyFile
	for name, o := range map[string]seal.Options{"none": without, "another": another} {
		if _, err := blob.Forget(t.Context(), sealing(t, m, o), &layer); err != blob.ErrNoNames {
			t.Errorf("with the key %s: %v", name, err)
		}
	}
	if instead, err := blob.Forget(t.Context(), s, &layer); instead != "" || err != nil {
		t.Errorf("instead is %q, %v", instead, err)
	}
	second := mustStore(t, s, 2, changed)
	if anew := second.Artifacts[0]; anew.Reused || anew.Name != layer.Name || anew.Digest == layer.Digest {
		t.Errorf("it is stored anew as %+v", anew)
	}
	mustLoad(t, s, second, changed)
	if instead, err := blob.Forget(t.Context(), s, &layer); instead != second.Artifacts[0].Digest || err != nil {
		t.Errorf("instead is %q, %v", instead, err)
	}
}

// The layers of an encrypted image that come in another order than its configuration says are
// told when they are read.
func TestSealedLayersInAnotherOrder(t *testing.T) {
	m := sinktest.NewMemory()
	s := sealing(t, m, keys(t))
	stored := mustStore(t, s, 1, newPicture("lowest layer", "higher layer")) // of one size
	read, err := point.Read(t.Context(), s, point.Dir(stored.Host, stored.Item.Kind, stored.Item.Name, stored.ID))
	if err != nil {
		t.Fatal(err)
	}
	read.Artifacts[0], read.Artifacts[1] = read.Artifacts[1], read.Artifacts[0]
	r, err := image.Source{Manifest: read, Open: s.Open, Seal: seal.Of(s)}.Archive(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	wantDamaged(t, r)
	read.Artifacts = read.Artifacts[1:] // and one that is not there
	if _, err := (image.Source{Manifest: read, Open: s.Open, Seal: seal.Of(s)}).Archive(t.Context(), ""); err == nil {
		t.Error("an image without a layer can be read")
	}
}

func wantDamaged(t *testing.T, r io.Reader) {
	t.Helper()
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, codec.ErrDamaged) {
		t.Errorf("the error is %v", err)
	}
}
