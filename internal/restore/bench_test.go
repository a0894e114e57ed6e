package restore_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"path"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/helper"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/restore"
	"holdfast.io/holdfast/internal/sink/sinktest"
	"holdfast.io/holdfast/internal/undo"
	"holdfast.io/holdfast/internal/undo/undotest"
	"holdfast.io/holdfast/internal/volume"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	jobID     = "ptg32uecxwng6yf7"
	baseImage = "base:v1"
)

// bench is a worker with its Engine, a sink and the content of volumes, all in memory.
// There is a point of the container web, which runs and uses the volume data.
type bench struct {
	*testing.T
	engine  *enginetest.Fake
	sink    *sinktest.Memory
	records *undotest.Memory
	sweeper *undo.Sweeper
	runner  *restore.Runner
	volumes *volumes
	web     string // the id of the container
	dir     string // of its point
	steps   func(events.Step)
}

// withBench runs a test in a bubble of time, and holds that nothing is left in the end
// but what the test expects.
func withBench(t *testing.T, test func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		e := enginetest.NewFake("host")
		e.AddImage(baseImage)
		b := &bench{T: t, engine: e, sink: sinktest.NewMemory(), records: &undotest.Memory{}, volumes: &volumes{engine: e, held: map[string]string{}},
			steps: func(events.Step) {}}
		log := zaptest.NewLogger(t)
		b.sweeper = &undo.Sweeper{Engine: e, Locks: &undo.Locks{}, Store: b.records, Volumes: b.volumes, Log: log}
		b.runner = &restore.Runner{Engine: e, Sweeper: b.sweeper, Volumes: b.volumes, Log: log}
		e.AddVolume(engine.Volume{Name: "data"})
		b.web = e.Add(enginetest.Spec{Name: "web", Image: baseImage,
			Mounts: []engine.Mount{{Type: "volume", Name: "data", Destination: "/data"}}}, events.StateRunning)
		b.store()
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { b.sweeper.Run(ctx) })
		test(b)
		b.settle()
		cancel()
		running.Wait()
	})
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// store stores the point.
func (b *bench) store() {
	b.Helper()
	ctx := b.Context()
	c, err := b.engine.Inspect(ctx, b.web)
	b.must(err)
	image := b.engine.AddImage()
	saved, err := b.engine.Save(ctx, image)
	b.must(err)
	raw, err := io.ReadAll(saved)
	b.must(err)
	info, err := archive.Check(bytes.NewReader(raw), image)
	b.must(err)
	b.engine.LoseImage(image)
	at := time.Date(2026, 3, 2, 14, 15, 3, 0, time.UTC)
	item := events.Item{Kind: events.ItemContainer, ID: b.web, Name: "web"}
	m := &point.Manifest{
		FormatVersion: point.FormatVersion, ID: events.PointID(at, "/test", "1", "host", item.Kind, item.ID), Host: "host", Item: item, Job: jobID,
		Request: point.Request{Source: "/test", ID: "1", CorrelationID: "1"}, Attempt: 1, SnapshotTime: at, StoredTime: at, State: events.StateRunning,
		Quiesce: events.QuiescePause, Engine: point.Engine{Version: "28", Store: "overlay2"}, NotIncluded: []events.NotIncluded{}, Holdfast: "test",
		Image: &point.Image{ID: image, ConfigDigest: info.ConfigDigest, Layers: len(info.DiffIDs), Reference: baseImage},
	}
	b.dir = point.Dir(m.Host, item.Kind, item.Name, m.ID)
	staging, err := b.sink.Stage(ctx, b.dir, "1")
	b.must(err)
	add := func(name, mediaType, of string, plain []byte) {
		lies := plain
		if path.Ext(name) == ".zst" {
			lies = compressed(b, plain)
		}
		sum := sha256.Sum256(lies)
		m.Artifacts = append(m.Artifacts, events.Artifact{Key: path.Join(b.dir, name), MediaType: mediaType, Name: of,
			Size: int64(len(lies)), UncompressedSize: int64(len(plain)), Digest: "sha256:" + hex.EncodeToString(sum[:])})
		w, _, err := staging.Create(ctx, name, 0)
		b.must(err)
		_, err = w.Write(lies)
		b.must(errors.Join(err, w.Commit()))
	}
	add(point.ContainerConfig, point.MediaTypeContainerConfig, "", withoutNetwork(b, c.Raw))
	add(point.ImageArchive, point.MediaTypeImageArchive, "", raw)
	add("volumes/data.tar.zst", point.MediaTypeVolume, "data", treeOf(b, "of the point"))
	manifest, err := m.Encode()
	b.must(err)
	b.must(staging.Publish(ctx, manifest))
}

