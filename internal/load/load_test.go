package load_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/image"
	"holdfast.io/holdfast/internal/load"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

const reference = "holdfast/restored:point"

// bench is an Engine, and an image of a container that is stored and gone from it.
type bench struct {
	*testing.T
	engine *enginetest.Fake
	base   string // the reference of the image on which it is based
	id     string
	stored *point.Manifest
	sink   *sinktest.Memory
	read   []string // the keys that were read
	diffID string   // of the base
	saved  []byte
}

// newBench stores an image in layers, as it is pushed by an Engine whose layers are blobs,
// and saved by another one.
func newBench(t *testing.T, streams bool) *bench {
	b := &bench{T: t, engine: enginetest.NewFake("host"), base: "base:v1", sink: sinktest.NewMemory()}
	if streams {
		b.engine.SetStreams()
	}
	b.engine.AddImage(b.base)
	c := b.engine.Add(enginetest.Spec{Name: "web", Image: b.base}, events.StateRunning)
	b.engine.Write(c, "written", []byte("since"))
	id, err := b.engine.Commit(t.Context(), c, engine.CommitOptions{Reference: "snapshot:v1", Pause: true})
	b.must(err)
	b.id = id
	saved, err := b.engine.Save(t.Context(), id)
	b.must(err)
	b.saved, err = io.ReadAll(saved)
	b.must(err)
	b.stored = b.store()
	b.engine.Remove(c)
	b.must(b.engine.RemoveImage(t.Context(), "snapshot:v1"))
	return b
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bench) store() *point.Manifest {
	ctx := b.Context()
	staging, err := b.sink.Stage(ctx, "points/host/container/web/"+b.id[len("sha256:"):][:8], "1")
	b.must(err)
	w := &image.Writer{Sink: b.sink, Staging: staging, Compression: codec.Compression{}}
	m := &point.Manifest{ID: "1"}
	info, err := archive.Check(bytes.NewReader(b.saved), b.id)
	b.must(err)
	b.diffID = info.DiffIDs[0]
	b.must(w.Begin(ctx, info.DiffIDs))
	files := archiveFiles(b.T, b.saved)
	index, layout := files["index.json"]
	if !layout {
		_, err := archive.Split(bytes.NewReader(b.saved), b.id, w)
		b.must(err)
		m.Artifacts, err = w.Finish(info)
		b.must(err)
		return m
	}
	r := image.NewReceiver(image.One(w), info.DiffIDs, image.ReceiverOptions{})
	push := func(d digest.Digest) []byte {
		raw := files["blobs/sha256/"+d.Encoded()]
		in := r.Begin(ctx)
		_, err := in.Write(raw)
		b.must(err)
		_, err = in.Commit(d.String())
		b.must(err)
		return raw
	}
	var top v1.Index
	b.must(json.Unmarshal(index, &top))
	raw := files["blobs/sha256/"+top.Manifests[0].Digest.Encoded()]
	var manifest v1.Manifest
	b.must(json.Unmarshal(raw, &manifest))
	push(manifest.Config.Digest)
	for _, l := range manifest.Layers {
		push(l.Digest)
	}
	b.must(r.Manifest(raw))
	m.Artifacts, err = r.Finish(w)
	b.must(err)
	return m
}

// load loads the image, and proves that it is whole.
func (b *bench) load() {
	b.Helper()
	b.read = nil
	id, err := load.Image(b.Context(), b.engine, b.source(), reference, zap.NewNop())
	b.must(err)
	if refs := b.engine.References(); id != b.id || !slices.Contains(refs, reference) {
		b.Errorf("loaded is %s, want %s; the Engine has %q", id, b.id, refs)
	}
	r, err := b.engine.Save(b.Context(), id)
	b.must(err)
	if _, err := archive.Check(r, id); err != nil {
		b.Errorf("saved again: %v", err)
	}
}

// wantRead expects that so many layers were read by the last load.
func (b *bench) wantRead(want int) {
	b.Helper()
	got := 0
	for _, a := range b.stored.Artifacts {
		if a.MediaType == point.MediaTypeLayer && slices.Contains(b.read, a.Key) {
			got++
		}
	}
	if got != want {
		b.Errorf("%d layers were read, want %d", got, want)
	}
}

func (b *bench) wantReferences(want ...string) {
	b.Helper()
	if got := b.engine.References(); !slices.Equal(got, want) {
		b.Errorf("the Engine has %q, want %q", got, want)
	}
}

func (b *bench) source() image.Source {
	return image.Source{Manifest: b.stored, Open: func(ctx context.Context, key string) (io.ReadCloser, error) {
		b.read = append(b.read, key)
		return b.sink.Open(ctx, key)
	}}
}

func (b *bench) wantLoads(want int) {
	b.Helper()
	if got := b.engine.Calls(enginetest.Load); got != want {
		b.Errorf("it loaded %d times, want %d", got, want)
	}
}

