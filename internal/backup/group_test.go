package backup_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
	"holdfast.io/holdfast/internal/undo"
)

// member is a container of a set.
type member struct {
	state   events.State
	quiesce events.Quiesce
}

// set adds containers, and returns their ids and their tasks, in order.
func (b *bench) set(members ...member) (ids []string, tasks []backup.Task) {
	for i, m := range members {
		id := b.engine.Add(enginetest.Spec{Name: fmt.Sprint("c", i), Image: baseImage}, m.state)
		task := b.task(id, m.quiesce)
		task.Item.Name, task.Point = fmt.Sprint("c", i), fmt.Sprintf("20260102T150405Z-%08x", i)
		ids, tasks = append(ids, id), append(tasks, task)
	}
	return ids, tasks
}

var three = []member{
	{events.StateRunning, events.QuiescePause}, {events.StateRunning, events.QuiesceStop}, {events.StateRunning, events.QuiescePause},
}

// storeAll stores a whole set, or reports the error of each member.
func (b *bench) storeAll(set []*backup.Captured) (results []*backup.Result, errs []error) {
	for _, c := range set {
		result, err := only(c.Store(b.Context()))
		results, errs = append(results, result), append(errs, err)
	}
	return results, errs
}

// wantCodes holds the errors of the members of a set; an empty code means none.
func (b *bench) wantCodes(errs []error, want ...events.Code) {
	b.Helper()
	for i, err := range errs {
		var got events.Code
		if failure, ok := err.(*failure.Error); ok {
			got = failure.Code
		} else if err != nil {
			b.Errorf("the error of member %d is %v (%T), want an *failure.Error", i, err, err)
		}
		if got != want[i] {
			b.Errorf("member %d ended with %q (%v), want %q", i, got, err, want[i])
		}
	}
}

// wantSet holds that nothing temporary is left of a set, and that its members are
// as they were.
func (b *bench) wantSet(ids []string, members []member) {
	b.Helper()
	for i, id := range ids {
		b.wantAsItWas(id, members[i].state)
		if release, ok := b.sweeper.Locks.TryAcquire(undo.Container(id)); !ok {
			b.Errorf("the lock of member %d is held", i)
		} else {
			release()
		}
	}
}

func TestCapture(t *testing.T) {
	withBench(t, func(b *bench) {
		members := append([]member{
			{events.StateRunning, events.QuiesceNone}, {events.StatePaused, events.QuiescePause}, {events.StateExited, events.QuiesceStop},
		}, three...)
		ids, tasks := b.set(members...)
		var mu sync.Mutex
		var order []string
		at := func(what, id string) func() {
			return func() {
				mu.Lock()
				order = append(order, what+fmt.Sprint(slices.Index(ids, id)))
				mu.Unlock()
				time.Sleep(time.Second)
			}
		}
		for _, id := range ids {
			for _, op := range []enginetest.Op{enginetest.Stop, enginetest.Start, enginetest.Pause, enginetest.Unpause} {
				stands := op == enginetest.Stop || op == enginetest.Start
				i := slices.Index(ids, id)
				if i < 3 || stands != (members[i].quiesce == events.QuiesceStop) {
					continue
				}
				b.engine.Plan(enginetest.Fault{Op: op, On: id, During: at(string(op), id)})
			}
			b.engine.Plan(enginetest.Fault{Op: enginetest.Commit, On: id, During: at("Commit", id)})
		}
		began := time.Now().UTC()
		set := b.runner.Capture(b.Context(), tasks)
		captured := time.Since(began)
		results, errs := b.storeAll(set)
		b.wantCodes(errs, "", "", "", "", "", "")
		slices.Sort(order[3:9]) // the commits
		if want := []string{"Pause3", "Stop4", "Pause5", "Commit0", "Commit1", "Commit2", "Commit3", "Commit4", "Commit5",
			"Unpause5", "Start4", "Unpause3"}; !slices.Equal(order, want) {
			b.Errorf("the Engine did %q, want %q", order, want)
		}
		if captured != 8*time.Second { // 3 to quiesce, two rounds of commits, 3 to resume
			b.Errorf("it took %s", captured)
		}
		for i, r := range results {
			m := r.Manifest
			if !m.SnapshotTime.Equal(began.Add(3 * time.Second)) {
				b.Errorf("member %d shows %s after the beginning, want 3s", i, m.SnapshotTime.Sub(began))
			}
			// The first to be quiesced is the last to be resumed.
			if want := []float64{0, 0, 0, 7000, 5000, 3000}[i]; m.NotRunningMillis != want {
				b.Errorf("member %d did not run for %v ms, want %v", i, m.NotRunningMillis, want)
			}
		}
		b.wantSet(ids, members)
	})
}

