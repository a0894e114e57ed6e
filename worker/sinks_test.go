package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/docker/dockertest"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/step"
)

// checkSame: both sinks have these points, and each is the same in both.
func (w *world) checkSame(points int) {
	w.t.Helper()
	in := func(sinkDir string) []string {
		all, err := filepath.Glob(filepath.Join(sinkDir, "points", "*", "*", "*", "*", sink.ManifestName))
		if err != nil {
			w.t.Fatal(err)
		}
		for i := range all {
			all[i] = strings.TrimPrefix(filepath.Dir(all[i]), sinkDir)
		}
		return all
	}
	dirs := in(w.sink)
	if others := in(w.offsite); !slices.Equal(dirs, others) || len(dirs) != points {
		w.t.Errorf("the points are %q and %q, want %d", dirs, others, points)
		return
	}
	for _, dir := range dirs {
		a, err := w.manifest(dir)
		if err != nil {
			w.t.Fatal(err)
		}
		b, err := manifestIn(w.offsite, dir)
		if err != nil {
			w.t.Fatal(err)
		}
		same := slices.EqualFunc(a.Artifacts, b.Artifacts, func(x, y events.Artifact) bool { return x.Digest == y.Digest && x.Size == y.Size })
		if !same || a.Attempt != b.Attempt || !a.SnapshotTime.Equal(b.SnapshotTime) {
			w.t.Errorf("point %s is %+v in one sink, and %+v in the other", dir, a, b)
		}
	}
}

// A worker that stores in two sinks dies after each step at which they differ.
func TestCrashWithTwoSinks(t *testing.T) {
	t.Parallel()
	var cases group
	for _, c := range []struct {
		name    step.Name
		nth     int
		sameDir bool
	}{
		{step.Recorded, 1, true}, {step.Staged, 1, true}, {step.Staged, 2, false}, {step.Saved, 1, true},
		{step.Published, 1, true}, {step.Published, 1, false}, {step.Published, 2, true}, {step.RecordGone, 1, false},
		{step.ItemEnded, 1, true}, {step.ItemEnded, 1, false}, {step.ItemEnded, 2, true},
	} {
		cases.add(fmt.Sprintf("%s %d %v", c.name, c.nth, c.sameDir), func(t *testing.T) { crash(t, c.name, c.nth, doubling, c.sameDir) })
	}
	for _, name := range []step.Name{step.Committed, step.LayerStored, step.Saved, step.Published} {
		for nth := range 2 {
			cases.add(fmt.Sprintf("%s %d pushed", name, nth+1), func(t *testing.T) { crash(t, name, nth+1, fanning, nth == 0) })
		}
	}
	cases.run(t, sideBySide)
}

// A sink that is away when the job is done gets its points when it is back, also if the
// worker dies while it copies them. The Engine is not read again.
func TestSinkComesBack(t *testing.T) {
	t.Parallel()
	var cases group
	for _, crash := range [][]string{nil, {crashAfter(step.Staged, 2)}, {crashAfter(step.Published, 2)}} {
		cases.add(fmt.Sprint(crash), func(t *testing.T) {
			w := newWorld(t, worldOptions{})
			data := fmt.Sprintf(`{"containers":{"names":[%q]},"sinks":["default","offsite"]}`,
				w.run(dockertest.Container{Name: "a", Payload: 4 << 20}))
			p := w.start(workerOptions{})
			w.ended(w.publish("before", data)) // the sink has been there
			p.kill()
			away := filepath.Join(filepath.Dir(w.offsite), "away")
			if err := os.Rename(w.offsite, away); err != nil {
				t.Fatal(err)
			}
			p = w.start(workerOptions{state: p.state, env: crash})
			job := w.publish("away", data)
			w.event(job, "that it is in one sink", func(ev storedEvent) bool {
				return ev.Type() == events.Backup.ResultType(events.ResultItemCompleted)
			})
			time.Sleep(time.Second)
			if err := os.Rename(away, w.offsite); err != nil {
				t.Fatal(err)
			}
			if crash != nil {
				p.killed()
				w.start(workerOptions{state: p.state})
			}
			if end := w.ended(job); endStatus(t, end) != events.StatusSucceeded {
				t.Errorf("the job ended: %s", end.Data())
			}
			w.verify(job)
			w.checkSame(2)
		})
	}
	cases.run(t, sideBySide)
}
