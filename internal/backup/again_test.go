package backup_test

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink/sinktest"
	"holdfast.io/holdfast/internal/undo"
)

func TestRunOfAPointThatIsThere(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		first, err := b.run(b.Context(), b.task(id, events.QuiescePause))
		if err != nil {
			b.Fatal(err)
		}
		calls := func() (n int) {
			for _, op := range []enginetest.Op{enginetest.About, enginetest.Inspect, enginetest.Commit, enginetest.Watch,
				enginetest.Save, enginetest.RemoveImage} {
				n += b.engine.Calls(op)
			}
			return n
		}
		before := calls()
		again := b.task(id, events.QuiescePause)
		again.Attempt = 2
		second, err := b.run(b.Context(), again)
		if err != nil {
			b.Fatal(err)
		}
		if a, b1 := mustEncode(b, first.Manifest), mustEncode(b, second.Manifest); a != b1 || first.Dir != second.Dir {
			b.Errorf("the second attempt returns\n%s\nand the first returned\n%s", b1, a)
		}
		if calls() != before {
			b.Error("the Engine was asked again")
		}
	})
}

func mustEncode(b *bench, m *point.Manifest) string {
	b.Helper()
	raw, err := m.Encode()
	if err != nil {
		b.Fatal(err)
	}
	return string(raw)
}

// Two attempts at one point: the first manifest wins, and the other attempt
// returns it.
func TestRunOvertaken(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		var other *backup.Result
		b.engine.Plan(enginetest.Fault{Op: enginetest.Save, During: func() {
			task := b.task(id, events.QuiescePause)
			task.Attempt = 2
			var err error
			if other, err = b.run(b.Context(), task); err != nil {
				b.Error(err)
			}
		}})
		result, err := b.run(b.Context(), b.task(id, events.QuiescePause))
		if err != nil {
			b.Fatal(err)
		}
		if result.Manifest.Attempt != 2 || mustEncode(b, result.Manifest) != mustEncode(b, other.Manifest) {
			b.Errorf("the result is the manifest of attempt %d, want that of 2", result.Manifest.Attempt)
		}
		b.wantStored(result)
		b.wantAsItWas(id, events.StateRunning)
	})
}

// The point is there, but the sink said that it is not: the next attempt finds it.
func TestRunPublishedUnknowingly(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		b.sink.Fail(b, sinktest.OpPublished, 1, errors.New("the connection broke"))
		_, err := b.run(b.Context(), b.task(id, events.QuiescePause))
		b.wantError(err, events.StepPublish, events.CodeSinkError, true)
		b.wantAsItWas(id, events.StateRunning)
		again := b.task(id, events.QuiescePause)
		again.Attempt = 2
		result, err := b.run(b.Context(), again)
		if err != nil {
			b.Fatal(err)
		}
		if m := b.wantStored(result); m.Attempt != 1 {
			b.Errorf("stored is attempt %d, want 1", m.Attempt)
		}
	})
}

// Commits of one container never overlap, whatever the jobs; those of two do.
func TestRunsOfOneContainer(t *testing.T) {
	withBench(t, func(b *bench) {
		id, other := b.add(events.StateRunning), b.engine.Add(enginetest.Spec{Name: "Other", Image: baseImage}, events.StateRunning)
		var mu sync.Mutex
		now, most := map[string]int{}, map[string]int{}
		count := func(key string, by int) {
			mu.Lock()
			defer mu.Unlock()
			now[key] += by
			most[key] = max(most[key], now[key])
		}
		during := func(key string) func() {
			return func() {
				for _, k := range []string{key, "all"} {
					count(k, 1)
				}
				time.Sleep(time.Second)
				for _, k := range []string{key, "all"} {
					count(k, -1)
				}
			}
		}
		b.engine.Plan(enginetest.Fault{Op: enginetest.Commit, On: id, Times: 3, During: during(id)},
			enginetest.Fault{Op: enginetest.Commit, On: other, Times: 3, During: during(other)})
		var jobs sync.WaitGroup
		for i := range 3 {
			for _, container := range []string{id, other} {
				task := b.task(container, events.QuiescePause)
				task.Point = fmt.Sprintf("20260102T150405Z-%08x", i*2+strings.Compare(container, other)+1)
				jobs.Go(func() {
					if _, err := b.run(b.Context(), task); err != nil {
						b.Error(err)
					}
				})
			}
		}
		jobs.Wait()
		if most[id] != 1 || most[other] != 1 || most["all"] != 2 {
			b.Errorf("at most %d and %d commits of one container overlapped, and %d of all; want 1, 1 and 2", most[id], most[other], most["all"])
		}
		b.wantAsItWas(id, events.StateRunning)
	})
}

// A job that waits for another's commit can be cancelled.
func TestRunCancelledWhileItWaitsForAnother(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		release, err := b.sweeper.Locks.Acquire(b.Context(), undo.Container(id))
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(b.Context())
		time.AfterFunc(time.Minute, func() { cancel(backup.ErrCancelled) })
		_, err = b.run(ctx, b.task(id, events.QuiescePause))
		b.wantError(err, events.StepCommit, events.CodeCancelled, true)
		b.wantNothingLeft(id, events.StateRunning)
		release()
		if again, err := b.sweeper.Locks.Acquire(b.Context(), undo.Container(id)); err != nil {
			b.Errorf("the lock is not free: %v", err)
		} else {
			again()
		}
	})
}

// A corrupt manifest is the sink's fault, and is not taken for a point.
func TestRunOfAPointThatIsDamaged(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		dir := point.Dir("host", events.ItemContainer, "Web", pointID)
		staging, err := b.sink.Stage(b.Context(), dir, "1")
		if err != nil {
			b.Fatal(err)
		}
		if err := staging.Publish(b.Context(), []byte("{")); err != nil {
			b.Fatal(err)
		}
		_, err = b.run(b.Context(), b.task(id, events.QuiescePause))
		b.wantError(err, events.StepInspect, events.CodeSinkError, true)
		if !strings.Contains(err.Error(), path.Base(dir)) {
			b.Errorf("%q does not name the point", err)
		}
	})
}

func TestRunReportsItsProgress(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		b.fill(id)
		task := b.task(id, events.QuiescePause)
		var steps []events.Step
		var read, total, stored int64
		task.Progress = func(step events.Step, r, all, s int64) {
			if len(steps) == 0 || steps[len(steps)-1] != step {
				steps = append(steps, step)
			}
			if step == events.StepSave {
				if r < read || s < stored {
					b.Errorf("the progress goes back from %d, %d to %d, %d", read, stored, r, s)
				}
				read, total, stored = r, all, s
			}
		}
		result, err := b.run(b.Context(), task)
		if err != nil {
			b.Fatal(err)
		}
		if want := []events.Step{events.StepCommit, events.StepSave, events.StepPublish}; !slices.Equal(steps, want) {
			b.Errorf("the steps were %v, want %v", steps, want)
		}
		if a := result.Manifest.Artifacts[0]; read != a.UncompressedSize || stored > a.Size || total == 0 {
			b.Errorf("the last progress was %d of %d read, %d stored; the artifact is %+v", read, total, stored, a)
		}
	})
}