// TestCaptureFails has one member fail at every step: then none is stored.
func TestCaptureFails(t *testing.T) {
	const all = events.CodeNotTogether
	broken := errors.New("broken")
	cases := map[string]struct {
		plan func(b *bench, ids []string, tasks []backup.Task)
		want events.Code // of the member in the middle
	}{
		"it is known to": {func(_ *bench, _ []string, tasks []backup.Task) {
			tasks[1].Item.Code, tasks[1].Item.Message = events.CodeBadLabel, "a bad label"
		}, events.CodeBadLabel},
		"it is gone":             {func(b *bench, ids []string, _ []backup.Task) { b.engine.Remove(ids[1]) }, events.CodeNotFound},
		"it cannot be watched":   {fault(enginetest.Fault{Op: enginetest.Watch, Err: broken}), events.CodeEngine},
		"it cannot be stopped":   {fault(enginetest.Fault{Op: enginetest.Stop, Err: broken, Times: 3}), events.CodeEngine},
		"it is not known to be":  {fault(enginetest.Fault{Op: enginetest.Stop, Err: broken, Late: true, Times: 3}), events.CodeEngine},
		"it cannot be committed": {fault(enginetest.Fault{Op: enginetest.Commit, Err: broken, Times: 3}), events.CodeEngine},
		"the Engine is full":     {fault(enginetest.Fault{Op: enginetest.Commit, Err: engine.ErrEngineFull}), events.CodeEngineFull},
		"it cannot be started":   {fault(enginetest.Fault{Op: enginetest.Start, Err: broken, Times: 100}), events.CodeNotRestored},
		"its account breaks off": {fault(enginetest.Fault{Op: enginetest.Watch, Cut: 1}), events.CodeNotQuiesced},
		"it runs in the midst": {func(b *bench, ids []string, _ []backup.Task) { b.inTheMidst(ids[1], b.engine.Restart) },
			events.CodeNotQuiesced},
		"it cannot be recorded":   {func(_ *bench, _ []string, tasks []backup.Task) { tasks[1].Ledger = ledger(refuse) }, events.CodeInternal},
		"its sink is unavailable": {func(_ *bench, _ []string, tasks []backup.Task) { tasks[1].Legs = legs(vanished()) }, events.CodeSinkUnavailable},
		"its answer is lost": {fault(enginetest.Fault{Op: enginetest.Commit, Err: engine.ErrEngineUnavailable, GoesOn: time.Minute}),
			events.CodeEngineUnavailable},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				ids, tasks := b.set(three...)
				c.plan(b, ids, tasks)
				_, errs := b.storeAll(b.runner.Capture(b.Context(), tasks))
				b.wantCodes(errs, all, c.want, all)
				away := c.want == events.CodeSinkUnavailable || c.want == events.CodeEngineUnavailable
				for i, err := range errs {
					if errors.Is(err, failure.ErrAway) != away {
						b.Errorf("member %d is to be tried again: %v, want %v", i, !away, away)
					}
				}
				if c.want == events.CodeNotFound {
					ids = slices.Delete(ids, 1, 2)
				}
				b.wantSet(ids, three)
				if contents := b.sink.Contents(); len(contents) > 0 {
					b.Errorf("the sink holds %d objects", len(contents))
				}
			})
		})
	}
}

// fault plans a fault of the member in the middle.
func fault(f enginetest.Fault) func(b *bench, ids []string, tasks []backup.Task) {
	return func(b *bench, ids []string, _ []backup.Task) {
		f.On = ids[1]
		b.engine.Plan(f)
	}
}

func refuse(context.Context, undo.Record) error { return errors.New("refused") }

func vanished() sink.Sink {
	s := sinktest.NewMemory()
	s.Vanish()
	return s
}

