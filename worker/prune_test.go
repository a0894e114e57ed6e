package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/file"
)

// points stores n points of a container in the world's sink, as workers have in the n
// days before, and returns their ids, the oldest first.
func (w *world) points(name string, n int) (ids []string) { return w.pointsOfSize(name, n, 100) }

// pointsOfSize is points of which each has so many bytes.
func (w *world) pointsOfSize(name string, n, size int) (ids []string) {
	w.t.Helper()
	to, err := file.Open(w.t.Context(), w.sink, "", file.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	for day := n; day > 0; day-- {
		when := time.Now().UTC().AddDate(0, 0, -day)
		id := when.Format("20060102T150405Z") + fmt.Sprintf("-%08x", day)
		if err := w.storePoint(to, name, id, when, size); err != nil {
			w.t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

func (w *world) storePoint(to sink.Sink, name, id string, when time.Time, size int) error {
	ctx := w.t.Context()
	dir := point.Dir(w.host, events.ItemContainer, name, id)
	staging, err := to.Stage(ctx, dir, "1")
	if err != nil {
		return err
	}
	archive := bytes.Repeat([]byte("the archive of "+id+"\n"), 1+size/len(id))
	out, key, err := staging.Create(ctx, point.ImageArchive, 0)
	if err != nil {
		return err
	}
	if _, err := out.Write(archive); err != nil {
		return err
	}
	m := point.Manifest{
		FormatVersion: point.FormatVersion, ID: id, Host: w.host, Job: "ptg32uecxwng6yf7", Attempt: 1,
		Item:         events.Item{Kind: events.ItemContainer, ID: fmt.Sprintf("%x", sha256.Sum256([]byte(name))), Name: name},
		Request:      point.Request{Source: worldSource, ID: id, CorrelationID: id},
		SnapshotTime: when, StoredTime: when, Quiesce: events.QuiescePause, State: events.StateRunning,
		Image: &point.Image{ID: digestOf(id), ConfigDigest: digestOf(id), Layers: 1}, Engine: point.Engine{Version: "1", Store: "overlay2"},
		Artifacts: []events.Artifact{{Key: key, MediaType: point.MediaTypeImageArchive, Size: int64(len(archive)),
			Digest: digestOf(string(archive)), UncompressedSize: int64(len(archive))}},
		NotIncluded: []events.NotIncluded{}, Holdfast: "test",
	}
	raw, err := m.Encode()
	if err != nil {
		return err
	}
	return errors.Join(out.Commit(), staging.Publish(ctx, raw), staging.Discard(ctx))
}

func digestOf(text string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text))) }

// checkRemoval: of a point that was reported as removed nothing is left, or it is
// hidden where that was reported.
func (w *world) checkRemoval(data *events.PruneItemCompleted) error {
	dir := filepath.Join(w.sink, data.Path)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if data.GoneAfter.IsZero() {
		return fmt.Errorf("point %s was reported as gone at once, and is there", data.Point)
	}
	if _, err := os.Stat(filepath.Join(dir, sink.RemovedName)); err != nil {
		return fmt.Errorf("point %s was reported as gone after %s, and is not hidden: %w", data.Point, data.GoneAfter, err)
	}
	return nil
}

// TestPruneKilled kills a worker at any moment of a prune, and has the next one carry
// it on: what was to stay stays, whole, and of the rest nothing is left.
func TestPruneKilled(t *testing.T) {
	t.Parallel()
	var worlds group
	worlds.addKilled(t, "prune", pruneKilled)
	worlds.run(t, sideBySide)
}

func pruneKilled(t *testing.T, random *rand.Rand) {
	const request, count = `{"keep":{"last":1},"grace":"0s"}`, 12
	w := newWorld(t, worldOptions{})
	p := w.start(workerOptions{})
	w.points("undisturbed", count)
	began := time.Now()
	w.ended(w.ask(events.Prune, "undisturbed", request))
	lasts := time.Since(began)
	var jobs []string
	for i := range killsInWorld {
		kept := w.points(fmt.Sprint("web-", i), count)[count-1]
		moment := time.Duration(random.Float64() * 1.2 * float64(lasts))
		job := w.ask(events.Prune, fmt.Sprint("killed ", i), request)
		jobs = append(jobs, job)
		time.Sleep(moment) // the fault itself
		p.kill()
		p = w.start(workerOptions{state: p.state})
		w.verify(jobs...)
		if end := w.ended(job); endStatus(t, end) != events.StatusSucceeded {
			t.Errorf("killed after %s, the job ended as %s: %s", moment, endStatus(t, end), end.Data())
		}
		if left := w.pointsLeft(fmt.Sprint("web-", i)); !slices.Equal(left, []string{kept}) {
			t.Errorf("killed after %s, there are %q, want %s", moment, left, kept)
		}
		report(t, fmt.Sprintf("sigkill %s into a prune of %s", moment.Round(time.Millisecond), lasts.Round(time.Millisecond)), 1, "succeeded")
	}
}

// pointsLeft are the ids of the points of a container.
func (w *world) pointsLeft(name string) (ids []string) {
	w.t.Helper()
	dirs, err := filepath.Glob(filepath.Join(w.sink, "points", w.host, "container", name, "*"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, dir := range dirs {
		ids = append(ids, filepath.Base(dir))
	}
	return ids
}

// TestPruneOneSinkByTwo has two hosts prune the sink that they share, each the points of
// both, while one of them backs up.
func TestPruneOneSinkByTwo(t *testing.T) {
	t.Parallel()
	const request, count = `{"keep":{"last":1},"grace":"0s"}`, 12
	first := newWorld(t, worldOptions{})
	second := newWorld(t, worldOptions{server: first.server, sink: first.sink})
	worlds := []*world{first, second}
	kept := map[*world]string{}
	for _, w := range worlds {
		kept[w] = w.points("web-1", count)[count-1]
		w.start(workerOptions{})
	}
	backup := first.backup("meanwhile", first.container("a", 4<<20))
	jobs := map[*world]string{}
	for _, w := range worlds {
		jobs[w] = w.ask(events.Prune, "prune "+w.host, request)
	}
	for _, w := range worlds {
		if end := w.ended(jobs[w]); endStatus(t, end) != events.StatusSucceeded {
			t.Errorf("the prune of %s ended as %s", w.host, end.Data())
		}
		if left := w.pointsLeft("web-1"); !slices.Equal(left, []string{kept[w]}) {
			t.Errorf("of %s there are %q, want %s", w.host, left, kept[w])
		}
		w.verify(jobs[w])
	}
	if end := first.ended(backup); endStatus(t, end) != events.StatusSucceeded {
		t.Errorf("the backup ended as %s", end.Data())
	}
	first.verify(backup)
}
