package backup_test

import (
	"context"
	"errors"
	"io"
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

// TestRunWithoutItsEngine has the Engine go at every step, and come back.
func TestRunWithoutItsEngine(t *testing.T) {
	gone := func(b *bench) func() { return func() { b.engine.SetAway(true) } }
	cases := map[string]struct {
		plan func(b *bench, task *backup.Task)
		step events.Step
	}{
		"before": {func(b *bench, _ *backup.Task) { gone(b)() }, events.StepInspect},
		"as it is inspected": {func(b *bench, _ *backup.Task) {
			b.engine.Plan(enginetest.Fault{Op: enginetest.Inspect, During: gone(b)})
		}, events.StepInspect},
		"in the commit": {func(b *bench, _ *backup.Task) {
			b.engine.Plan(enginetest.Fault{Op: enginetest.Commit, During: gone(b)})
		}, events.StepCommit},
		"in a commit that fails for another reason": {func(b *bench, _ *backup.Task) {
			b.engine.Plan(enginetest.Fault{Op: enginetest.Commit, During: gone(b), Err: errors.New("shutting down")})
		}, events.StepCommit},
		"as the snapshot is inspected": {func(b *bench, _ *backup.Task) {
			b.engine.Plan(enginetest.Fault{Op: enginetest.InspectImage, After: 2, During: gone(b)})
		}, events.StepSave},
		"in the save, which ends as if it was whole": {func(b *bench, task *backup.Task) {
			task.Progress = func(_ events.Step, read, _, _ int64) {
				if read > 1<<20 {
					gone(b)()
				}
			}
		}, events.StepSave},
		"in the save, which breaks off": {func(b *bench, task *backup.Task) {
			b.engine.Plan(enginetest.Fault{Op: enginetest.Save, Cut: 3 << 20, Err: io.ErrUnexpectedEOF})
			task.Progress = func(_ events.Step, read, _, _ int64) {
				if read > 1<<20 {
					gone(b)()
				}
			}
		}, events.StepSave},
	}
	for name, c := range cases {
		for _, quiesce := range []events.Quiesce{events.QuiescePause, events.QuiesceStop} {
			t.Run(name+", "+string(quiesce), func(t *testing.T) {
				withBench(t, func(b *bench) {
					id := b.add(events.StateRunning)
					b.fill(id)
					task := b.task(id, quiesce)
					c.plan(b, &task)
					began := time.Now()
					_, err := b.run(b.Context(), task)
					b.wantError(err, c.step, events.CodeEngineUnavailable, true)
					if !errors.Is(err, failure.ErrAway) {
						b.Errorf("%v is not ErrAway", err)
					}
					if took := time.Since(began); took > 10*time.Second {
						b.Errorf("it took %s to find out", took)
					}
					time.Sleep(time.Hour)
					b.engine.SetAway(false)
					b.wantNothingLeft(id, events.StateRunning)
				})
			})
		}
	}
}

// The Engine goes when the point is there: that counts.
func TestRunWithoutItsEngineInTheEnd(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		b.engine.Plan(enginetest.Fault{Op: enginetest.RemoveImage, During: func() { b.engine.SetAway(true) }})
		result, err := b.run(b.Context(), b.task(id, events.QuiescePause))
		if err != nil {
			b.Fatal(err)
		}
		b.wantStored(result)
		if left := b.sweeper.Left(); len(left) != 1 {
			b.Errorf("left are %q", left)
		}
		b.engine.SetAway(false)
		b.wantAsItWas(id, events.StateRunning)
	})
}

// A commit whose answer was lost makes its image all the same, later.
func TestRunWithACommitThatGoesOn(t *testing.T) {
	for _, quiesce := range []events.Quiesce{events.QuiescePause, events.QuiesceStop, events.QuiesceNone} {
		t.Run(string(quiesce), func(t *testing.T) {
			withBench(t, func(b *bench) {
				id := b.add(events.StateRunning)
				b.engine.Plan(enginetest.Fault{Op: enginetest.Commit, Err: engine.ErrEngineUnavailable, GoesOn: 8 * time.Minute})
				_, err := b.run(b.Context(), b.task(id, quiesce))
				b.wantError(err, events.StepCommit, events.CodeEngineUnavailable, true)
				time.Sleep(time.Second)
				if quiesce != events.QuiescePause && b.engine.State(id) != events.StateRunning {
					b.Errorf("the container is %s", b.engine.State(id))
				}
				b.wantNothingLeft(id, events.StateRunning)
				time.Sleep(10 * time.Minute)
				b.wantNothingLeft(id, events.StateRunning)
			})
		})
	}
}

