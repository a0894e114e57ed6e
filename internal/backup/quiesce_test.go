package backup_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/undo"
)

func TestRunKeepsAPausedContainerPaused(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StatePaused)
		b.engine.Plan(enginetest.Fault{Op: enginetest.Commit, Err: errors.New("broken"), Late: true, Times: 3})
		_, err := b.run(b.Context(), b.task(id, events.QuiescePause))
		b.wantError(err, events.StepCommit, events.CodeEngine, true)
		b.wantNothingLeft(id, events.StatePaused)
		if calls := b.engine.Calls(enginetest.Unpause); calls > 0 {
			b.Error("it was resumed meanwhile")
		}
	})
}

// What was not to be paused is not resumed either: its user paused it meanwhile.
func TestRunLeavesAloneWhatIsNotToBeQuiesced(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		b.engine.Plan(enginetest.Fault{Op: enginetest.Commit, Err: errors.New("broken"), Times: 3, During: func() { b.engine.Freeze(id) }})
		_, err := b.run(b.Context(), b.task(id, events.QuiesceNone))
		b.wantError(err, events.StepCommit, events.CodeEngine, true)
		b.wantNothingLeft(id, events.StatePaused)
	})
}

func TestRunStartsAgainWhatItStopped(t *testing.T) {
	broken := errors.New("broken")
	cases := map[string]struct {
		faults []enginetest.Fault
		code   events.Code // empty: it succeeds
	}{
		"the commit fails":           {[]enginetest.Fault{{Op: enginetest.Commit, Err: broken, Times: 3}}, events.CodeEngine},
		"the stop fails for us":      {[]enginetest.Fault{{Op: enginetest.Stop, Err: broken, Late: true, Times: 3}}, events.CodeEngine},
		"the start takes some tries": {[]enginetest.Fault{{Op: enginetest.Start, Err: broken, Times: 3}}, ""},
		"both": {[]enginetest.Fault{{Op: enginetest.Commit, Err: broken, Times: 3},
			{Op: enginetest.Start, Err: broken, Times: 3}}, events.CodeEngine},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				id := b.add(events.StateRunning)
				b.engine.Plan(c.faults...)
				_, err := b.run(b.Context(), b.task(id, events.QuiesceStop))
				if c.code == "" {
					if err != nil {
						b.Fatal(err)
					}
					b.wantAsItWas(id, events.StateRunning)
					return
				}
				b.wantError(err, events.StepCommit, c.code, true)
				b.wantNothingLeft(id, events.StateRunning)
			})
		})
	}
}

// What does not run again is reported, and retried until it does.
func TestRunReportsWhatDoesNotRunAgain(t *testing.T) {
	const often = 100 // more than an item tries
	broken := errors.New("broken")
	cases := map[string]struct {
		quiesce events.Quiesce
		faults  []enginetest.Fault
		state   events.State // when the item has failed
	}{
		"not resumed": {events.QuiescePause, []enginetest.Fault{
			{Op: enginetest.Commit, LeavePaused: true}, {Op: enginetest.Unpause, Err: broken, Times: often}}, events.StatePaused},
		"not resumed, and not committed": {events.QuiescePause, []enginetest.Fault{
			{Op: enginetest.Commit, Err: broken, LeavePaused: true}, {Op: enginetest.Unpause, Err: broken, Times: often}}, events.StatePaused},
		"not started": {events.QuiesceStop, []enginetest.Fault{{Op: enginetest.Start, Err: broken, Times: often}}, events.StateExited},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				id := b.add(events.StateRunning)
				b.engine.Plan(c.faults...)
				_, err := b.run(b.Context(), b.task(id, c.quiesce))
				b.wantError(err, events.StepCommit, events.CodeNotRestored, true)
				if !errors.Is(err, broken) {
					b.Errorf("%q does not say why", err)
				}
				if got := b.engine.State(id); got != c.state {
					b.Errorf("the container is %q, want %q", got, c.state)
				}
				b.wantNothingLeft(id, events.StateRunning)
			})
		})
	}
}

func TestRunOfAContainerThatIsRemovedMeanwhile(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		b.engine.Plan(enginetest.Fault{Op: enginetest.Commit, During: func() { b.engine.Remove(id) }})
		_, err := b.run(b.Context(), b.task(id, events.QuiescePause))
		b.wantError(err, events.StepCommit, events.CodeNotFound, false)
		b.wantNothingLeft(id, "")
	})
}

