package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/docker/dockertest"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/file"
)

// prepareCopying backs a container up, stores other points, and protects the newest, and
// returns the data of the request that copies all.
func prepareCopying(w *world) string {
	w.t.Helper()
	w.points("web-1", 2)
	id := w.pointOf(dockertest.Container{Name: "a", Payload: 4 << 20}, false)
	s, err := file.Open(w.t.Context(), w.sink, "", file.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	dir := point.Dir(w.host, events.ItemContainer, w.host+"-a", id)
	if err := (point.Protected{By: "anna@ops-1", Time: time.Now(), Reason: "before the move"}).Write(w.t.Context(), s, dir); err != nil {
		w.t.Fatal(err)
	}
	return `{"containers":{"all":true},"to":"offsite"}`
}

// checkProtected: what is protected is protected where it was copied to.
func (w *world) checkProtected() {
	w.t.Helper()
	marks := func(in string) int {
		all, err := filepath.Glob(filepath.Join(in, "points", "*", "*", "*", "*", sink.ProtectedName))
		if err != nil {
			w.t.Fatal(err)
		}
		return len(all)
	}
	if is, want := marks(w.offsite), marks(w.sink); is != want || want != 1 {
		w.t.Errorf("%d points are protected where they were copied from, and %d where they were copied to", want, is)
	}
}

// checkCopy: a point that was reported as copied lies in both sinks, with the same bytes.
func (w *world) checkCopy(data *events.CopyItemCompleted) error {
	was, err := w.manifest(data.Path)
	if err != nil {
		return err
	}
	is, err := manifestIn(w.offsite, data.Path)
	if err != nil {
		return err
	}
	if !slices.Equal(is.Artifacts, data.Artifacts) || !slices.Equal(is.Artifacts, was.Artifacts) || is.Job != was.Job || is.ID != was.ID {
		return fmt.Errorf("the copy is %+v, and the point %+v; it was reported as %+v", is, was, data)
	}
	return w.checkArtifacts(w.offsite, is.Artifacts)
}

// TestCopyKilled kills a worker at any moment of a copy, and has the next one carry it on:
// all points are there, whole, and nothing else is.
func TestCopyKilled(t *testing.T) {
	t.Parallel()
	var worlds group
	worlds.addKilled(t, "copy", copyKilled)
	worlds.run(t, sideBySide)
}

func copyKilled(t *testing.T, random *rand.Rand) {
	const request, count, size = `{"containers":{"match":["^%s$"]},"to":"offsite"}`, 6, 8 << 20
	w := newWorld(t, worldOptions{})
	p := w.start(workerOptions{})
	w.pointsOfSize("undisturbed", count, size)
	began := time.Now()
	w.ended(w.ask(events.Copy, "undisturbed", fmt.Sprintf(request, "undisturbed")))
	lasts := time.Since(began)
	var jobs []string
	for i := range killsInWorld {
		name := fmt.Sprint("web-", i)
		w.pointsOfSize(name, count, size)
		moment := time.Duration(random.Float64() * 1.2 * float64(lasts))
		job := w.ask(events.Copy, fmt.Sprint("killed ", i), fmt.Sprintf(request, name))
		jobs = append(jobs, job)
		time.Sleep(moment) // the fault itself
		p.kill()
		p = w.start(workerOptions{state: p.state})
		w.verify(jobs...)
		if end := w.ended(job); endStatus(t, end) != events.StatusSucceeded {
			t.Errorf("killed after %s, the job ended as %s: %s", moment, endStatus(t, end), end.Data())
		}
		there, err := os.ReadDir(filepath.Join(w.offsite, "points", w.host, "container", name))
		if err != nil || len(there) != count {
			t.Errorf("killed after %s, there are %d points: %v", moment, len(there), err)
		}
		report(t, fmt.Sprintf("sigkill %s into a copy of %s", moment.Round(time.Millisecond), lasts.Round(time.Millisecond)), 1, "succeeded")
	}
}
