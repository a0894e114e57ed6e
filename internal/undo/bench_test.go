package undo_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
	"holdfast.io/holdfast/internal/undo"
	"holdfast.io/holdfast/internal/undo/undotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	baseImage = "app:v1"
	pointID   = "20260102T150405Z-0123abcd"
	jobID     = "abcdefghijklmn27"
)

// bench is a Sweeper with an Engine and a sink in memory.
type bench struct {
	*testing.T
	engine  *enginetest.Fake
	sink    *sinktest.Memory
	store   *undotest.Memory
	sweeper *undo.Sweeper
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

// newWorker makes a Sweeper as another process has it, which knows nothing but what
// is in the store.
func (b *bench) newWorker() {
	b.sweeper = &undo.Sweeper{Engine: b.engine, Locks: &undo.Locks{}, Store: b.store, Sinks: sinks{"default": b.sink},
		Log: zaptest.NewLogger(b)}
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

// died is a record of an attempt of a process that is dead, as of now.
func (b *bench) died(id string, attempt uint64, quiesce events.Quiesce) undo.Record {
	b.Helper()
	c, err := b.engine.Inspect(b.Context(), id)
	if err != nil {
		b.Fatal(err)
	}
	r := undo.Record{Version: undo.Version, ID: undo.ID(pointID, attempt), Job: jobID, Attempt: attempt,
		Item: events.Item{Kind: events.ItemContainer, ID: id, Name: "Web"}, Time: time.Now()}
	ran := c.State == events.StateRunning || c.State == events.StateRestarting && quiesce == events.QuiesceStop
	if quiesce != events.QuiesceNone && ran {
		r.Actions = append(r.Actions, undo.Action{Resume: &undo.Resume{Container: id, Quiesce: quiesce, Before: c.State, StartedAt: c.StartedAt}})
	}
	r.Actions = append(r.Actions,
		undo.Action{RemoveImage: &undo.Image{Reference: engine.SnapshotReference(r.ID)}},
		undo.Action{Unstage: &undo.Staging{Sink: "default", Dir: point.Dir("host", events.ItemContainer, "Web", pointID),
			Name: r.ID[len(pointID)+1:]}})
	return r
}

// hold makes the container's pause one of its own.
func hold(r *undo.Record) {
	for _, a := range r.Actions {
		if a.Resume != nil {
			a.Resume.Held = true
		}
	}
}

// committed says that the commit has ended and the container was resumed.
func committed(r *undo.Record) {
	r.Drop(undo.IsResume)
	r.EndCommit(snapshot(*r), "")
}

func snapshot(r undo.Record) string { return engine.SnapshotReference(r.ID) }

func staging(r undo.Record) *undo.Staging {
	for _, a := range r.Actions {
		if a.Unstage != nil {
			return a.Unstage
		}
	}
	return nil
}

// pausesByCommit reports whether the commit of the attempt pauses the container.
func pausesByCommit(r undo.Record) bool {
	for _, a := range r.Actions {
		if a.Resume != nil {
			return a.Resume.Quiesce == events.QuiescePause && !a.Resume.Held
		}
	}
	return false
}

// wantNothingLeft holds what must be when all is undone: nothing staged, no
// snapshot, and the container as it was.
func (b *bench) wantNothingLeft(id string, state events.State) {
	b.Helper()
	b.wantAsItWas(id, state)
	if contents := slices.Sorted(maps.Keys(b.sink.Contents())); len(contents) > 0 {
		b.Errorf("the sink holds %q, want nothing", contents)
	}
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
