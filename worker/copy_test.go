package main

import (
	"fmt"
	"io/fs"
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
	"holdfast.io/holdfast/internal/step"
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
	same := slices.EqualFunc(is.Artifacts, was.Artifacts, func(a, b events.Artifact) bool { return a.Digest == b.Digest && a.Size == b.Size })
	if !slices.Equal(is.Artifacts, data.Artifacts) || !same || is.Job != was.Job || is.ID != was.ID {
		return fmt.Errorf("the copy is %+v, and the point %+v; it was reported as %+v", is, was, data)
	}
	return w.checkArtifacts(w.offsite, is.Artifacts)
}

// copies are the folders of the copies of points of a container. Nothing else lies in them
// than what belongs to a point.
func (w *world) copies(name string) []string {
	w.t.Helper()
	dirs, err := filepath.Glob(filepath.Join(w.offsite, "points", w.host, "container", name, "*"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, dir := range dirs {
		var files []string
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				files = append(files, path)
			}
			return err
		})
		if err != nil || len(files) != 3 { // the manifest, its signature, an artifact
			w.t.Errorf("the copy of a point has the files %q, %v", files, err)
		}
	}
	return dirs
}

// copyOf is the data of a request that copies the points of a container.
func copyOf(name string) string {
	return fmt.Sprintf(`{"containers":{"names":[%q]},"to":"offsite"}`, name)
}

// TestCopyKilled kills a worker at any moment of a copy, and has the next one carry it on:
// all points are there, whole, and nothing else is.
func TestCopyKilled(t *testing.T) {
	t.Parallel()
	var worlds group
	worlds.addKilled(t, "copy", func(t *testing.T, random *rand.Rand) { copyKilled(t, random, false) })
	worlds.addKilled(t, "copy to a bucket", func(t *testing.T, random *rand.Rand) { copyKilled(t, random, true) })
	worlds.run(t, sideBySide)
}

func copyKilled(t *testing.T, random *rand.Rand, bucket bool) {
	const count, size = 6, 8 << 20
	w := newWorld(t, worldOptions{offsiteBucket: bucket})
	p := w.start(workerOptions{})
	w.pointsOfSize("undisturbed", count, size)
	began := time.Now()
	w.ended(w.ask(events.Copy, "undisturbed", copyOf("undisturbed")))
	lasts := time.Since(began)
	var jobs []string
	for i := range killsInWorld {
		name := fmt.Sprint("web-", i)
		w.pointsOfSize(name, count, size)
		moment := time.Duration(random.Float64() * 1.2 * float64(lasts))
		job := w.ask(events.Copy, fmt.Sprint("killed ", i), copyOf(name))
		jobs = append(jobs, job)
		time.Sleep(moment) // the fault itself
		p.kill()
		p = w.start(workerOptions{state: p.state})
		w.verify(jobs...)
		if end := w.ended(job); endStatus(t, end) != events.StatusSucceeded {
			t.Errorf("killed after %s, the job ended as %s: %s", moment, endStatus(t, end), end.Data())
		}
		if there := w.copies(name); len(there) != count {
			t.Errorf("killed after %s, there are %d points", moment, len(there))
		}
		report(t, fmt.Sprintf("sigkill %s into a copy of %s", moment.Round(time.Millisecond), lasts.Round(time.Millisecond)), 1, "succeeded")
	}
}

// TestCopyFaults has copies cancelled, sinks go, and others prune meanwhile.
func TestCopyFaults(t *testing.T) {
	t.Parallel()
	var cases group
	cases.add("cancelled", copyCancelled)
	cases.add("sink away", sinkAwayInACopy)
	cases.add("pruned meanwhile", prunedInACopy)
	cases.add("killed before it looked", killedBeforeItLooked)
	cases.run(t, sideBySide)
}

