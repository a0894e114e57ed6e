package backup_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

// A container that has to be killed to stop is backed up, and that is said.
func TestAStopThatKilled(t *testing.T) {
	for name, c := range map[string]struct {
		exit int
		took time.Duration
		want bool
	}{
		"it was killed":               {137, 10 * time.Second, true},
		"it ended":                    {0, 9 * time.Second, false},
		"it ended with an error":      {143, 10 * time.Second, false},
		"somebody else killed it":     {137, time.Second, false},
		"it ended at the last moment": {1, 10 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				id := b.engine.Add(enginetest.Spec{Name: "Web", Image: baseImage, StopExit: c.exit}, events.StateRunning)
				b.engine.Plan(enginetest.Fault{Op: enginetest.Stop, During: func() { time.Sleep(c.took) }})
				result, err := b.run(b.Context(), b.task(id, events.QuiesceStop))
				if err != nil {
					b.Fatal(err)
				}
				warned := slices.ContainsFunc(result.Warnings, func(w events.Warning) bool { return w.Code == events.WarningStopKilled })
				if inManifest := len(result.Manifest.Warnings) == 1; warned != c.want || inManifest != c.want {
					b.Errorf("the warnings are %+v, in the manifest %+v", result.Warnings, result.Manifest.Warnings)
				}
				b.wantAsItWas(id, events.StateRunning)
			})
		})
	}
}

// A container that ends right after its start is no success, whatever the call said.
// Its point is good, and it is left as it is: to start it again and again is for its
// user.
func TestAStartThatDoesNotLast(t *testing.T) {
	for _, after := range []time.Duration{time.Nanosecond, time.Second, time.Minute} {
		t.Run(after.String(), func(t *testing.T) {
			withBench(t, func(b *bench) {
				id := b.engine.Add(enginetest.Spec{Name: "Web", Image: baseImage, EndsAfter: after}, events.StateRunning)
				began := time.Now()
				result, err := b.run(b.Context(), b.task(id, events.QuiesceStop))
				if took := time.Since(began); took > 4*time.Second {
					b.Errorf("it took %s", took)
				}
				if after == time.Minute {
					if err != nil {
						b.Fatal(err)
					}
					b.wantStored(result)
					time.Sleep(after)
					return
				}
				b.wantError(err, events.StepCommit, events.CodeNotRestored, true)
				if !strings.Contains(err.Error(), "stored as point "+pointID) || !strings.Contains(err.Error(), "exit code 1") {
					b.Errorf("the message is %q", err)
				}
				if contents := b.sink.Contents(); len(contents) == 0 {
					b.Error("its point is not kept")
				}
				b.wantAsItWas(id, events.StateExited)
				if n := b.engine.Calls(enginetest.Start); n != 1 {
					b.Errorf("it was started %d times", n)
				}
			})
		})
	}
}

// What is in the way of a commit for a moment costs a try, and nothing else.
func TestACommitIsTriedThreeTimes(t *testing.T) {
	broken := errors.New("unable to freeze")
	for name, c := range map[string]struct {
		quiesce events.Quiesce
		fault   enginetest.Fault
	}{
		"it fails, paused by its commit": {events.QuiescePause, enginetest.Fault{Op: enginetest.Commit, Err: broken}},
		"it does not pause":              {events.QuiescePause, enginetest.Fault{Op: enginetest.Commit, NoPause: true}},
		"it fails late":                  {events.QuiescePause, enginetest.Fault{Op: enginetest.Commit, Err: broken, Late: true}},
		"it leaves it paused":            {events.QuiescePause, enginetest.Fault{Op: enginetest.Commit, Err: broken, LeavePaused: true}},
		"it fails hot":                   {events.QuiesceNone, enginetest.Fault{Op: enginetest.Commit, Err: broken, Late: true}},
		"it fails, stopped":              {events.QuiesceStop, enginetest.Fault{Op: enginetest.Commit, Err: broken}},
		"it cannot be stopped":           {events.QuiesceStop, enginetest.Fault{Op: enginetest.Stop, Err: broken}},
	} {
		for _, times := range []int{1, 2, 3} {
			t.Run(name, func(t *testing.T) {
				withBench(t, func(b *bench) {
					id := b.add(events.StateRunning)
					c.fault.Times = times
					b.engine.Plan(c.fault)
					result, err := b.run(b.Context(), b.task(id, c.quiesce))
					if (err == nil) != (times < 3) {
						b.Fatalf("after %d failures it ends with %v", times, err)
					}
					if err == nil {
						b.wantStored(result)
					}
					b.wantAsItWas(id, events.StateRunning)
					if c.quiesce == events.QuiesceStop && b.engine.Calls(enginetest.Start) > 1 {
						b.Error("the container was stopped and started for each try")
					}
				})
			})
		}
	}
}

