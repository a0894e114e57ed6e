package backup_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
	"holdfast.io/holdfast/internal/transport"
	"holdfast.io/holdfast/internal/undo"
	"holdfast.io/holdfast/internal/undo/undotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	baseImage = "app:v1"
	pointID   = "20260102T150405Z-0123abcd"
	jobID     = "abcdefghijklmn27"
)

// bench is a Runner with an Engine and a sink in memory.
type bench struct {
	*testing.T
	engine  *enginetest.Fake
	sink    *sinktest.Memory
	store   *undotest.Memory
	sweeper *undo.Sweeper
	runner  *backup.Runner
}

// sinks are sinks by name.
type sinks map[string]sink.Sink

func (s sinks) Open(_ context.Context, name string) (sink.Sink, error) {
	if s[name] == nil {
		return nil, errors.New("no such sink")
	}
	return s[name], nil
}

// withBench runs a test in a bubble: time passes only where all wait, and a
// goroutine that is left behind fails the test.
func withBench(t *testing.T, test func(b *bench)) {
	synctest.Test(t, func(t *testing.T) {
		engine := enginetest.NewFake("host")
		engine.AddImage(baseImage)
		b := &bench{T: t, engine: engine, sink: sinktest.NewMemory(), store: &undotest.Memory{}}
		b.newWorker()
		stop := b.sweep()
		test(b)
		stop()
		if pending := engine.Pending(); len(pending) > 0 {
			t.Errorf("faults that were not met: %q", pending)
		}
	})
}

// newWorker makes a Runner and a Sweeper as another process has them, which know
// nothing but what is in the store.
func (b *bench) newWorker() {
	log := zaptest.NewLogger(b)
	b.sweeper = &undo.Sweeper{Engine: b.engine, Locks: &undo.Locks{}, Store: b.store, Sinks: sinks{"default": b.sink}, Log: log}
	b.runner = &backup.Runner{Engine: b.engine, Sweeper: b.sweeper, Transport: &transport.Save{Engine: b.engine}, Version: "test", Log: log}
}