// copyCancelled: what was copied stays, nothing is left of the rest, and the next copy goes
// on.
func copyCancelled(t *testing.T) {
	const count, size = 6, 8 << 20
	w := newWorld(t, worldOptions{})
	w.start(workerOptions{})
	w.pointsOfSize("undisturbed", count, size)
	began := time.Now()
	w.ended(w.ask(events.Copy, "undisturbed", copyOf("undisturbed")))
	lasts := time.Since(began)
	var jobs []string
	for i := range cancels {
		name := fmt.Sprint("web-", i)
		w.pointsOfSize(name, count, size)
		job := w.ask(events.Copy, fmt.Sprint("cancelled ", i), copyOf(name))
		time.Sleep(time.Duration(float64(i) / cancels * float64(lasts))) // the moment
		w.cancel(job)
		end := w.ended(job)
		if status := endStatus(t, end); status != events.StatusCancelled && status != events.StatusSucceeded {
			t.Errorf("the job ended as %s: %s", status, end.Data())
		}
		w.undone()
		next := w.ask(events.Copy, fmt.Sprint("after ", i), copyOf(name))
		if status := endStatus(t, w.ended(next)); status != events.StatusSucceeded || len(w.copies(name)) != count {
			t.Errorf("the next job ended as %s", status)
		}
		jobs = append(jobs, job, next)
	}
	w.verify(jobs...)
	report(t, "copies cancelled", cancels, "what was copied stays, and the next goes on")
}

// sinkAwayInACopy: the job waits for the sink, and is done when it is back.
func sinkAwayInACopy(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.points("web-1", 3)
	p := w.start(workerOptions{env: []string{stopAfter(step.Staged, 1)}})
	job := w.ask(events.Copy, "1", copyOf("web-1"))
	p.frozen()
	away := filepath.Join(filepath.Dir(w.offsite), "away")
	if err := os.Rename(w.offsite, away); err != nil {
		t.Fatal(err)
	}
	p.resume()
	time.Sleep(2 * time.Second) // the fault itself
	if err := os.Rename(away, w.offsite); err != nil {
		t.Fatal(err)
	}
	end := w.ended(job)
	w.verify(job)
	if status := endStatus(t, end); status != events.StatusSucceeded || len(w.copies("web-1")) != 3 {
		t.Errorf("the job ended as %s: %s", status, end.Data())
	}
	report(t, "the sink that is copied to is away, and back", 1, "succeeded")
}

// prunedInACopy: another host prunes the sink that is copied from. What is being copied
// stays; what goes before its turn is skipped.
func prunedInACopy(t *testing.T) {
	w := newWorld(t, worldOptions{})
	other := newWorld(t, worldOptions{server: w.server, sink: w.sink})
	ids := w.points("web-1", 5)
	other.start(workerOptions{})
	p := w.start(workerOptions{env: []string{stopAfter(step.Staged, 1), "HOLDFAST_SLOTS=2"}})
	job := w.ask(events.Copy, "1", copyOf("web-1"))
	p.frozen()
	prune := other.ask(events.Prune, "1", fmt.Sprintf(`{"keep":{"last":1},"grace":"0s","hosts":[%q]}`, w.host))
	other.ended(prune)
	p.resume()
	end := w.ended(job)
	left := w.pointsLeft("web-1")
	if !slices.Contains(left, ids[4]) || slices.Contains(left, ids[0]) {
		t.Errorf("there are %q of %q", left, ids)
	}
	if there := w.copies("web-1"); endStatus(t, end) != events.StatusSucceeded || len(there) != len(left) {
		t.Errorf("the job ended as %s with %d points, of %q: %s", endStatus(t, end), len(there), left, end.Data())
	}
	w.verify(job)
	report(t, "another host prunes what is copied", 1, fmt.Sprintf("%d of 5 points were in use, and are copied", len(left)))
}

// killedBeforeItLooked: a worker dies when the copy is to be seen, and a prune has taken a layer
// that it needs. The next attempt finds the copy there, and brings the layer.
func killedBeforeItLooked(t *testing.T) {
	w := newWorld(t, worldOptions{layers: true})
	w.pointOf(dockertest.Container{Name: "a", Payload: 1 << 20}, false)
	first := w.start(workerOptions{env: []string{crashAfter(step.Published, 1)}})
	job := w.ask(events.Copy, "1", copyOf(w.host+"-a"))
	first.killed()
	blobs, err := filepath.Glob(filepath.Join(w.offsite, sink.BlobsName, "*"))
	if err != nil || len(blobs) < 3 {
		t.Fatalf("the blobs are %q, %v", blobs, err)
	}
	for _, blob := range blobs {
		if err := os.Remove(blob); err != nil {
			t.Fatal(err)
		}
	}
	w.start(workerOptions{state: first.state})
	end := w.ended(job)
	w.verify(job)
	if status := endStatus(t, end); status != events.StatusSucceeded {
		t.Errorf("the job ended as %s: %s", status, end.Data())
	}
	report(t, "sigkill after a copy is published, and its layers are gone", 1, "they are copied again")
}
