package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/file"
	"holdfast.io/holdfast/internal/step"
)

// TestRestoreFaults has others work on what a restore works on, and the sink go.
func TestRestoreFaults(t *testing.T) {
	t.Parallel()
	var cases group
	cases.add("two at once", twoRestores)
	cases.add("while it is backed up", restoreInABackup)
	cases.add("sink away", sinkAwayInARestore)
	cases.add("dependant removed", dependantRemovedInARestore)
	cases.add("point pruned", pointPrunedBeforeARestore)
	cases.run(t, sideBySide)
}

// twoRestores: one of two waits for the other. By then its plan may be out of date. The
// container is there once.
func twoRestores(t *testing.T) {
	w := newWorld(t, worldOptions{})
	data := prepareReplacing(w)
	one, other := w.ask(events.Restore, "one", data), w.ask(events.Restore, "other", data)
	w.start(workerOptions{})
	succeeded := 0
	for _, job := range []string{one, other} {
		if end := w.ended(job); endStatus(t, end) == events.StatusSucceeded {
			succeeded++
		} else {
			w.failure(end, events.CodeReplaced)
		}
	}
	if succeeded == 0 {
		t.Error("none succeeded")
	}
	w.meet()
	w.verify(one, other)
}

func restoreInABackup(t *testing.T) {
	w := newWorld(t, worldOptions{})
	data := prepareReplacing(w)
	old := w.busy[w.host+"-a"].id
	w.start(workerOptions{})
	backup := w.backupUpTo(events.StepCommit, "1", w.host+"-a")
	restore := w.ask(events.Restore, "2", data)
	w.ended(backup, restore)
	w.meet()
	if w.busy[w.host+"-a"].id == old {
		t.Error("the container was not replaced")
	}
	w.survived("restored while it is backed up", restore)
	w.survived("backed up while it is restored", backup)
}

// sinkAwayInARestore: what was begun is undone while the sink is away, and the restore is
// done when it is back.
func sinkAwayInARestore(t *testing.T) {
	w := newWorld(t, worldOptions{})
	data := prepareReplacing(w)
	old := w.busy[w.host+"-a"].id
	p := w.start(workerOptions{env: []string{stopAfter(step.Recorded, 1)}})
	job := w.ask(events.Restore, "1", data)
	p.frozen()
	away := filepath.Join(filepath.Dir(w.sink), "away")
	if err := os.Rename(w.sink, away); err != nil {
		t.Fatal(err)
	}
	p.resume()
	w.undone()
	w.meet()
	if w.busy[w.host+"-a"].id != old {
		t.Error("the container was replaced without its point")
	}
	if err := os.Rename(away, w.sink); err != nil {
		t.Fatal(err)
	}
	w.ended(job)
	w.meet()
	w.survived("sink away in a restore, and back", job)
}

// dependantRemovedInARestore: somebody removes what was made in the place of a dependant,
// when all names are given up. Everything is as it was then.
func dependantRemovedInARestore(t *testing.T) {
	w := newWorld(t, worldOptions{})
	data := prepareSharing(w)
	before := map[string]string{}
	for name, b := range w.busy {
		before[name] = b.id
	}
	p := w.start(workerOptions{env: []string{stopAfter(step.DependantNamed, 1)}})
	job := w.ask(events.Restore, "1", data)
	p.frozen()
	err := w.engine.API().ContainerRemove(t.Context(), w.host+"-"+sharers[0], container.RemoveOptions{Force: true})
	if err != nil {
		t.Fatal(err)
	}
	p.resume()
	w.failure(w.ended(job), events.CodeNotStarted)
	w.meet()
	for name, id := range before {
		if w.busy[name].id != id {
			t.Errorf("%s is %s, not %s", name, w.busy[name].id, id)
		}
	}
	w.checkShared()
	w.verify(job)
	w.checkUsed()
	report(t, "what is made in the place of a dependant is removed", 1, "undone")
}

// pointPrunedBeforeARestore: a point that is hidden after the plan was made is not restored.
func pointPrunedBeforeARestore(t *testing.T) {
	w := newWorld(t, worldOptions{})
	data := prepareReplacing(w)
	old := w.busy[w.host+"-a"].id
	p := w.start(workerOptions{env: []string{stopAfter(step.Planned, 1)}})
	job := w.ask(events.Restore, "1", data)
	p.frozen()
	s, err := file.Open(t.Context(), w.sink, "", file.Options{})
	if err != nil {
		t.Fatal(err)
	}
	mark := point.Removed{Time: time.Now(), Host: w.host, Job: "ptg32uecxwng6yf7", Reason: "no rule keeps it", GoneAfter: time.Now()}
	for found, err := range s.Points(t.Context(), sink.PointsName) {
		if err == nil {
			err = mark.Write(t.Context(), s, found.Dir)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	p.resume()
	w.failure(w.ended(job), events.CodePointNotFound)
	w.meet()
	if w.busy[w.host+"-a"].id != old {
		t.Error("the container was replaced")
	}
	w.verify(job)
	report(t, "the point is pruned before it is restored", 1, "refused")
}

// undone waits until no worker has anything to be undone.
func (w *world) undone() {
	w.t.Helper()
	var err error
	w.eventually("what was begun is undone", func(ctx context.Context) bool {
		err = w.checkRecords(ctx, nil)
		return err == nil
	}, func() any { return err })
}