// A container that is made anew under its name is another one.
func TestRunOfAContainerThatIsReplacedMeanwhile(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		var other string
		b.engine.Plan(enginetest.Fault{Op: enginetest.Commit, Err: errors.New("removal is in progress"), During: func() {
			b.engine.Remove(id)
			other = b.add(events.StateRunning)
			b.engine.Freeze(other)
		}})
		_, err := b.run(b.Context(), b.task(id, events.QuiescePause))
		b.wantError(err, events.StepCommit, events.CodeNotFound, false)
		b.wantNothingLeft(id, "")
		if got := b.engine.State(other); got != events.StatePaused {
			b.Errorf("the new container is %s", got)
		}
	})
}

// A sink that is away is worth another try, one that is full is not.
func TestRunWithoutItsSink(t *testing.T) {
	for err, away := range map[error]bool{sink.ErrUnavailable: true, sink.ErrFull: false} {
		withBench(t, func(b *bench) {
			id := b.add(events.StateRunning)
			b.sink.Fail(b, sinktest.OpWrite, 1, err)
			b.sink.Fail(b, sinktest.OpDiscard, 1, err)
			_, got := b.run(b.Context(), b.task(id, events.QuiescePause))
			if errors.Is(got, failure.ErrAway) != away {
				b.Errorf("%v is away: %v, want %v", got, !away, away)
			}
			b.wantNothingLeft(id, events.StateRunning)
		})
	}
}

// A stop that is under way is not left half done.
func TestRunCancelledInTheStop(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		ctx, cancel := context.WithCancelCause(b.Context())
		b.engine.Plan(enginetest.Fault{Op: enginetest.Stop, During: func() {
			cancel(backup.ErrCancelled)
			time.Sleep(10 * time.Second)
		}})
		began := time.Now()
		_, err := b.run(ctx, b.task(id, events.QuiesceStop))
		b.wantError(err, events.StepCommit, events.CodeCancelled, true)
		if took := time.Since(began); took > time.Second {
			b.Errorf("it returned after %s", took)
		}
		time.Sleep(11 * time.Second)
		if got := b.engine.State(id); got != events.StateRunning {
			b.Errorf("a second after the stop the container is %s", got)
		}
		b.wantNothingLeft(id, events.StateRunning)
		if b.engine.Calls(enginetest.Commit) > 0 {
			b.Error("it was committed")
		}
	})
}

// Nobody else gets a container while a commit of it goes on that nobody waits for.
func TestRunCancelledKeepsTheContainer(t *testing.T) {
	for _, quiesce := range []events.Quiesce{events.QuiescePause, events.QuiesceStop, events.QuiesceNone} {
		withBench(t, func(b *bench) {
			id := b.add(events.StateRunning)
			ctx, cancel := context.WithCancelCause(b.Context())
			b.engine.Plan(enginetest.Fault{Op: enginetest.Commit, During: func() {
				cancel(backup.ErrCancelled)
				time.Sleep(time.Minute)
			}})
			began := time.Now()
			_, err := b.run(ctx, b.task(id, quiesce))
			b.wantError(err, events.StepCommit, events.CodeCancelled, true)
			release, err := b.sweeper.Locks.Acquire(b.Context(), undo.Container(id))
			if err != nil {
				b.Fatal(err)
			}
			release()
			if took := time.Since(began); took < time.Minute || took > 65*time.Second {
				b.Errorf("%s: it is free after %s", quiesce, took)
			}
			b.wantNothingLeft(id, events.StateRunning)
		})
	}
}

// A point that is there is the result, also if the job is cancelled then.
func TestRunCancelledInTheEnd(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		ctx, cancel := context.WithCancelCause(b.Context())
		b.engine.Plan(enginetest.Fault{Op: enginetest.RemoveImage, Hang: true, During: func() { cancel(backup.ErrCancelled) }})
		result, err := b.run(ctx, b.task(id, events.QuiescePause))
		if err != nil {
			b.Fatal(err)
		}
		b.wantStored(result)
		b.wantAsItWas(id, events.StateRunning)
	})
}