// withoutNetwork is an inspect document of a container that has no network.
func withoutNetwork(b *bench, raw []byte) []byte {
	b.Helper()
	var document map[string]any
	b.must(json.Unmarshal(raw, &document))
	document["HostConfig"].(map[string]any)["NetworkMode"] = "none"
	raw, err := json.Marshal(document)
	b.must(err)
	return raw
}

func compressed(b *bench, plain []byte) []byte {
	b.Helper()
	var lies bytes.Buffer
	w, err := codec.NewWriter(codec.Destination{Writer: &lies}, codec.Compression{})
	b.must(err)
	_, err = w.Write(plain)
	b.must(err)
	_, err = w.Finish()
	b.must(err)
	return lies.Bytes()
}

// treeOf is the archive of a volume that holds one file.
func treeOf(b *bench, content string) []byte {
	b.Helper()
	var raw bytes.Buffer
	w := tar.NewWriter(&raw)
	b.must(w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "./file", Mode: 0o644, Size: int64(len(content))}))
	_, err := w.Write([]byte(content))
	b.must(errors.Join(err, w.Close()))
	return raw.Bytes()
}

// plan plans the restore of the point in the place of what is there.
func (b *bench) plan(mode events.VolumeMode) restore.Item {
	b.Helper()
	ctx := b.Context()
	source, err := restore.Open(ctx, b.sink, b.dir)
	b.must(err)
	h := &restore.Host{Details: map[string]*engine.ContainerDetail{}, Restored: map[string]bool{}}
	h.Platform, err = b.engine.Platform(ctx)
	b.must(err)
	h.Containers, err = b.engine.Containers(ctx)
	b.must(err)
	h.Volumes, err = b.engine.Volumes(ctx)
	b.must(err)
	for _, c := range h.Containers {
		h.Details[c.ID], err = b.engine.Inspect(ctx, c.ID)
		b.must(err)
	}
	items := restore.MakePlan([]restore.Found{{PlannedItem: events.PlannedItem{Item: source.Manifest.Item, Point: source.Manifest.ID},
		Dir: b.dir, Source: source}}, h, restore.Wish{Job: jobID, As: events.RestoreStart, Replace: true, Volumes: mode,
		Dependants: events.DependantsRecreate, Gate: "10s"})
	if items[0].Code != "" {
		b.Fatalf("the plan is %s: %s", items[0].Code, items[0].Message)
	}
	return items[0]
}

// restore restores the point in the place of what is there.
func (b *bench) restore(ctx context.Context, item restore.Item, attempt uint64) (*events.RestoreItemCompleted, error) {
	return b.runner.Run(ctx, restore.Task{
		Host: "host", Job: jobID, Attempt: attempt, Item: item, SinkName: "default", Sink: b.sink, Gate: 10 * time.Second, Ledger: nowhere{},
		Keep:     b.volumes.keep,
		Progress: func(step events.Step, _, _, _ int64) { b.steps(step) },
	})
}

// nowhere is a ledger that nobody reads.
type nowhere struct{}

func (nowhere) Begin(context.Context, undo.Record) error { return nil }