func stores(t *testing.T, each func(b *bench, streams bool)) {
	for name, streams := range map[string]bool{"classic": false, "containerd": true} {
		t.Run(name, func(t *testing.T) { each(newBench(t, streams), streams) })
	}
}

// What the Engine has is not read: of two points of one base that is loaded once.
func TestBasePresent(t *testing.T) {
	stores(t, func(b *bench, streams bool) {
		b.load()
		b.wantRead(1)
		b.must(b.engine.RemoveImage(b.Context(), reference))
		b.must(b.engine.RemoveImage(b.Context(), b.base))
		b.load()
		b.wantRead(2)
		b.engine.Tag(b.id, "first:v1")
		b.load()
		b.wantRead(0)
	})
}

// Where some layers are as they were pushed, and others as an earlier load has sent them, both
// count.
func TestMixedBlobs(t *testing.T) {
	b := newBench(t, true)
	b.load() // the highest layer is sent as it is
	first := b.id
	c := b.engine.Add(enginetest.Spec{Name: "next", Image: reference}, events.StateRunning)
	b.engine.Write(c, "later", []byte("on top"))
	id, err := b.engine.Commit(t.Context(), c, engine.CommitOptions{Reference: "snapshot:v2", Pause: true})
	b.must(err)
	saved, err := b.engine.Save(t.Context(), id)
	b.must(err)
	b.saved, err = io.ReadAll(saved)
	b.must(err)
	b.id = id
	b.stored = b.store()
	b.engine.Remove(c)
	b.must(b.engine.RemoveImage(t.Context(), "snapshot:v2"))
	b.engine.Tag(first, "first:v1")
	b.load()
	b.wantRead(1)
}

// Whatever fails of a part, all is loaded, and nothing else stays.
func TestPartFails(t *testing.T) {
	broken := errors.New("broken by plan")
	faults := map[bool][]enginetest.Fault{
		false: {{Op: enginetest.About}, {Op: enginetest.Images}, {Op: enginetest.InspectImage}, {Op: enginetest.Load}},
		true: {{Op: enginetest.About}, {Op: enginetest.Load}, {Op: enginetest.Content}, {Op: enginetest.Load, After: 1},
			{Op: enginetest.Content, After: 1}},
	}
	for streams, all := range faults {
		for _, fault := range all {
			b := newBench(t, streams)
			fault.Err = broken
			b.engine.Plan(fault)
			b.load()
			b.wantRead(2)
			b.wantReferences(b.base, reference)
			if left := b.engine.Pending(); len(left) > 0 {
				t.Errorf("it made no call %q", left)
			}
		}
	}
}

// A base that goes while it is counted on is found out: also where the Engine says that all
// went well.
func TestBaseGoes(t *testing.T) {
	stores(t, func(b *bench, streams bool) {
		op, after := enginetest.Load, 0
		if streams {
			after = 1
		}
		b.engine.Plan(enginetest.Fault{Op: op, After: after, During: func() { b.engine.LoseImage(b.base) }})
		b.load()
		b.wantRead(2)
		b.wantReferences(reference)
	})
}

// Layers that are unpacked, of blobs that are gone, are not enough: containers would run of
// them, and the image could not be saved.
func TestUnpackedOnly(t *testing.T) {
	for _, after := range []int{0, 1} { // before the Engine is asked, and after
		b := newBench(t, true)
		b.engine.Plan(enginetest.Fault{Op: enginetest.Load, After: after, During: func() { b.engine.LoseBlobs(b.base) }})
		b.load()
		b.wantRead(2)
		b.wantLoads(2 + after)
	}
}

// What cannot be read is told, and nothing has the name then.
func TestDamaged(t *testing.T) {
	stores(t, func(b *bench, streams bool) {
		for _, a := range b.stored.Artifacts {
			if a.MediaType == point.MediaTypeLayer && a.Name != b.diffID {
				b.sink.Corrupt(a.Key, func(raw []byte) []byte { raw[len(raw)/2] ^= 1; return raw })
			}
		}
		if _, err := load.Image(b.Context(), b.engine, b.source(), reference, zap.NewNop()); !errors.Is(err, codec.ErrDamaged) {
			b.Errorf("the error is %v", err)
		}
		b.wantReferences(b.base)
	})
}

// An Engine that is away is not asked again.
func TestAway(t *testing.T) {
	b := newBench(t, true)
	b.engine.Plan(enginetest.Fault{Op: enginetest.Load, Err: engine.ErrEngineUnavailable})
	_, err := load.Image(t.Context(), b.engine, b.source(), reference, zap.NewNop())
	if !errors.Is(err, engine.ErrEngineUnavailable) {
		t.Errorf("the error is %v", err)
	}
	b.wantLoads(1)
}

func archiveFiles(t *testing.T, raw []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	tr := tar.NewReader(bytes.NewReader(raw))
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimPrefix(h.Name, "./")] = content
	}
}
