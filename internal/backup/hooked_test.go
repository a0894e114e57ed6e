package backup_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/hook"
)

// hooked adds a running container with both hooks. What is run is taken down with
// the state in which the container was.
func (b *bench) hooked(exits map[string]int) (id string, done func() []string) {
	b.runner.HooksAllowed = true
	id = b.engine.Add(enginetest.Spec{Name: "Web", Image: baseImage, Labels: map[string]string{
		hook.LabelPre: `["pre"]`, hook.LabelPost: `["post"]`}}, events.StateRunning)
	var ran []string
	b.engine.Script(id, func(_ context.Context, command []string) engine.ExecResult {
		what := strings.Join(command, " ")
		ran = append(ran, what+" "+string(b.engine.State(id)))
		return engine.ExecResult{ExitCode: exits[what]}
	})
	return id, func() []string { return ran }
}

func TestHooksAreRunBeforeAndAfterTheSnapshot(t *testing.T) {
	for _, quiesce := range []events.Quiesce{events.QuiescePause, events.QuiesceNone, events.QuiesceStop} {
		withBench(t, func(b *bench) {
			id, done := b.hooked(nil)
			r, err := b.run(b.Context(), b.task(id, quiesce))
			if err != nil {
				b.Fatal(err)
			}
			if got := done(); !slices.Equal(got, []string{"pre running", "post running"}) {
				b.Errorf("with %s it ran %q", quiesce, got)
			}
			if len(r.Hooks) != 2 || r.Hooks[0].When != events.HookPre || r.Hooks[1].When != events.HookPost {
				b.Errorf("the result has the hooks %+v", r.Hooks)
			}
			b.wantAsItWas(id, events.StateRunning)
		})
	}
}

// What pre did half-way is undone, and nothing else is touched.
func TestAFailedPreHookEndsTheItem(t *testing.T) {
	withBench(t, func(b *bench) {
		id, done := b.hooked(map[string]int{"pre": 1})
		_, err := b.run(b.Context(), b.task(id, events.QuiescePause))
		b.wantError(err, events.StepHook, events.CodeHookFailed, true)
		if got := done(); !slices.Equal(got, []string{"pre running", "post running"}) {
			b.Errorf("it ran %q", got)
		}
		if n := b.engine.Calls(enginetest.Commit); n > 0 {
			b.Errorf("it was committed %d times", n)
		}
		b.wantNothingLeft(id, events.StateRunning)
	})
}

func TestAFailedPostHookHidesNoBackup(t *testing.T) {
	withBench(t, func(b *bench) {
		id, _ := b.hooked(map[string]int{"post": 1})
		r, err := b.run(b.Context(), b.task(id, events.QuiescePause))
		if err != nil {
			b.Fatal(err)
		}
		if len(r.Hooks) != 2 || r.Hooks[1].ExitCode != 1 || r.Hooks[1].Error == "" {
			b.Errorf("the result has the hooks %+v", r.Hooks)
		}
		b.wantAsItWas(id, events.StateRunning)
	})
}

// Whoever undoes an attempt that died between the two owes the container the
// second one, once it runs again.
func TestTheUndoingRunsThePostHook(t *testing.T) {
	withBench(t, func(b *bench) {
		id, done := b.hooked(nil)
		b.engine.Plan(enginetest.Fault{Op: enginetest.Commit, During: func() { time.Sleep(time.Minute) }})
		ctx, stop := context.WithCancelCause(b.Context())
		time.AfterFunc(time.Second, func() { stop(backup.ErrStopping) })
		if _, err := b.run(ctx, b.task(id, events.QuiescePause)); err == nil {
			b.Fatal("it was not stopped")
		}
		b.wantNothingLeft(id, events.StateRunning)
		if got := done(); !slices.Equal(got, []string{"pre running", "post running"}) {
			b.Errorf("it ran %q", got)
		}
	})
}

func TestThePostHookWaitsForTheEngine(t *testing.T) {
	withBench(t, func(b *bench) {
		id, done := b.hooked(nil)
		b.engine.Plan(enginetest.Fault{Op: enginetest.Exec, After: 1, Err: engine.ErrEngineUnavailable, Times: 3})
		if _, err := b.run(b.Context(), b.task(id, events.QuiescePause)); err != nil && !errors.Is(err, failure.ErrAway) {
			b.Fatal(err)
		}
		b.wantAsItWas(id, events.StateRunning)
		if got := done(); !slices.Equal(got, []string{"pre running", "post running"}) {
			b.Errorf("it ran %q", got)
		}
	})
}
