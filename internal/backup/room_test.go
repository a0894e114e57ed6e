package backup_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/quota"
)

// A save that would fill the Engine's disk is refused.
func TestRunWithoutRoom(t *testing.T) {
	cases := map[string]struct {
		free    int64
		err     error
		streams bool
		refused bool
	}{
		"there is none":               {1 << 20, nil, false, true},
		"there is enough":             {20 << 20, nil, false, false},
		"it is on another machine":    {0, fs.ErrNotExist, false, false},
		"its images need no staging":  {1 << 20, nil, true, false},
		"somebody else may look only": {0, fs.ErrPermission, false, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				b.runner.Transport.Room = func(dir string) (int64, error) {
					if !strings.HasPrefix(dir, enginetest.DataRoot+"/") {
						b.Errorf("asked is for %s", dir)
					}
					return c.free, c.err
				}
				if c.streams {
					b.engine.SetStreams()
				}
				id := b.add(events.StateRunning)
				b.fill(id)
				result, err := b.run(b.Context(), b.task(id, events.QuiescePause))
				if !c.refused {
					if err != nil {
						b.Fatal(err)
					}
					b.wantStored(result)
					return
				}
				b.wantError(err, events.StepSave, events.CodeEngineFull, true)
				for _, figure := range []string{"5.0 MiB", "0 B", "1.0 MiB", enginetest.DataRoot} {
					if !strings.Contains(err.Error(), figure) {
						b.Errorf("%q does not have the figure %s", err, figure)
					}
				}
				b.wantNothingLeft(id, events.StateRunning)
				if b.engine.Calls(enginetest.Save) > 0 {
					b.Error("it was saved")
				}
			})
		})
	}
}

// Saves that run at once need room together, until each has sent its first byte.
func TestRunsShareTheRoom(t *testing.T) {
	withBench(t, func(b *bench) {
		b.runner.Transport.Room = func(string) (int64, error) { return 12 << 20, nil }
		staging := make(chan struct{})
		b.engine.Plan(enginetest.Fault{Op: enginetest.Save, Times: 2, During: func() { <-staging }})
		var running sync.WaitGroup
		run := func(i int, want bool) {
			id := b.engine.Add(enginetest.Spec{Name: fmt.Sprint("c", i), Image: baseImage}, events.StateExited)
			b.fill(id)
			task := b.task(id, events.QuiescePause)
			task.Point = fmt.Sprintf("20260102T150405Z-%08x", i)
			running.Go(func() {
				if _, err := b.run(b.Context(), task); (err == nil) != want {
					b.Errorf("item %d: %v", i, err)
				}
			})
			synctest.Wait()
		}
		run(1, true)
		run(2, true)
		run(3, false) // 10 of 12 MiB are spoken for
		close(staging)
		time.Sleep(time.Second)
		running.Wait()
		run(4, true)
		running.Wait()
	})
}

// What a sink's quota does not let in is refused before the container is touched, where that
// is known, and leaves nothing there in any case.
func TestRunBeyondTheQuota(t *testing.T) {
	for name, c := range map[string]struct {
		quota, expected int64
		touched         bool
		says            string
	}{
		"it is used up":                {1, 0, false, "its quota is 1 B, and 10 B are used"},
		"the item needs more":          {20 << 20, 30 << 20, false, "this point needs about 30 MiB"},
		"it turns out to be too large": {3 << 20, 0, true, "is not complete, and is discarded"},
		"it fits":                      {20 << 20, 6 << 20, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				other, err := b.sink.Stage(b.Context(), "points/host/image/other/i", "1")
				if err != nil {
					b.Fatal(err)
				}
				if err := other.Publish(b.Context(), []byte("0123456789")); err != nil {
					b.Fatal(err)
				}
				id := b.add(events.StateRunning)
				b.fill(id)
				task := b.task(id, events.QuiescePause)
				task.Legs = legs(quota.New(b.sink, c.quota, "memory"))
				task.Legs[0].Expected = func(context.Context, sink.Sink) int64 { return c.expected }
				result, err := b.run(b.Context(), task)
				if touched := b.engine.Calls(enginetest.Commit) > 0; touched != c.touched {
					b.Errorf("the container is touched: %v", touched)
				}
				if err := b.sink.RemovePoint(b.Context(), "points/host/image/other/i"); err != nil {
					b.Error(err)
				}
				if c.says == "" {
					if err != nil {
						b.Fatal(err)
					}
					b.wantStored(result)
					return
				}
				b.wantError(err, events.StepSave, events.CodeSinkFull, true)
				if !errors.Is(err, sink.ErrFull) || !strings.Contains(err.Error(), c.says) {
					b.Errorf("%v, want it to say %q", err, c.says)
				}
				b.wantNothingLeft(id, events.StateRunning)
			})
		})
	}
}