// sweep runs the Sweeper until stop is called.
func (b *bench) sweep() (stop func()) {
	ctx, cancel := context.WithCancel(b.Context())
	sweeper := b.sweeper
	var running sync.WaitGroup
	running.Go(func() { sweeper.Run(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

// settle waits until all is undone, and holds that no record is left.
func (b *bench) settle() {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
	defer cancel()
	if err := b.sweeper.Wait(ctx); err != nil {
		b.Errorf("%q are not undone: %v", b.sweeper.Left(), err)
	}
	if ids := b.recorded(); len(ids) > 0 {
		b.Errorf("the records %q are left", ids)
	}
}

// recorded returns the ids of the records on disk, in order.
func (b *bench) recorded() (ids []string) {
	b.Helper()
	records, err := b.store.List()
	if err != nil {
		b.Fatal(err)
	}
	for _, r := range records {
		ids = append(ids, r.ID)
	}
	slices.Sort(ids)
	return ids
}

func (b *bench) add(state events.State) (id string) {
	return b.engine.Add(enginetest.Spec{Name: "Web", Image: baseImage, Volume: "/data"}, state)
}

// fill writes so much into a container that its archive is sent in many pieces.
func (b *bench) fill(id string) { b.fillWith(id, 5<<20) }

// fillWith writes so many bytes into a container.
func (b *bench) fillWith(id string, n int) {
	content := make([]byte, n)
	r := rand.NewChaCha8([32]byte{})
	_, _ = r.Read(content)
	b.engine.Write(id, "big", content)
}

func (b *bench) task(id string, quiesce events.Quiesce) backup.Task {
	return backup.Task{
		Host: "host", Job: jobID, Attempt: 1, Point: pointID, Legs: legs(b.sink),
		Request:  point.Request{Source: "/test", ID: "1", CorrelationID: "1"},
		Item:     events.PlannedItem{Item: events.Item{Kind: events.ItemContainer, ID: id, Name: "Web"}, Quiesce: quiesce},
		Tags:     map[string]string{"reason": "test"},
		Progress: func(events.Step, int64, int64, int64) {},
	}
}

// legs are the only sink of a task.
func legs(s sink.Sink) []backup.Leg {
	return []backup.Leg{{Sink: "default", Open: func(context.Context) (sink.Sink, error) { return s, nil }}}
}

// run runs a task with one sink.
func (b *bench) run(ctx context.Context, t backup.Task) (*backup.Result, error) {
	return only(b.runner.Run(ctx, t))
}

// only is the outcome of an item with one sink.
func only(all []backup.Outcome) (*backup.Result, error) { return all[0].Result, all[0].Err }

// wantNothingLeft holds what must be after an item that failed: no point, nothing
// staged, no snapshot, and the container as it was.
func (b *bench) wantNothingLeft(id string, state events.State) {
	b.Helper()
	b.settle()
	if contents := slices.Sorted(maps.Keys(b.sink.Contents())); len(contents) > 0 {
		b.Errorf("the sink holds %q, want nothing", contents)
	}
	b.wantAsItWas(id, state)
}

func (b *bench) wantAsItWas(id string, state events.State) {
	b.Helper()
	b.settle()
	if refs := b.engine.References(); !slices.Equal(refs, []string{baseImage}) {
		b.Errorf("the Engine has the images %q, want only %s", refs, baseImage)
	}
	if comments := b.engine.Comments(); len(comments) > 0 {
		b.Errorf("snapshots without a name are left: %q", comments)
	}
	if got := b.engine.State(id); got != state {
		b.Errorf("the container is %q, want %q", got, state)
	}
}

func (b *bench) wantError(err error, step events.Step, code events.Code, retryable bool) {
	b.Helper()
	failure, ok := err.(*failure.Error)
	if !ok {
		b.Fatalf("the error is %v (%T), want an *failure.Error", err, err)
	}
	if failure.Step != step || failure.Code != code || failure.Retryable != retryable {
		b.Errorf("it failed at %s with %s, retryable %v (%v); want %s, %s, %v",
			failure.Step, failure.Code, failure.Retryable, err, step, code, retryable)
	}
}

func TestRunContainer(t *testing.T) {
	cases := map[string]struct {
		state   events.State
		quiesce events.Quiesce
		// quiesced says whether this backup pauses or stops the container.
		quiesced bool
	}{
		"running, paused":      {events.StateRunning, events.QuiescePause, true},
		"running, stopped":     {events.StateRunning, events.QuiesceStop, true},
		"running, not touched": {events.StateRunning, events.QuiesceNone, false},
		"paused by its user":   {events.StatePaused, events.QuiescePause, false},
		"paused, to stop":      {events.StatePaused, events.QuiesceStop, false},
		"exited":               {events.StateExited, events.QuiescePause, false},
		"created":              {events.StateCreated, events.QuiesceStop, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				id := b.add(c.state)
				b.fill(id)
				b.engine.Plan(enginetest.Fault{Op: enginetest.Commit, During: func() { time.Sleep(3 * time.Second) }})
				began := time.Now().UTC()
				result, err := b.run(b.Context(), b.task(id, c.quiesce))
				if err != nil {
					b.Fatal(err)
				}
				b.wantAsItWas(id, c.state)
				m := b.wantStored(result)
				if want := 3000.; c.quiesced && m.NotRunningMillis != want || !c.quiesced && m.NotRunningMillis != 0 {
					b.Errorf("it did not run for %v ms", m.NotRunningMillis)
				}
				if !m.SnapshotTime.Equal(began) || m.State != c.state || m.Quiesce != c.quiesce {
					b.Errorf("the manifest has %s, state %s, quiesce %s", m.SnapshotTime, m.State, m.Quiesce)
				}
				if result.Durations.Commit != 3000 {
					b.Errorf("the commit took %d ms, want 3000", result.Durations.Commit)
				}
				var inspected struct{ ID string }
				raw := b.stored(m, point.MediaTypeContainerConfig)
				if err := json.Unmarshal(raw, &inspected); err != nil || inspected.ID != id {
					b.Errorf("the configuration is that of %q, %v", inspected.ID, err)
				}
				if len(m.NotIncluded) != 1 || m.NotIncluded[0].Destination != "/data" || m.NotIncluded[0].Reason == "" {
					b.Errorf("not included is %+v, want the volume", m.NotIncluded)
				}
			})
		})
	}
}

// wantStored holds a result against what is in the sink.
func (b *bench) wantStored(r *backup.Result) *point.Manifest {
	b.Helper()
	m, err := point.Read(b.Context(), b.sink, r.Dir)
	if err != nil {
		b.Fatal(err)
	}
	if a, err := m.Encode(); err != nil {
		b.Error(err)
	} else if want, _ := r.Manifest.Encode(); !bytes.Equal(a, want) {
		b.Errorf("stored is the manifest\n%s\nand returned is\n%s", a, want)
	}
	if m.ID != pointID || m.Job != jobID || m.Tags["reason"] != "test" || m.StoredTime.Before(m.SnapshotTime) {
		b.Errorf("the manifest is %+v", m)
	}
	plain, err := zstd.NewReader(bytes.NewReader(b.stored(m, point.MediaTypeImageArchive)))
	if err != nil {
		b.Fatal(err)
	}
	defer plain.Close()
	info, err := archive.Check(plain, m.Image.ID)
	if err != nil {
		b.Fatal(err)
	}
	if info.ConfigDigest != m.Image.ConfigDigest || len(info.DiffIDs) != m.Image.Layers {
		b.Errorf("the archive holds %+v, and the manifest says %+v", info, m.Image)
	}
	if contents := b.sink.Contents(); len(contents) != len(m.Artifacts)+1 {
		b.Errorf("the sink holds %q", slices.Sorted(maps.Keys(contents)))
	}
	return m
}

// stored returns an artifact, held against its size and digest.
func (b *bench) stored(m *point.Manifest, mediaType string) []byte {
	b.Helper()
	a := m.Artifact(mediaType)
	if a == nil {
		b.Fatalf("there is no %s", mediaType)
	}
	f, err := b.sink.Open(b.Context(), a.Key)
	if err != nil {
		b.Fatal(err)
	}
	content, err := io.ReadAll(f)
	if err != nil {
		b.Fatal(err)
	}
	sum := sha256.Sum256(content)
	if a.Size != int64(len(content)) || a.Digest != "sha256:"+hex.EncodeToString(sum[:]) {
		b.Errorf("%s has %d bytes and the digest %x, and its manifest says %+v", a.Key, len(content), sum, a)
	}
	return content
}

func TestRunImage(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.engine.AddImage("db:16")
		task := b.task("", "")
		task.Item = events.PlannedItem{Item: events.Item{Kind: events.ItemImage, ID: id, Name: "db:16"}}
		result, err := b.run(b.Context(), task)
		if err != nil {
			b.Fatal(err)
		}
		m := b.wantStored(result)
		if m.Image.ID != id || m.Image.Reference != "db:16" || len(m.Artifacts) != 1 || m.Quiesce != "" || m.State != "" {
			b.Errorf("the manifest is %+v", m)
		}
		if calls := b.engine.Calls(enginetest.Commit) + b.engine.Calls(enginetest.RemoveImage); calls > 0 {
			b.Errorf("an image was committed or removed")
		}
	})
}