func TestRunRefuses(t *testing.T) {
	cases := map[string]struct {
		spec    enginetest.Spec
		state   events.State
		quiesce events.Quiesce
		code    events.Code
	}{
		"dead by now":      {enginetest.Spec{}, events.StateDead, events.QuiescePause, events.CodeUncommittable},
		"removing by now":  {enginetest.Spec{}, events.StateRemoving, events.QuiesceNone, events.CodeUncommittable},
		"would be removed": {enginetest.Spec{AutoRemove: true}, events.StateRunning, events.QuiesceStop, events.CodeStopWouldRemove},
		"would be replaced": {enginetest.Spec{Labels: map[string]string{"com.docker.swarm.task.id": "x"}}, events.StateRunning,
			events.QuiesceStop, events.CodeStopWouldRemove},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				c.spec.Image = baseImage
				id := b.engine.Add(c.spec, c.state)
				_, err := b.run(b.Context(), b.task(id, c.quiesce))
				b.wantError(err, events.StepInspect, c.code, false)
				b.wantNothingLeft(id, c.state)
				if b.engine.Calls(enginetest.Commit)+b.engine.Calls(enginetest.Stop) > 0 {
					b.Error("it was touched")
				}
			})
		})
	}
}

func TestRunOfAnItemThatIsKnownToFail(t *testing.T) {
	withBench(t, func(b *bench) {
		task := b.task("c", events.QuiescePause)
		task.Legs = legs(nil)
		task.Item.Code, task.Item.Message = events.CodeBadLabel, "a bad label"
		_, err := b.run(b.Context(), task)
		b.wantError(err, events.StepPlan, events.CodeBadLabel, false)
		if err.Error() != "a bad label" {
			b.Errorf("the message is %q", err)
		}
	})
}

func TestRunLetsGoWhatTheEngineLeftPaused(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		b.engine.Plan(enginetest.Fault{Op: enginetest.Commit, LeavePaused: true})
		result, err := b.run(b.Context(), b.task(id, events.QuiescePause))
		if err != nil {
			b.Fatal(err)
		}
		b.wantAsItWas(id, events.StateRunning)
		if m := b.wantStored(result); m.NotRunningMillis != 2000 {
			b.Errorf("it did not run for %v ms, want the 2000 that the Engine was given", m.NotRunningMillis)
		}
	})
}

// A snapshot that is proven is kept, although the end of the pause is not in the
// account.
func TestRunWithAnAccountThatBreaksOffAfterTheCommit(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		b.engine.Plan(enginetest.Fault{Op: enginetest.Watch, Cut: 2},
			enginetest.Fault{Op: enginetest.Commit, During: func() { time.Sleep(4 * time.Second) }})
		result, err := b.run(b.Context(), b.task(id, events.QuiescePause))
		if err != nil {
			b.Fatal(err)
		}
		b.wantAsItWas(id, events.StateRunning)
		if m := b.wantStored(result); m.NotRunningMillis < 4000 {
			b.Errorf("it is said not to have run for %v ms, and did not for 4000", m.NotRunningMillis)
		}
	})
}

func TestRunWithALaggingAccount(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		b.engine.Plan(enginetest.Fault{Op: enginetest.Watch, Lag: 5 * time.Second},
			enginetest.Fault{Op: enginetest.Commit, During: func() { time.Sleep(time.Second) }})
		result, err := b.run(b.Context(), b.task(id, events.QuiescePause))
		if err != nil {
			b.Fatal(err)
		}
		if m := b.wantStored(result); m.NotRunningMillis != 1000 {
			b.Errorf("it did not run for %v ms, want 1000", m.NotRunningMillis)
		}
	})
}

func TestRunRemovesTheSnapshotInTheEnd(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		b.engine.Plan(enginetest.Fault{Op: enginetest.RemoveImage, Err: errors.New("busy"), Times: 4})
		result, err := b.run(b.Context(), b.task(id, events.QuiescePause))
		if err != nil {
			b.Fatal(err)
		}
		b.wantStored(result)
		b.wantAsItWas(id, events.StateRunning)
	})
}

// A snapshot that cannot be removed is left to the Sweeper; the point counts.
func TestRunWithASnapshotThatCannotBeRemoved(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		b.engine.Plan(enginetest.Fault{Op: enginetest.RemoveImage, Err: errors.New("busy"), Times: 100})
		began := time.Now()
		result, err := b.run(b.Context(), b.task(id, events.QuiescePause))
		if err != nil {
			b.Fatal(err)
		}
		if took := time.Since(began); took > 20*time.Second {
			b.Errorf("it took %s", took)
		}
		b.wantStored(result)
		const ref = "holdfast/snapshot:" + pointID + "-1"
		if refs := b.engine.References(); !slices.Equal(refs, []string{baseImage, ref}) {
			b.Errorf("the Engine has %q", refs)
		}
		if comments := b.engine.Comments(); !slices.Equal(comments, []string{"holdfast snapshot " + ref}) {
			b.Errorf("the snapshot's comment is %q", comments)
		}
		if release, ok := b.sweeper.Locks.TryAcquire(undo.Container(id)); !ok {
			b.Error("the container is kept from others")
		} else {
			release()
		}
		b.wantAsItWas(id, events.StateRunning)
	})
}
