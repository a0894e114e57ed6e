package image_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/blob"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

// What of a layer is damaged, or gone, is stored anew by the next point that has it: then
// all points have it again.
func TestHealing(t *testing.T) {
	for name, harm := range map[string]func(m *sinktest.Memory, of *point.Manifest) error{
		"the blob is gone": func(m *sinktest.Memory, of *point.Manifest) error {
			return m.RemoveShared(context.Background(), of.Artifacts[0].Key)
		},
		"the blob is cut short": func(m *sinktest.Memory, of *point.Manifest) error {
			m.Corrupt(of.Artifacts[0].Key, func(b []byte) []byte { return b[:len(b)-1] })
			return nil
		},
		"the entry is gone": func(m *sinktest.Memory, of *point.Manifest) error {
			return m.RemoveShared(context.Background(), "layers/"+strings.TrimPrefix(of.Artifacts[0].Name, "sha256:")+".json")
		},
		"the entry is damaged": func(m *sinktest.Memory, of *point.Manifest) error {
			return m.PutShared(context.Background(), "layers/"+strings.TrimPrefix(of.Artifacts[0].Name, "sha256:")+".json", []byte("{"))
		},
		"a bit of the entry has flipped, in what cannot be proven without reading the layer": func(m *sinktest.Memory, of *point.Manifest) error {
			m.Corrupt("layers/"+strings.TrimPrefix(of.Artifacts[0].Name, "sha256:")+".json", func(b []byte) []byte {
				return bytes.Replace(b, fmt.Appendf(nil, `"uncompressedSize": %d`, len(base)), fmt.Appendf(nil, `"uncompressedSize": %d`, len(base)^1), 1)
			})
			return nil
		},
		"a bit of the blob has flipped, and its entry was removed by who saw that": func(m *sinktest.Memory, of *point.Manifest) error {
			m.Corrupt(of.Artifacts[0].Key, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
			_, err := blob.Forget(context.Background(), m, &of.Artifacts[0])
			return err
		},
	} {
		s := sinktest.NewMemory()
		first := mustStore(t, s, 1, web)
		if err := harm(s, first); err != nil {
			t.Fatal(err)
		}
		mustStore(t, s, 2, changed)
		t.Log(name)
		mustLoad(t, s, first, web)
	}
}

// A bit that flips in what describes an image is mended by the next point of that image.
func TestHealingOfDocuments(t *testing.T) {
	for _, mediaType := range []string{point.MediaTypeImageConfig, point.MediaTypeImageManifest} {
		s := sinktest.NewMemory()
		first := mustStore(t, s, 1, web)
		s.Corrupt(first.Artifact(mediaType).Key, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		mustStore(t, s, 2, web)
		for _, a := range first.Artifacts {
			if point.IsShared(&a) && digestOf([]byte(s.Contents()[a.Key])) != a.Digest {
				t.Errorf("%s is not mended: it is a %s", a.Key, a.MediaType)
			}
		}
	}
}

// flip flips a bit of a blob, and has that seen.
func flip(t *testing.T, s *sinktest.Memory, a *events.Artifact) {
	t.Helper()
	s.Corrupt(a.Key, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	if instead, err := blob.Forget(t.Context(), s, a); instead != "" || err != nil {
		t.Errorf("instead is %q, %v", instead, err)
	}
}

// A blob that is known to be damaged is not relied on, by who stores a layer and by who
// copies one, until it is stored anew; and who may not remove anything can say so.
func TestForget(t *testing.T) {
	s := sinktest.NewMemory()
	layer := mustStore(t, s, 1, web).Artifacts[0]
	found := func(want bool) {
		t.Helper()
		if adopted, err := blob.Adopt(t.Context(), s, &layer); adopted != want || err != nil {
			t.Errorf("adopted is %t, %v", adopted, err)
		}
		if _, found, err := blob.Find(t.Context(), s, layer.Name); found != want || err != nil {
			t.Errorf("found is %t, %v", found, err)
		}
	}
	found(true)
	s.FailMaybe(sinktest.OpRemove, 1, sink.ErrMayNotRemove)
	flip(t, s, &layer)
	found(false)
	if instead, err := blob.Forget(t.Context(), s, &layer); instead != "" || err != nil { // another point has it too
		t.Errorf("instead is %q, %v", instead, err)
	}
	mustStore(t, s, 2, changed)
	found(true)
}

// Where the layer comes out as another blob, the damaged one stays as it is, and that is said;
// and seeing it again costs nobody the blob that is good.
func TestHealingByAnotherBlob(t *testing.T) {
	s := sinktest.NewMemory()
	first := mustStore(t, s, 1, web)
	flip(t, s, &first.Artifacts[0])
	other := first.Artifacts[0]
	other.Digest = digestOf([]byte("compressed in another way"))
	if err := blob.Enter(t.Context(), s, &other); err != nil {
		t.Fatal(err)
	}
	entry := s.Contents()["layers/"+strings.TrimPrefix(other.Name, "sha256:")+".json"]
	if instead, err := blob.Forget(t.Context(), s, &first.Artifacts[0]); instead != other.Digest || err != nil {
		t.Errorf("instead is %q, %v", instead, err)
	}
	if is := s.Contents()["layers/"+strings.TrimPrefix(other.Name, "sha256:")+".json"]; is != entry {
		t.Errorf("the entry is %s", is)
	}
}
