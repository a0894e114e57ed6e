package backup_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/point"
)

// What an attempt may leave behind is noted, with others and on disk, before it
// is begun.
func TestRunNotesFirst(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		detail, err := b.engine.Inspect(b.Context(), id)
		if err != nil {
			b.Fatal(err)
		}
		task := b.task(id, events.QuiesceStop)
		task.Attempt = 7
		var begun []backup.Note
		task.Begin = func(_ context.Context, n backup.Note) error {
			if got := b.noted(); len(got) > 0 {
				b.Errorf("on disk are %q before others know", got)
			}
			begun = append(begun, n)
			return nil
		}
		b.engine.Plan(enginetest.Fault{Op: enginetest.Stop, During: func() {
			if notes, err := b.notes.List(); err != nil || len(notes) != 1 || notes[0] != begun[0] {
				b.Errorf("when the container is stopped, the notes are %+v, %v", notes, err)
			}
		}}, enginetest.Fault{Op: enginetest.Save, During: func() {
			if notes, err := b.notes.List(); err != nil || len(notes) != 1 || !notes[0].Committed {
				b.Errorf("when the container runs again, the notes are %+v, %v", notes, err)
			}
		}})
		began := time.Now().UTC()
		result, err := b.backuper.Run(b.Context(), task)
		if err != nil {
			b.Fatal(err)
		}
		want := backup.Note{
			Job: jobID, Attempt: 7, Point: pointID, Item: task.Item.Item, Sink: "default", Dir: result.Dir,
			Snapshot: "holdfast/snapshot:" + pointID + "-7", Quiesce: events.QuiesceStop,
			Before: events.StateRunning, StartedAt: detail.StartedAt.UTC(), Time: began,
		}
		if len(begun) != 1 || begun[0] != want {
			b.Errorf("begun were %+v, want once %+v", begun, want)
		}
		b.wantStored(result)
		b.wantAsItWas(id, events.StateRunning)
	})
}

func TestRunNotesAnImageFirst(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.engine.AddImage("db:16")
		task := b.task("", "")
		task.Item = events.PlannedItem{Item: events.Item{Kind: events.ItemImage, ID: id, Name: "db:16"}}
		var begun backup.Note
		task.Begin = func(_ context.Context, n backup.Note) error {
			begun = n
			return nil
		}
		b.engine.Plan(enginetest.Fault{Op: enginetest.Save, During: func() {
			if got := b.noted(); len(got) != 1 || got[0] != begun.ID() {
				b.Errorf("when the image is saved, the notes are %q", got)
			}
		}})
		if _, err := b.backuper.Run(b.Context(), task); err != nil {
			b.Fatal(err)
		}
		want := backup.Note{Job: jobID, Attempt: 1, Point: pointID, Item: task.Item.Item, Sink: "default",
			Dir: point.Dir("host", events.ItemImage, "db:16", pointID), Time: begun.Time}
		if begun != want {
			b.Errorf("begun was %+v, want %+v", begun, want)
		}
		b.settle()
	})
}

// What cannot be noted is not begun.
func TestRunWithoutANote(t *testing.T) {
	refused := errors.New("refused")
	cases := map[string]func(b *bench, task *backup.Task){
		"others cannot be told": func(_ *bench, task *backup.Task) {
			task.Begin = func(context.Context, backup.Note) error { return refused }
		},
		"it cannot be written to disk": func(b *bench, _ *backup.Task) { b.notes.FailWrites(refused) },
	}
	for name, plan := range cases {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				id := b.add(events.StateRunning)
				task := b.task(id, events.QuiesceStop)
				plan(b, &task)
				_, err := b.backuper.Run(b.Context(), task)
				b.wantError(err, events.StepInspect, events.CodeInternal, true)
				if !errors.Is(err, refused) {
					b.Errorf("%q does not say why", err)
				}
				if b.engine.Calls(enginetest.Commit)+b.engine.Calls(enginetest.Stop) > 0 {
					b.Error("it was touched")
				}
				b.wantNothingLeft(id, events.StateRunning)
				b.notes.FailWrites(nil)
				if _, err := b.backuper.Run(b.Context(), b.task(id, events.QuiescePause)); err != nil {
					b.Errorf("the next attempt: %v", err)
				}
			})
		})
	}
}

// A note that cannot be removed is left to the Tidier; the point counts.
func TestRunWithANoteThatStays(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		b.notes.FailRemoves(3, errors.New("broken"))
		result, err := b.backuper.Run(b.Context(), b.task(id, events.QuiescePause))
		if err != nil {
			b.Fatal(err)
		}
		b.wantStored(result)
		b.wantAsItWas(id, events.StateRunning)
	})
}

// A job is left also while others are told, and what it had begun to note goes.
func TestRunLeftWhileItIsNoted(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		ctx, cancel := context.WithCancelCause(b.Context())
		task := b.task(id, events.QuiescePause)
		task.Begin = func(context.Context, backup.Note) error {
			cancel(backup.ErrStopping)
			time.Sleep(time.Hour) // whatever ctx says
			return nil
		}
		began := time.Now()
		_, err := b.backuper.Run(ctx, task)
		if took := time.Since(began); took > time.Second {
			b.Errorf("it returned after %s", took)
		}
		b.wantError(err, events.StepInspect, events.CodeCancelled, true)
		time.Sleep(2 * time.Hour)
		if b.engine.Calls(enginetest.Commit) > 0 {
			b.Error("it was committed")
		}
		b.wantNothingLeft(id, events.StateRunning)
		if err := b.tidier.Undone(b.Context(), pointID+"-1"); err != nil {
			b.Error(err)
		}
	})
}
