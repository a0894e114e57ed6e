package backup_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/stall"
	"holdfast.io/holdfast/internal/undo"
)

const noProgress = 10 * time.Minute

// slowSink is a sink each of whose writes waits before, whatever its context says.
type slowSink struct {
	sink.Sink
	wait func()
}

// sleep waits for some time.
func sleep(d time.Duration) (wait func()) { return func() { time.Sleep(d) } }

func (s slowSink) Unwrap() sink.Sink { return s.Sink }

func (s slowSink) Stage(ctx context.Context, dir, attempt string) (sink.Staging, error) {
	staging, err := s.Sink.Stage(ctx, dir, attempt)
	return slowStaging{staging, s.wait}, err
}

type slowStaging struct {
	sink.Staging
	wait func()
}

func (s slowStaging) Create(ctx context.Context, name string, most int64) (sink.Writer, string, error) {
	w, key, err := s.Staging.Create(ctx, name, most)
	return slowWriter{w, s.wait}, key, err
}

func (s slowStaging) CreateBlob(ctx context.Context, most int64) (sink.BlobWriter, error) {
	w, err := s.Staging.CreateBlob(ctx, most)
	return slowBlob{w, s.wait}, err
}

type slowBlob struct {
	sink.BlobWriter
	wait func()
}

func (w slowBlob) Write(p []byte) (int, error) {
	w.wait()
	return w.BlobWriter.Write(p)
}

type slowWriter struct {
	sink.Writer
	wait func()
}

func (w slowWriter) Write(p []byte) (int, error) {
	w.wait()
	return w.Writer.Write(p)
}

// What hangs is given up, whatever it is, and holds nobody up for longer.
func TestRunWithoutProgress(t *testing.T) {
	hang := func(op enginetest.Op, cut int) func(b *bench, _ *backup.Task) {
		return func(b *bench, _ *backup.Task) { b.engine.Plan(enginetest.Fault{Op: op, Hang: true, Cut: cut}) }
	}
	cases := map[string]struct {
		plan func(b *bench, task *backup.Task)
		step events.Step
	}{
		"the Engine, from the beginning": {hang(enginetest.About, 0), events.StepInspect},
		"the commit": {func(b *bench, _ *backup.Task) {
			b.engine.Plan(enginetest.Fault{Op: enginetest.Commit, During: func() { time.Sleep(24 * time.Hour) }})
		}, events.StepCommit},
		"the save, before its first byte": {hang(enginetest.Save, 0), events.StepSave},
		"the save, in its midst":          {hang(enginetest.Save, 2<<20), events.StepSave},
		"the sink": {func(b *bench, task *backup.Task) {
			task.Legs = legs(slowSink{b.sink, sleep(24 * time.Hour)})
		}, events.StepSave},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				b.runner.StallTimeout = noProgress
				id := b.add(events.StateRunning)
				b.fill(id)
				task := b.task(id, events.QuiescePause)
				c.plan(b, &task)
				began := time.Now()
				_, err := b.run(b.Context(), task)
				b.wantError(err, c.step, events.CodeTimeout, true)
				if !errors.Is(err, stall.ErrStalled) {
					b.Errorf("%q does not say why", err)
				}
				if took := time.Since(began); took < noProgress || took > noProgress+time.Second {
					b.Errorf("it took %s, want %s", took, noProgress)
				}
				time.Sleep(10 * time.Minute)
				if got := b.engine.State(id); got != events.StateRunning {
					b.Errorf("the container is %s", got)
				}
				time.Sleep(25 * time.Hour)
				b.wantNothingLeft(id, events.StateRunning)
			})
		})
	}
}

// What is slow is not given up as long as it goes on.
func TestRunWithLittleProgress(t *testing.T) {
	withBench(t, func(b *bench) {
		b.runner.StallTimeout = noProgress
		id := b.add(events.StateRunning)
		b.fill(id)
		task := b.task(id, events.QuiescePause)
		task.Legs = legs(slowSink{b.sink, sleep(noProgress - time.Second)})
		task.Ledger = ledger(func(context.Context, undo.Record) error {
			time.Sleep(24 * time.Hour) // it is not the item that is slow
			return nil
		})
		b.engine.Plan(enginetest.Fault{Op: enginetest.Commit, During: func() { time.Sleep(noProgress - time.Second) }})
		began := time.Now()
		result, err := b.run(b.Context(), task)
		if err != nil {
			b.Fatalf("after %s: %v", time.Since(began), err)
		}
		b.wantStored(result)
		b.wantAsItWas(id, events.StateRunning)
	})
}