// inTheMidst has a user do something to a container when it is committed already,
// and others are not yet.
func (b *bench) inTheMidst(id string, do func(id string)) {
	b.engine.Plan(enginetest.Fault{Op: enginetest.Commit, On: id},
		enginetest.Fault{Op: enginetest.Commit, During: func() {
			time.Sleep(time.Second)
			do(id)
			time.Sleep(time.Second)
		}})
}

// A member that does not run again, and one whose call hangs, do not keep the others
// from running again.
func TestCaptureResumesTheOthers(t *testing.T) {
	for name, f := range map[string]enginetest.Fault{
		"it fails":  {Err: errors.New("broken"), Times: 100},
		"it hangs":  {Hang: true},
		"it panics": {During: func() { panic("a fault") }},
	} {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				ids, tasks := b.set(three...)
				f.Op, f.On = enginetest.Unpause, ids[2]
				b.engine.Plan(f)
				began := time.Now()
				resumed := make([]time.Duration, 2)
				b.engine.Plan(enginetest.Fault{Op: enginetest.Unpause, On: ids[0], During: func() { resumed[0] = time.Since(began) }},
					enginetest.Fault{Op: enginetest.Start, On: ids[1], During: func() { resumed[1] = time.Since(began) }})
				_, errs := b.storeAll(b.runner.Capture(b.Context(), tasks))
				for i, after := range resumed {
					if after > 6*time.Second {
						b.Errorf("member %d was resumed after %s", i, after)
					}
				}
				if errs[2] == nil {
					b.Error("the member that does not run again was stored")
				}
				b.wantSet(ids, three)
			})
		})
	}
}

// What was not touched yet is left as its user wants it.
func TestCaptureThatTouchesNothing(t *testing.T) {
	withBench(t, func(b *bench) {
		ids, tasks := b.set(three...)
		b.engine.Plan(enginetest.Fault{Op: enginetest.Inspect, On: ids[2], Err: errors.New("broken"), During: func() {
			b.engine.Freeze(ids[0])
			b.engine.Kill(ids[1])
		}})
		_, errs := b.storeAll(b.runner.Capture(b.Context(), tasks))
		b.wantCodes(errs, events.CodeNotTogether, events.CodeNotTogether, events.CodeEngine)
		members := slices.Clone(three)
		members[0].state, members[1].state = events.StatePaused, events.StateExited
		b.wantSet(ids, members)
	})
}

// A container that its user had paused must stay paused until the end.
func TestCaptureWithOneThatItsUserResumes(t *testing.T) {
	for _, state := range []events.State{events.StatePaused, events.StateExited} {
		withBench(t, func(b *bench) {
			members := []member{{events.StateRunning, events.QuiescePause}, {state, events.QuiescePause}, {events.StateRunning, events.QuiescePause}}
			ids, tasks := b.set(members...)
			b.inTheMidst(ids[1], b.engine.Restart)
			_, errs := b.storeAll(b.runner.Capture(b.Context(), tasks))
			b.wantCodes(errs, events.CodeNotTogether, events.CodeNotQuiesced, events.CodeNotTogether)
			members[1].state = events.StateRunning
			b.wantSet(ids, members)
		})
	}
}

// What an earlier attempt stored stays; the time of the others has passed.
func TestCaptureAgain(t *testing.T) {
	withBench(t, func(b *bench) {
		ids, tasks := b.set(three...)
		set := b.runner.Capture(b.Context(), tasks)
		if _, err := only(set[1].Store(b.Context())); err != nil {
			b.Fatal(err)
		}
		for _, c := range set {
			c.Discard()
		}
		b.wantSet(ids, three)
		commits := b.engine.Calls(enginetest.Commit)
		for i := range tasks {
			tasks[i].Attempt = 2
		}
		results, errs := b.storeAll(b.runner.Capture(b.Context(), tasks))
		b.wantCodes(errs, events.CodeNotTogether, "", events.CodeNotTogether)
		if errs[0].(*failure.Error).Retryable || results[1].Manifest.Attempt != 1 {
			b.Errorf("%v can be retried, or attempt %d is stored", errs[0], results[1].Manifest.Attempt)
		}
		if b.engine.Calls(enginetest.Commit) != commits {
			b.Error("something was committed again")
		}
		b.wantSet(ids, three)
	})
	withBench(t, func(b *bench) { // all are stored
		ids, tasks := b.set(three...)
		_, errs := b.storeAll(b.runner.Capture(b.Context(), tasks))
		b.wantCodes(errs, "", "", "")
		results, errs := b.storeAll(b.runner.Capture(b.Context(), tasks))
		b.wantCodes(errs, "", "", "")
		if len(results) != 3 || b.engine.Calls(enginetest.Commit) != 3 {
			b.Errorf("there are %d results of %d commits", len(results), b.engine.Calls(enginetest.Commit))
		}
		b.wantSet(ids, three)
	})
}