func TestRunImageGone(t *testing.T) {
	withBench(t, func(b *bench) {
		task := b.task("", "")
		task.Item = events.PlannedItem{Item: events.Item{Kind: events.ItemImage, ID: "sha256:" + strings.Repeat("0", 64), Name: "db:16"}}
		_, err := b.run(b.Context(), task)
		b.wantError(err, events.StepInspect, events.CodeNotFound, false)

		id := b.engine.AddImage("db:16") // and now it goes between inspect and save
		task.Item.ID = id
		b.engine.Plan(enginetest.Fault{Op: enginetest.Save, Err: engine.ErrNotFound})
		_, err = b.run(b.Context(), task)
		b.wantError(err, events.StepSave, events.CodeNotFound, false)
	})
}

// sinkFault is a failure that is planned in the sink.
type sinkFault struct {
	op  sinktest.Op
	nth int
	err error
}

// TestRunFails has every step fail, and holds what is left and what is reported.
func TestRunFails(t *testing.T) {
	const (
		inspect = events.StepInspect
		commit  = events.StepCommit
		save    = events.StepSave
		publish = events.StepPublish
	)
	broken := errors.New("broken")
	type faults []enginetest.Fault
	cases := map[string]struct {
		faults faults
		sink   *sinkFault
		step   events.Step
		code   events.Code
		final  bool // a retry cannot help
	}{
		"the sink is not there":   {nil, &sinkFault{sinktest.OpOpen, 1, sink.ErrUnavailable}, inspect, events.CodeSinkUnavailable, false},
		"the sink cannot be read": {nil, &sinkFault{sinktest.OpOpen, 1, broken}, inspect, events.CodeSinkError, false},
		"the Engine is away": {faults{{Op: enginetest.About, Err: engine.ErrEngineUnavailable}}, nil, inspect,
			events.CodeEngineUnavailable, false},
		"the Engine cannot be watched": {faults{{Op: enginetest.Watch, Err: broken}}, nil, inspect, events.CodeEngine, false},
		"the container is gone":        {faults{{Op: enginetest.Inspect, Err: engine.ErrNotFound}}, nil, inspect, events.CodeNotFound, true},
		"it cannot be inspected":       {faults{{Op: enginetest.Inspect, Err: broken}}, nil, inspect, events.CodeEngine, false},
		"the commit fails":             {faults{{Op: enginetest.Commit, Err: broken, Times: 3}}, nil, commit, events.CodeEngine, false},
		"the Engine is full":           {faults{{Op: enginetest.Commit, Err: engine.ErrEngineFull}}, nil, commit, events.CodeEngineFull, false},
		"the commit fails for us alone": {faults{{Op: enginetest.Commit, Err: broken, Late: true, Times: 3}}, nil, commit,
			events.CodeEngine, false},
		"the commit fails and leaves it paused": {faults{{Op: enginetest.Commit, Err: broken, LeavePaused: true, Times: 3},
			{Op: enginetest.Unpause, Err: broken, Times: 3}}, nil, commit, events.CodeEngine, false},
		"the Engine does not pause": {faults{{Op: enginetest.Commit, NoPause: true, Times: 3}}, nil, commit,
			events.CodeNotQuiesced, false},
		"the account breaks off": {faults{{Op: enginetest.Watch, Cut: 1, Times: 3}}, nil, commit, events.CodeNotQuiesced, false},
		"the account comes too late": {faults{{Op: enginetest.Watch, Lag: time.Minute, Times: 3}}, nil, commit,
			events.CodeNotQuiesced, false},
		"the account breaks off, it stays": {faults{{Op: enginetest.Watch, Cut: 1, Times: 3},
			{Op: enginetest.Commit, LeavePaused: true}}, nil, commit, events.CodeNotQuiesced, false},
		"the snapshot is removed": {faults{{Op: enginetest.InspectImage, After: 2, Err: engine.ErrNotFound}},
			nil, save, events.CodeEngine, false},
		"the snapshot is removed before the save": {faults{{Op: enginetest.Save, Err: engine.ErrNotFound}},
			nil, save, events.CodeEngine, false},
		"the snapshot cannot be inspected": {faults{{Op: enginetest.InspectImage, After: 2, Err: broken}}, nil, save,
			events.CodeEngine, false},
		"its image is gone": {faults{{Op: enginetest.InspectImage, Times: 2, Err: engine.ErrNotFound}}, nil, inspect,
			events.CodeBaseImageMissing, true},
		"the save fails":         {faults{{Op: enginetest.Save, Err: engine.ErrEngineFull}}, nil, save, events.CodeEngineFull, false},
		"the archive breaks off": {faults{{Op: enginetest.Save, Cut: 2 << 20, Err: broken}}, nil, save, events.CodeEngine, false},
		"the connection breaks off": {faults{{Op: enginetest.Save, Cut: 2 << 20, Err: io.ErrUnexpectedEOF}}, nil, save,
			events.CodeCorruptArchive, false},
		"the archive ends too early":       {faults{{Op: enginetest.Save, Cut: 2 << 20}}, nil, save, events.CodeCorruptArchive, false},
		"the archive is one byte":          {faults{{Op: enginetest.Save, Cut: 1}}, nil, save, events.CodeCorruptArchive, false},
		"the sink is gone":                 {nil, &sinkFault{sinktest.OpStage, 1, sink.ErrUnavailable}, save, events.CodeSinkUnavailable, false},
		"nothing can be staged":            {nil, &sinkFault{sinktest.OpStage, 1, broken}, save, events.CodeSinkError, false},
		"the archive cannot be created":    {nil, &sinkFault{sinktest.OpCreate, 1, sink.ErrFull}, save, events.CodeSinkFull, false},
		"the sink is full at once":         {nil, &sinkFault{sinktest.OpWrite, 1, sink.ErrFull}, save, events.CodeSinkFull, false},
		"the sink is full in the middle":   {nil, &sinkFault{sinktest.OpWrite, 3, sink.ErrFull}, save, events.CodeSinkFull, false},
		"the sink breaks in the middle":    {nil, &sinkFault{sinktest.OpWrite, 3, broken}, save, events.CodeSinkError, false},
		"the archive is not durable":       {nil, &sinkFault{sinktest.OpCommit, 1, sink.ErrFull}, save, events.CodeSinkFull, false},
		"the configuration has no room":    {nil, &sinkFault{sinktest.OpCreate, 2, sink.ErrFull}, save, events.CodeSinkFull, false},
		"the configuration is not durable": {nil, &sinkFault{sinktest.OpCommit, 2, broken}, save, events.CodeSinkError, false},
		"it cannot be published": {nil, &sinkFault{sinktest.OpPublish, 1, sink.ErrUnavailable}, publish,
			events.CodeSinkUnavailable, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				id := b.add(events.StateRunning)
				b.fill(id)
				b.engine.Plan(c.faults...)
				if c.sink != nil {
					b.sink.Fail(b, c.sink.op, c.sink.nth, c.sink.err)
				}
				_, err := b.run(b.Context(), b.task(id, events.QuiescePause))
				b.wantError(err, c.step, c.code, !c.final)
				b.wantNothingLeft(id, events.StateRunning)
			})
		})
	}
}