// settle waits until all is undone, and holds that nothing of a restore is left over.
func (b *bench) settle() {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
	defer cancel()
	if err := b.sweeper.Wait(ctx); err != nil {
		b.Errorf("left are %q: %v", b.sweeper.Left(), err)
	}
	if left, err := b.records.List(); err != nil || len(left) > 0 {
		b.Errorf("the records are %+v, %v", left, err)
	}
	if pending := b.engine.Pending(); len(pending) > 0 {
		b.Errorf("faults that were not met: %q", pending)
	}
}

// wantOld holds that the container is as it was, that there is no other one, and that of
// the point nothing is on the Engine.
func (b *bench) wantOld() {
	b.Helper()
	b.settle()
	if c := b.only(); c != nil && c.ID != b.web {
		b.Errorf("the container is %s, not the old one", c.ID)
	}
	if refs := b.engine.References(); !slices.Equal(refs, []string{baseImage}) {
		b.Errorf("the images are %q", refs)
	}
}

// only is the only container: web, and it runs.
func (b *bench) only() *engine.ContainerDetail {
	b.Helper()
	all, err := b.engine.Containers(b.Context())
	b.must(err)
	if len(all) != 1 {
		b.Errorf("there are %d containers, want one: %+v", len(all), all)
		return nil
	}
	c, err := b.engine.Inspect(b.Context(), all[0].ID)
	b.must(err)
	if c.Name != "web" || c.State != events.StateRunning {
		b.Errorf("the container is called %s and is %s", c.Name, c.State)
	}
	return c
}

// wantError holds the error of a point against its code.
func (b *bench) wantError(err error, code events.Code) *failure.Error {
	b.Helper()
	e, ok := errors.AsType[*failure.Error](err)
	if !ok {
		b.Fatalf("the error is %v, want one with the code %s", err, code)
	}
	if e.Code != code {
		b.Errorf("the error is %s, %v; want %s", e.Code, e, code)
	}
	return e
}

// volumes is the content of volumes: that of their one file. It implements
// [restore.Volumes] and [undo.Volumes].
type volumes struct {
	engine *enginetest.Fake
	mu     sync.Mutex
	held   map[string]string
	err    error // of the next Write, after it has written
	// kept are points of what volumes held, by their folders; keepErr is the error of the
	// next one.
	kept    map[string]string
	keepErr error
}

// keep stores what a volume holds.
func (v *volumes) keep(_ context.Context, volume string, _ undo.Ledger) (restore.Kept, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.kept = map[string]string{"dir": v.held[volume]}
	return restore.Kept{Point: "safety", Dir: "dir"}, v.keepErr
}

// all is what the volumes hold, which exist.
func (v *volumes) all() map[string]string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return maps.Clone(v.held)
}

func (v *volumes) put(name, content string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.held[name] = content
}

func (*volumes) Ready(context.Context) error { return nil }

func (v *volumes) Write(ctx context.Context, _ string, to helper.Place, content io.Reader) (volume.Report, error) {
	if _, err := v.engine.InspectVolume(ctx, to.Volume); err != nil {
		return volume.Report{}, err
	}
	r := tar.NewReader(content)
	_, err := r.Next()
	var file []byte
	if err == nil {
		file, err = io.ReadAll(r)
	}
	v.put(to.Volume, string(file))
	if err == nil {
		_, err = io.Copy(io.Discard, content)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	err, v.err = errors.Join(err, v.err), nil
	return volume.Report{Entries: 2}, err
}

func (v *volumes) IsEmpty(_ context.Context, _ string, at helper.Place) (bool, error) {
	return v.all()[at.Volume] == "", nil
}

func (v *volumes) Clear(ctx context.Context, _ string, at helper.Place) error {
	return v.ClearVolume(ctx, "", at.Volume)
}

func (v *volumes) RefillVolume(_ context.Context, o undo.Overwritten) error {
	v.put(o.Volume, v.kept[o.Dir])
	return nil
}

func (v *volumes) ClearVolume(_ context.Context, _, name string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.held, name)
	return nil
}

var errBroken = errors.New("it is broken")
