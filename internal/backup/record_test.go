package backup_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/undo"
)

// ledger is an [undo.Ledger] that is a function.
type ledger func(ctx context.Context, r undo.Record) error

func (l ledger) Begin(ctx context.Context, r undo.Record) error { return l(ctx, r) }

// What an attempt may leave behind is recorded, in the ledger and on disk, before it
// is begun.
func TestRunRecordsFirst(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		detail, err := b.engine.Inspect(b.Context(), id)
		if err != nil {
			b.Fatal(err)
		}
		task := b.task(id, events.QuiesceStop)
		task.Attempt = 7
		var begun []undo.Record
		task.Ledger = ledger(func(_ context.Context, r undo.Record) error {
			begun = append(begun, r)
			return nil
		})
		b.engine.Plan(enginetest.Fault{Op: enginetest.Stop, During: func() {
			if records, err := b.store.List(); err != nil || len(records) != 1 || !reflect.DeepEqual(records[0], begun[0]) {
				b.Errorf("when the container is stopped, the records are %+v, %v", records, err)
			}
		}}, enginetest.Fault{Op: enginetest.Save, During: func() {
			records, err := b.store.List()
			if err != nil || len(records) != 1 || records[0].Holds() || records[0].Actions[0].RemoveImage.ID == "" ||
				!records[0].Actions[0].RemoveImage.Committed {
				b.Errorf("when the container runs again, the records are %+v, %v", records, err)
			}
		}})
		began := time.Now().UTC()
		result, err := b.run(b.Context(), task)
		if err != nil {
			b.Fatal(err)
		}
		want := undo.Record{
			Version: undo.Version, ID: pointID + "-7", Job: jobID, Attempt: 7, Item: task.Item.Item, Time: began,
			Actions: []undo.Action{
				{Resume: &undo.Resume{Container: id, Quiesce: events.QuiesceStop, Before: events.StateRunning, StartedAt: detail.StartedAt.UTC()}},
				{RemoveImage: &undo.Image{Reference: "holdfast/snapshot:" + pointID + "-7"}},
				{Unstage: &undo.Staging{Sink: "default", Dir: result.Dir, Name: "7"}},
			},
		}
		if len(begun) != 1 || !reflect.DeepEqual(begun[0], want) {
			b.Errorf("begun were %+v, want once %+v", begun, want)
		}
		b.wantStored(result)
		b.wantAsItWas(id, events.StateRunning)
	})
}

func TestRunRecordsAnImageFirst(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.engine.AddImage("db:16")
		task := b.task("", "")
		task.Item = events.PlannedItem{Item: events.Item{Kind: events.ItemImage, ID: id, Name: "db:16"}}
		var begun undo.Record
		task.Ledger = ledger(func(_ context.Context, r undo.Record) error {
			begun = r
			return nil
		})
		b.engine.Plan(enginetest.Fault{Op: enginetest.Save, During: func() {
			if got := b.recorded(); len(got) != 1 || got[0] != begun.ID {
				b.Errorf("when the image is saved, the records are %q", got)
			}
		}})
		if _, err := b.run(b.Context(), task); err != nil {
			b.Fatal(err)
		}
		want := undo.Record{Version: undo.Version, ID: pointID + "-1", Job: jobID, Attempt: 1, Item: task.Item.Item, Time: begun.Time,
			Actions: []undo.Action{{Unstage: &undo.Staging{Sink: "default", Dir: point.Dir("host", events.ItemImage, "db:16", pointID), Name: "1"}}}}
		if !reflect.DeepEqual(begun, want) {
			b.Errorf("begun was %+v, want %+v", begun, want)
		}
		b.settle()
	})
}

// What cannot be recorded is not begun.
func TestRunWithoutARecord(t *testing.T) {
	refused := errors.New("refused")
	cases := map[string]func(b *bench, task *backup.Task){
		"others cannot be told": func(_ *bench, task *backup.Task) {
			task.Ledger = ledger(func(context.Context, undo.Record) error { return refused })
		},
		"it cannot be written to disk": func(b *bench, _ *backup.Task) { b.store.FailWrites(refused) },
	}
	for name, plan := range cases {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				id := b.add(events.StateRunning)
				task := b.task(id, events.QuiesceStop)
				plan(b, &task)
				_, err := b.run(b.Context(), task)
				b.wantError(err, events.StepInspect, events.CodeInternal, true)
				if !errors.Is(err, refused) {
					b.Errorf("%q does not say why", err)
				}
				if b.engine.Calls(enginetest.Commit)+b.engine.Calls(enginetest.Stop) > 0 {
					b.Error("it was touched")
				}
				b.wantNothingLeft(id, events.StateRunning)
				b.store.FailWrites(nil)
				if _, err := b.run(b.Context(), b.task(id, events.QuiescePause)); err != nil {
					b.Errorf("the next attempt: %v", err)
				}
			})
		})
	}
}

// A record that cannot be removed is left to the Sweeper; the point counts.
func TestRunWithARecordThatStays(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		b.store.FailRemoves(3, errors.New("broken"))
		result, err := b.run(b.Context(), b.task(id, events.QuiescePause))
		if err != nil {
			b.Fatal(err)
		}
		b.wantStored(result)
		b.wantAsItWas(id, events.StateRunning)
	})
}

// A job is left also while others are told, and what it had begun to record goes.
func TestRunLeftWhileItIsRecorded(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		ctx, cancel := context.WithCancelCause(b.Context())
		task := b.task(id, events.QuiescePause)
		task.Ledger = ledger(func(context.Context, undo.Record) error {
			cancel(backup.ErrStopping)
			time.Sleep(time.Hour) // whatever ctx says
			return nil
		})
		began := time.Now()
		_, err := b.run(ctx, task)
		if took := time.Since(began); took > time.Second {
			b.Errorf("it returned after %s", took)
		}
		b.wantError(err, events.StepInspect, events.CodeCancelled, true)
		time.Sleep(2 * time.Hour)
		if b.engine.Calls(enginetest.Commit) > 0 {
			b.Error("it was committed")
		}
		b.wantNothingLeft(id, events.StateRunning)
		if err := b.sweeper.Undone(b.Context(), pointID+"-1"); err != nil {
			b.Error(err)
		}
	})
}
