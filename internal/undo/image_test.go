package undo_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/undo"
)

// takenSnapshot is what somebody did with a snapshot while it was saved.
var takenSnapshot = map[string]struct {
	take    func(b *bench, ref string) (giveBack func())
	blocked bool // the snapshot stays until it is given back
}{
	"a container was made from it": {func(b *bench, ref string) func() {
		id := b.engine.Add(enginetest.Spec{Name: "theirs", Image: ref}, events.StateExited)
		return func() { b.engine.Remove(id) }
	}, true},
	"somebody has built upon it": {func(b *bench, ref string) func() {
		id := b.engine.Add(enginetest.Spec{Name: "theirs", Image: ref}, events.StateExited)
		child, err := b.engine.Commit(b.Context(), id, engine.CommitOptions{Reference: "theirs:v1"})
		if err != nil {
			b.Fatal(err)
		}
		b.engine.Remove(id)
		return func() {
			if err := b.engine.RemoveImage(b.Context(), child); err != nil {
				b.Error(err)
			}
		}
	}, true},
	"it was given another name": {func(b *bench, ref string) func() {
		img, err := b.engine.InspectImage(b.Context(), ref)
		if err != nil {
			b.Fatal(err)
		}
		b.engine.Tag(img.ID, "theirs:v1")
		return func() {
			if err := b.engine.RemoveImage(b.Context(), "theirs:v1"); err != nil {
				b.Error(err)
			}
		}
	}, false},
}

// A record stays until the image that it names is gone: also for the next process,
// and when the image has lost its name. Nobody waits for that.
func TestSweeperAndATakenSnapshot(t *testing.T) {
	for name, c := range takenSnapshot {
		for _, restarts := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				withBench(t, func(b *bench) {
					id := b.add(events.StateRunning)
					r := b.died(id, 1, events.QuiescePause)
					b.commit(r, 0)
					giveBack := c.take(b, snapshot(r))
					b.adopt(true, r)
					began := time.Now()
					if err := b.sweeper.Wait(b.Context()); err != nil || time.Since(began) > 15*time.Second {
						b.Errorf("a worker that ends waits for it for %s, %v", time.Since(began), err)
					}
					if got := b.engine.State(id); got != events.StateRunning {
						b.Errorf("the container is %s", got)
					}
					time.Sleep(24 * time.Hour)
					if left := b.sweeper.Left(); slices.Contains(left, r.ID) != c.blocked {
						b.Errorf("left are %q, want the record: %v", left, c.blocked)
					}
					if n := b.engine.Calls(enginetest.RemoveImage); n > 3*24*60 {
						b.Errorf("in a day it was tried %d times", n)
					}
					if restarts {
						b.restart()
					}
					giveBack()
					time.Sleep(2 * time.Minute)
					b.wantNothingLeft(id, events.StateRunning)
				})
			})
		}
	}
}

// restart has another process take over from one that was killed.
func (b *bench) restart() {
	b.Helper()
	b.newWorker()
	b.Cleanup(b.sweep())
	records, err := b.store.List()
	if err != nil {
		b.Fatal(err)
	}
	b.adopt(true, records...)
}

// What is undone is dropped from a record that stays: the container is its user's
// from then on, whoever goes on with the record.
func TestSweeperUndoesAnActionOnce(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		r := b.died(id, 1, events.QuiescePause)
		b.commit(r, 0)
		other := b.engine.Add(enginetest.Spec{Name: "theirs", Image: snapshot(r)}, events.StateRunning)
		b.adopt(true, r)
		time.Sleep(time.Minute)
		kept, err := b.store.Read(r.ID)
		if err != nil || kept.Holds() || len(kept.Actions) != 1 || kept.Actions[0].RemoveImage == nil || kept.Actions[0].RemoveImage.ID == "" {
			b.Errorf("kept is %+v, %v; want nothing but the image, with its id", kept, err)
		}
		b.engine.Freeze(id) // by its user
		b.restart()
		time.Sleep(time.Hour)
		b.engine.Remove(other)
		time.Sleep(2 * time.Minute)
		b.wantNothingLeft(id, events.StatePaused)
	})
}

// A record of a higher version is not adopted, and stays as it is.
func TestSweeperAndANewerRecord(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		r := b.died(id, 1, events.QuiescePause)
		newer := fmt.Appendf(nil, `{"version": %d, "id": %q}`, undo.Version+1, r.ID)
		if err := b.store.Put(r.ID, newer); err != nil {
			b.Fatal(err)
		}
		if err := b.sweeper.Adopt(b.Context(), r, true); err == nil {
			b.Error("it is adopted")
		}
		if left := b.sweeper.Left(); len(left) > 0 {
			b.Errorf("left are %q", left)
		}
		if _, err := b.store.Read(r.ID); err == nil {
			b.Error("the newer record was replaced")
		}
		if err := b.store.Remove(r.ID); err != nil {
			b.Fatal(err)
		}
	})
}

func TestDecode(t *testing.T) {
	for raw, ok := range map[string]bool{
		`{"version":1,"id":"x-1","actions":[{"unstage":{"sink":"s","dir":"d","name":"1"}}]}`:        true,
		`{"version":1,"id":"x-1","actions":null}`:                                                   true,
		`{"version":2,"id":"x-1","actions":[{"removeContainer":{"name":"holdfast-helper-x-1-0"}}]}`: true,
		`{"version":2,"id":"x-1","actions":[{"removeContainer":{"id":"abc"}}]}`:                     false,
		fmt.Sprintf(`{"version":%d,"id":"x-1"}`, undo.Version+1):                                    false,
		`{"id":"x-1"}`:  false,
		`{"version":1}`: false,
		`{"version":1,"id":"x-1","actions":[{}]}`:                         false,
		`{"version":1,"id":"x-1","actions":[{"renameBack":{}}]}`:          false,
		`{"version":1,"id":"x-1","actions":[{"unstage":{},"resume":{}}]}`: false,
		`{"version":1,"id":"x-1","owner":"x"}`:                            false,
		`null`:                                                            false,
		``:                                                                false,
	} {
		if _, err := undo.Decode([]byte(raw)); (err == nil) != ok {
			t.Errorf("%s: %v, want it to be taken: %v", raw, err, ok)
		}
	}
}

// A commit may end while the Sweeper starts the container, after it has looked for the
// image and found none. That the commit has ended by then does not say that there is no
// image.
func TestSweeperLooksAgainForAnImageThatCameMeanwhile(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		r := b.died(id, 1, events.QuiesceStop)
		entry, err := b.sweeper.Begin(b.Context(), nil, r)
		if err != nil {
			b.Fatal(err)
		}
		if err := b.engine.Stop(b.Context(), id); err != nil {
			b.Fatal(err)
		}
		ended := make(chan struct{})
		b.engine.Plan(enginetest.Fault{Op: enginetest.Start, During: func() {
			ref := snapshot(r)
			image, err := b.engine.Commit(b.Context(), id, engine.CommitOptions{Reference: ref, Comment: engine.SnapshotComment(ref)})
			if err != nil {
				b.Error(err)
			}
			entry.Change(func(r *undo.Record) { r.EndCommit(ref, image) })
			close(ended)
		}})
		entry.HandOver(nil, ended, func() bool { return false })
		b.wantNothingLeft(id, events.StateRunning)
	})
}
