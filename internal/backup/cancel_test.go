package backup_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/stall"
)

func TestRunCancelled(t *testing.T) {
	type cancelFunc = func(cause error)
	cases := map[string]struct {
		plan func(b *bench, id string, cancel cancelFunc) enginetest.Fault
		step events.Step
		// committed says whether the Engine was let commit.
		committed bool
	}{
		"before the commit": {func(_ *bench, _ string, cancel cancelFunc) enginetest.Fault {
			return enginetest.Fault{Op: enginetest.Inspect, During: func() { cancel(nil) }, Err: context.Canceled}
		}, events.StepInspect, false},
		"at the last moment": {func(b *bench, _ string, cancel cancelFunc) enginetest.Fault {
			return enginetest.Fault{Op: enginetest.Inspect, During: func() { cancel(nil) }}
		}, events.StepInspect, false},
		"in the commit": {func(_ *bench, _ string, cancel cancelFunc) enginetest.Fault {
			return enginetest.Fault{Op: enginetest.Commit, During: func() { cancel(nil); time.Sleep(time.Minute) }}
		}, events.StepCommit, true},
		"in a commit that takes very long": {func(_ *bench, _ string, cancel cancelFunc) enginetest.Fault {
			return enginetest.Fault{Op: enginetest.Commit, During: func() { cancel(nil); time.Sleep(20 * time.Minute) }}
		}, events.StepCommit, true},
		"in a commit that fails": {func(_ *bench, _ string, cancel cancelFunc) enginetest.Fault {
			return enginetest.Fault{Op: enginetest.Commit, During: func() { cancel(nil) }, Err: errors.New("broken"), LeavePaused: true}
		}, events.StepCommit, true},
		"in a commit that fails later": {func(_ *bench, _ string, cancel cancelFunc) enginetest.Fault {
			return enginetest.Fault{Op: enginetest.Commit, Err: errors.New("broken"), LeavePaused: true,
				During: func() { cancel(nil); time.Sleep(time.Minute) }}
		}, events.StepCommit, true},
		"before the save": {func(_ *bench, _ string, cancel cancelFunc) enginetest.Fault {
			return enginetest.Fault{Op: enginetest.Save, During: func() { cancel(nil) }}
		}, events.StepSave, true},
		"in the save": {func(_ *bench, _ string, cancel cancelFunc) enginetest.Fault {
			return enginetest.Fault{Op: enginetest.Save, Cut: 2 << 20, Hang: true, During: func() {
				time.AfterFunc(time.Minute, func() { cancel(nil) })
			}}
		}, events.StepSave, true},
		"while the Engine does not answer": {func(_ *bench, _ string, cancel cancelFunc) enginetest.Fault {
			return enginetest.Fault{Op: enginetest.Watch, Hang: true, During: func() {
				time.AfterFunc(time.Minute, func() { cancel(nil) })
			}}
		}, events.StepInspect, false},
	}
	causes := map[error]events.Code{
		backup.ErrCancelled: events.CodeCancelled,
		backup.ErrStopping:  events.CodeCancelled,
		backup.ErrLost:      events.CodeCancelled,
		backup.ErrTimeout:   events.CodeTimeout,
		stall.ErrStalled:    events.CodeTimeout,
	}
	for name, c := range cases {
		for cause, code := range causes {
			if name != "in the commit" && cause != backup.ErrCancelled { // a cause matters where it is read, not where it comes
				continue
			}
			t.Run(fmt.Sprintf("%s/%v", name, cause), func(t *testing.T) {
				withBench(t, func(b *bench) {
					ctx, cancel := context.WithCancelCause(b.Context())
					defer cancel(nil)
					id := b.add(events.StateRunning)
					b.fill(id)
					var cancelled time.Time
					b.engine.Plan(c.plan(b, id, func(error) {
						cancelled = time.Now()
						cancel(cause)
					}))
					_, err := b.run(ctx, b.task(id, events.QuiescePause))
					if took := time.Since(cancelled); took > time.Second {
						b.Errorf("it returned %s after it was cancelled", took)
					}
					b.wantError(err, c.step, code, true)
					if !errors.Is(err, cause) {
						b.Errorf("%q does not say why", err)
					}
					if committed := b.engine.Calls(enginetest.Commit) > 0; committed != c.committed {
						b.Errorf("committed is %v, want %v", committed, c.committed)
					}
					b.wantNothingLeft(id, events.StateRunning)
				})
			})
		}
	}
}