// What cannot be undone is not done: a call that would be refused is found out before
// anything is recorded or touched. So is a sink that is full.
func TestWhatIsInTheWayIsFoundBeforeAnythingIsTouched(t *testing.T) {
	refuse := func(calls ...engine.Call) func(b *bench) { return func(b *bench) { b.engine.Refuse(calls...) } }
	for name, c := range map[string]struct {
		quiesce events.Quiesce
		plan    func(b *bench)
		code    events.Code
	}{
		"start":        {events.QuiesceStop, refuse(engine.CallStart), events.CodeEngineRefused},
		"unpause":      {events.QuiescePause, refuse(engine.CallUnpause), events.CodeEngineRefused},
		"remove image": {events.QuiesceNone, refuse(engine.CallRemoveImage), events.CodeEngineRefused},
		"save":         {events.QuiescePause, refuse(engine.CallSave), events.CodeEngineRefused},
		"events":       {events.QuiescePause, refuse(engine.CallEvents), events.CodeEngineRefused},
		"a full sink":  {events.QuiesceStop, func(b *bench) { b.sink.Fail(b, sinktest.OpStage, 1, sink.ErrFull) }, events.CodeSinkFull},
	} {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				id := b.add(events.StateRunning)
				c.plan(b)
				_, err := b.run(b.Context(), b.task(id, c.quiesce))
				failure, ok := errors.AsType[*failure.Error](err)
				if !ok || failure.Code != c.code {
					b.Fatalf("it ends with %v, want %s", err, c.code)
				}
				if n := b.engine.Calls(enginetest.Stop) + b.engine.Calls(enginetest.Pause) + b.engine.Calls(enginetest.Commit); n > 0 {
					b.Errorf("it was touched %d times", n)
				}
				b.engine.Refuse()
				b.wantNothingLeft(id, events.StateRunning)
			})
		})
	}
}

// A snapshot that somebody uses is said, stays, and goes when it can.
func TestRunOfASnapshotThatIsUsed(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		var user string
		b.engine.Plan(enginetest.Fault{Op: enginetest.Save, During: func() {
			user = b.engine.Add(enginetest.Spec{Name: "theirs", Image: engine.SnapshotReference(pointID + "-1")}, events.StateRunning)
		}})
		result, err := b.run(b.Context(), b.task(id, events.QuiescePause))
		if err != nil {
			b.Fatal(err)
		}
		if len(result.Warnings) != 1 || result.Warnings[0].Code != events.WarningSnapshotKept {
			b.Errorf("the warnings are %+v", result.Warnings)
		}
		b.engine.Remove(user)
		time.Sleep(2 * time.Minute)
		b.wantAsItWas(id, events.StateRunning)
	})
}

// An item that is given up says how long its container has been held by then, and one
// that failed how long it was.
func TestAFailedItemSaysHowLongItsContainerDidNotRun(t *testing.T) {
	withBench(t, func(b *bench) {
		b.runner.StallTimeout = 3 * time.Second
		id := b.add(events.StateRunning)
		b.engine.Plan(enginetest.Fault{Op: enginetest.Commit, During: func() { time.Sleep(10 * time.Second) }})
		_, err := b.run(b.Context(), b.task(id, events.QuiescePause))
		failure, ok := errors.AsType[*failure.Error](err)
		if !ok || failure.NotRunning < 3*time.Second || failure.NotRunning > 4*time.Second ||
			!strings.Contains(err.Error(), "paused or stopped, for 3.5s by now") {
			b.Errorf("it ends with %v, not running %v", err, failure.NotRunning)
		}
		b.wantNothingLeft(id, events.StateRunning)
	})
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		b.sink.Fail(b, sinktest.OpPublish, 1, sink.ErrFull)
		b.engine.Plan(enginetest.Fault{Op: enginetest.Commit, During: func() { time.Sleep(2 * time.Second) }})
		_, err := b.run(b.Context(), b.task(id, events.QuiesceStop))
		failure, ok := errors.AsType[*failure.Error](err)
		if !ok || failure.Code != events.CodeSinkFull || failure.NotRunning != 2*time.Second {
			b.Errorf("it ends with %v, not running %v, want 2s", err, failure.NotRunning)
		}
		b.wantNothingLeft(id, events.StateRunning)
	})
}
