package copies_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"testing"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/image"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
	"holdfast.io/holdfast/schemas/examples"
)

func digestOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// storeLayers stores a point of an image of these layers, in the layered format.
func (b *bench) storeLayers(in *sinktest.Memory, dir, id string, layers ...string) *point.Manifest {
	b.Helper()
	valid, err := examples.Valid("manifest")
	b.must(err)
	m, err := point.Decode(valid["layers.json"])
	b.must(err)
	m.ID, m.Artifacts, m.Signature = id, nil, ""
	staging, err := in.Stage(b.Context(), dir, "1")
	b.must(err)
	w := &image.Writer{Sink: in, Staging: staging}
	b.must(w.Begin(b.Context(), nil))
	info := &archive.Info{Config: []byte(`{"rootfs":{"diff_ids":[]}}`)}
	for _, content := range layers {
		l, err := w.Next("")
		b.must(err)
		_, err = io.WriteString(l, content)
		b.must(err)
		diffID := digestOf(content)
		b.must(l.End(diffID))
		info.DiffIDs = append(info.DiffIDs, diffID)
	}
	m.Artifacts, err = w.Finish(info)
	b.must(err)
	b.must(point.Publish(b.Context(), in, staging, m))
	return m
}

// A copy of a point of the layered format brings the layers that the sink lacks, and they
// are found there by what is stored next.
func TestCopyLayers(t *testing.T) {
	b := newBench(t)
	m := b.storeLayers(b.from, dir, id, "base", "top")
	const other = "20260302T141503Z-441e7819"
	b.storeLayers(b.to, point.Dir(m.Host, m.Item.Kind, m.Item.Name, other), other, "base")
	result, err := b.copy()
	b.must(err)
	reused := map[string]bool{}
	for _, a := range result.Manifest.Artifacts {
		if a.MediaType == point.MediaTypeLayer {
			reused[a.Name] = a.Reused
		}
		if b.to.Contents()[a.Key] != b.from.Contents()[a.Key] {
			t.Errorf("%s is another one in the copy", a.Key)
		}
	}
	if want := map[string]bool{digestOf("base"): true, digestOf("top"): false}; !maps.Equal(reused, want) {
		t.Errorf("reused are %v, want %v", reused, want)
	}
	if _, found, err := image.Find(t.Context(), b.to, digestOf("top")); err != nil || !found {
		t.Errorf("the layer that was copied is found: %t, %v", found, err)
	}
	copied, err := point.Read(t.Context(), b.to, dir)
	b.must(err)
	if copied.FormatVersion != point.LayeredVersion {
		t.Errorf("the copy is of format %d", copied.FormatVersion)
	}
}

// A blob that is damaged is not copied.
func TestCopyADamagedLayer(t *testing.T) {
	b := newBench(t)
	m := b.storeLayers(b.from, dir, id, "base", "top")
	b.from.Corrupt(m.Artifacts[0].Key, func(content []byte) []byte { content[len(content)/2] ^= 1; return content })
	_, err := b.copy()
	b.mustFail(err, events.CodePointDamaged, "is not copied")
	if _, there := b.to.Contents()[m.Artifacts[0].Key]; there {
		t.Error("the blob is there")
	}
	if _, err := point.Read(t.Context(), b.to, dir); !errors.Is(err, sink.ErrNotFound) {
		t.Errorf("the point is there: %v", err)
	}
}