// After the capture each is stored for itself, and an image with them.
func TestCaptureStoresEachForItself(t *testing.T) {
	withBench(t, func(b *bench) {
		ids, tasks := b.set(three...)
		image := b.task("", "")
		image.Item = events.PlannedItem{Item: events.Item{Kind: events.ItemImage, ID: b.engine.AddImage(), Name: "db"}}
		set := b.runner.Capture(b.Context(), append(tasks, image))
		b.sink.Fail(b, sinktest.OpPublish, 2, errors.New("broken"))
		_, errs := b.storeAll(set)
		b.wantCodes(errs, "", events.CodeSinkError, "", "")
		b.wantSet(ids, three)
	})
}

// A set that is told to end is left at once, wherever it is.
func TestCaptureCancelled(t *testing.T) {
	for _, op := range []enginetest.Op{enginetest.Watch, enginetest.Stop, enginetest.Pause, enginetest.Commit, enginetest.Unpause} {
		t.Run(string(op), func(t *testing.T) {
			withBench(t, func(b *bench) {
				ids, tasks := b.set(three...)
				ctx, cancel := context.WithCancelCause(b.Context())
				var cancelled time.Time
				b.engine.Plan(enginetest.Fault{Op: op, During: func() {
					cancelled = time.Now()
					cancel(backup.ErrCancelled)
					time.Sleep(time.Minute)
				}})
				_, errs := b.storeAll(b.runner.Capture(ctx, tasks))
				if took := time.Since(cancelled); took > time.Second {
					b.Errorf("it returned after %s", took)
				}
				b.wantCodes(errs, events.CodeCancelled, events.CodeCancelled, events.CodeCancelled)
				time.Sleep(2 * time.Minute) // for the call that does not heed it
				b.wantSet(ids, three)
				if contents := b.sink.Contents(); len(contents) > 0 {
					b.Errorf("the sink holds %d objects", len(contents))
				}
			})
		})
	}
}

// A set that is told to end while it waits for another backup of one of its containers
// is cancelled whole, and not for what the others did.
func TestCaptureCancelledAsItWaits(t *testing.T) {
	for cause, want := range map[error]events.Code{backup.ErrCancelled: events.CodeCancelled, backup.ErrTimeout: events.CodeTimeout} {
		withBench(t, func(b *bench) {
			ids, tasks := b.set(three...)
			release, err := b.sweeper.Locks.Acquire(b.Context(), undo.Container(ids[1]))
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancelCause(b.Context())
			time.AfterFunc(time.Second, func() { cancel(cause) })
			_, errs := b.storeAll(b.runner.Capture(ctx, tasks))
			b.wantCodes(errs, want, want, want)
			for i, err := range errs {
				if !errors.Is(err, cause) {
					b.Errorf("member %d ended with %v, which does not say why", i, err)
				}
			}
			release()
			b.wantSet(ids, three)
		})
	}
}

// Two sets of the same containers, whatever their order, come one after the other.
func TestTwoSetsOfTheSameContainers(t *testing.T) {
	withBench(t, func(b *bench) {
		ids, tasks := b.set(three...)
		backwards := slices.Clone(tasks)
		slices.Reverse(backwards)
		for i := range backwards {
			backwards[i].Point = fmt.Sprintf("20260102T150405Z-1%07x", i)
		}
		b.engine.Plan(enginetest.Fault{Op: enginetest.Pause, Times: 4, During: func() { time.Sleep(time.Second) }})
		var both sync.WaitGroup
		for _, set := range [][]backup.Task{tasks, backwards} {
			both.Go(func() {
				_, errs := b.storeAll(b.runner.Capture(b.Context(), set))
				b.wantCodes(errs, "", "", "")
			})
		}
		both.Wait()
		b.wantSet(ids, three)
	})
}
