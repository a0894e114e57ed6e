package backup_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/undo"
)

// died is a record of an attempt of a process that is dead, as of now, whose commit
// pauses the container.
func (b *bench) died(id string) undo.Record {
	b.Helper()
	c, err := b.engine.Inspect(b.Context(), id)
	if err != nil {
		b.Fatal(err)
	}
	rid := undo.ID(pointID, 1)
	return undo.Record{Version: undo.Version, ID: rid, Job: jobID, Attempt: 1,
		Item: events.Item{Kind: events.ItemContainer, ID: id, Name: "Web"}, Time: time.Now(),
		Actions: []undo.Action{
			{Resume: &undo.Resume{Container: id, Quiesce: events.QuiescePause, Before: c.State, StartedAt: c.StartedAt}},
			{RemoveImage: &undo.Image{Reference: engine.SnapshotReference(rid)}},
			{Unstage: &undo.Staging{Sink: "default", Dir: point.Dir("host", events.ItemContainer, "Web", pointID), Name: "1"}},
		}}
}

// adopt gives records to the sweeper of a worker that starts.
func (b *bench) adopt(records ...undo.Record) {
	b.Helper()
	for _, r := range records {
		if err := b.sweeper.Adopt(b.Context(), r, true); err != nil {
			b.Fatal(err)
		}
	}
}

// A container that a dead attempt has quiesced is no other's before it is resumed:
// the dead one's pause is not its user's.
func TestSweeperKeepsTheContainer(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		n := b.died(id)
		ref := engine.SnapshotReference(n.ID)
		b.engine.Plan(enginetest.Fault{Op: enginetest.Commit, On: id, Err: errors.New("its client is gone"), GoesOn: time.Minute, Times: 3})
		if _, err := b.engine.Commit(b.Context(), id,
			engine.CommitOptions{Reference: ref, Comment: engine.SnapshotComment(ref), Pause: true}); err == nil {
			b.Error("the commit did not lose its client")
		}
		b.adopt(n)
		task := b.task(id, events.QuiescePause)
		task.Attempt = 2
		result, err := b.run(b.Context(), task)
		if err != nil {
			b.Fatal(err)
		}
		if m := b.wantStored(result); m.State != events.StateRunning || m.SnapshotTime.Sub(n.Time) < time.Minute {
			b.Errorf("the container was %s, at %s after its record", m.State, m.SnapshotTime.Sub(n.Time))
		}
		b.wantAsItWas(id, events.StateRunning)
	})
}

// What a living attempt has is not undone.
func TestSweeperLeavesLivingAttemptsAlone(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		b.engine.Plan(enginetest.Fault{Op: enginetest.Commit, During: func() {
			records, err := b.store.List()
			if err != nil || len(records) != 1 {
				b.Fatalf("the records are %+v, %v", records, err)
			}
			b.adopt(records...)
			ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
			defer cancel()
			if err := b.sweeper.Undone(ctx, records[0].ID); err == nil {
				b.Error("the record of a living attempt is said to be gone")
			}
			if left := b.sweeper.Left(); len(left) > 0 {
				b.Errorf("left are %q", left)
			}
		}})
		result, err := b.run(b.Context(), b.task(id, events.QuiescePause))
		if err != nil {
			b.Fatal(err)
		}
		b.wantStored(result)
		b.wantAsItWas(id, events.StateRunning)
	})
}
