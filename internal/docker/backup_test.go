package docker_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
	"holdfast.io/holdfast/internal/transport"
	"holdfast.io/holdfast/internal/undo"
	"holdfast.io/holdfast/internal/undo/undotest"
)

// ledger is called when an item begins.
type ledger func()

// Begin implements [undo.Ledger].
func (l ledger) Begin(context.Context, undo.Record) error { l(); return nil }

// worker is what backs up on a real Engine.
type worker struct {
	*bench
	backup.Runner
	sink  *sinktest.Memory
	point string
}

// Open implements [undo.Sinks].
// errCancelled is the cause of a job that somebody cancels.
var errCancelled = errors.New("cancelled")

func (w *worker) Open(context.Context, string) (sink.Sink, error) { return w.sink, nil }

func newWorker(t *testing.T) *worker {
	w := &worker{bench: openBench(t), sink: sinktest.NewMemory(), point: fmt.Sprintf("20260102T150405Z-%08x", rand.Uint32())}
	sweeper := &undo.Sweeper{Engine: w.bench, Locks: &undo.Locks{}, Store: &undotest.Memory{}, Sinks: w, Log: zaptest.NewLogger(t)}
	w.Runner = backup.Runner{Engine: w.bench, Sweeper: sweeper, Transport: &transport.Save{Engine: w.bench}, Version: "test", Log: sweeper.Log}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { sweeper.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return w
}

// task makes a running container, and the task to back it up.
func (w *worker) task(t *testing.T, quiesce events.Quiesce) backup.Task {
	t.Helper()
	name := fmt.Sprintf("hft%08x", rand.Uint32())
	w.MakeImage(t, name+":v1")
	id := w.Make(t, enginetest.Spec{Name: name, Image: name + ":v1"})
	if err := w.bench.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	return backup.Task{
		Host: "host", Job: "abcdefghijklmn27", Attempt: 1, Legs: []backup.Leg{{Sink: "default", Open: func(context.Context) (sink.Sink, error) { return w.sink, nil }}},
		Point:    fmt.Sprintf("%s%04x", w.point[:21], rand.Uint32()%0x10000),
		Request:  point.Request{Source: "/test", ID: "1", CorrelationID: "1"},
		Item:     events.PlannedItem{Item: events.Item{Kind: events.ItemContainer, ID: id, Name: name}, Quiesce: quiesce},
		Progress: func(events.Step, int64, int64, int64) {},
	}
}

// wantAsBefore holds that all is undone, and that the containers run.
func (w *worker) wantAsBefore(t *testing.T, tasks ...backup.Task) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := w.Sweeper.Wait(ctx); err != nil {
		t.Errorf("%q are not undone: %v", w.Sweeper.Left(), err)
	}
	images, err := w.Images(ctx)
	if err != nil {
		t.Fatal(err)
	}
	dangling, err := w.Dangling(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if c, err := w.bench.Inspect(ctx, task.Item.ID); err != nil || c.State != events.StateRunning {
			t.Errorf("container %s is %+v, %v", task.Item.Name, c, err)
		}
		for _, img := range images {
			if slices.ContainsFunc(img.References, func(ref string) bool { return strings.Contains(ref, task.Point) }) {
				t.Errorf("the snapshot %q is left", img.References)
			}
		}
		for _, img := range dangling {
			if strings.Contains(img.Comment, task.Point) {
				t.Errorf("the snapshot %s is left", img.ID)
			}
		}
	}
}

// Several containers show one point in time.
func TestTogether(t *testing.T) {
	w := newWorker(t)
	tasks := []backup.Task{w.task(t, events.QuiescePause), w.task(t, events.QuiesceStop), w.task(t, events.QuiescePause),
		w.task(t, events.QuiesceNone)}
	var times []time.Time
	for _, c := range w.Capture(t.Context(), tasks) {
		outcome := c.Store(t.Context())[0]
		result, err := outcome.Result, outcome.Err
		if err != nil {
			t.Fatal(err)
		}
		times = append(times, result.Manifest.SnapshotTime)
		if quiesced := result.Manifest.NotRunningMillis > 0; quiesced != (result.Manifest.Quiesce != events.QuiesceNone) {
			t.Errorf("with quiesce %s it did not run for %v ms", result.Manifest.Quiesce, result.Manifest.NotRunningMillis)
		}
	}
	if len(slices.Compact(times)) != 1 {
		t.Errorf("the points show %v, want one time", times)
	}
	w.wantAsBefore(t, tasks...)
}

// Whatever the Engine is doing when a job is cancelled, it is undone.
func TestCancelled(t *testing.T) {
	for _, quiesce := range []events.Quiesce{events.QuiescePause, events.QuiesceStop} {
		for _, after := range []time.Duration{20 * time.Millisecond, 300 * time.Millisecond} {
			t.Run(fmt.Sprint(quiesce, after), func(t *testing.T) {
				w := newWorker(t)
				task := w.task(t, quiesce)
				w.Write(t, task.Item.ID, "/large", strings.Repeat("0123456789abcdef", 4<<20))
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				var cancelled time.Time
				task.Ledger = ledger(func() {
					time.AfterFunc(after, func() {
						cancelled = time.Now()
						cancel(errCancelled)
					})
				})
				err := w.Run(ctx, task)[0].Err
				if err != nil && !errors.Is(err, errCancelled) {
					t.Errorf("it failed: %v", err)
				}
				if took := time.Since(cancelled); err != nil && took > time.Second {
					t.Errorf("it returned %s after it was cancelled", took)
				}
				w.wantAsBefore(t, task)
			})
		}
	}
}
