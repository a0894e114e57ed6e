package backup_test

import (
	"context"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/engine/enginetest"
)

// lastCall is how long the last call of a worker that died takes.
const lastCall = 8 * time.Second

// crash lets a worker die at a call of the Engine, which goes on with that call,
// and has another one take over, which knows nothing but the records. work is what
// the first one does.
func (b *bench) crash(at enginetest.Op, id string, work func(ctx context.Context)) {
	b.Helper()
	ctx, die := context.WithCancelCause(b.Context())
	b.newWorker() // its Sweeper does not run: the process is dead
	b.engine.Plan(enginetest.Fault{Op: at, On: id, During: func() {
		die(backup.ErrStopping)
		time.Sleep(lastCall)
	}})
	work(ctx)
	b.newWorker()
	records, err := b.store.List()
	if err != nil {
		b.Fatal(err)
	}
	b.adopt(records...)
}

func TestTakeover(t *testing.T) {
	for _, quiesce := range []events.Quiesce{events.QuiescePause, events.QuiesceStop, events.QuiesceNone} {
		for _, op := range []enginetest.Op{
			enginetest.Inspect, enginetest.Stop, enginetest.Commit, enginetest.Start, enginetest.InspectImage, enginetest.Save,
			enginetest.RemoveImage,
		} {
			if stops := op == enginetest.Stop || op == enginetest.Start; stops && quiesce != events.QuiesceStop {
				continue
			}
			t.Run(string(quiesce)+" "+string(op), func(t *testing.T) {
				withBench(t, func(b *bench) {
					id := b.add(events.StateRunning)
					b.crash(op, "", func(ctx context.Context) {
						if _, err := b.run(ctx, b.task(id, quiesce)); err == nil && op != enginetest.RemoveImage {
							b.Error("it did not crash")
						}
					})
					defer b.sweep()()
					task := b.task(id, quiesce)
					task.Attempt = 2
					result, err := b.run(b.Context(), task)
					if err != nil {
						b.Fatal(err)
					}
					if m := b.wantStored(result); m.State != events.StateRunning {
						b.Errorf("the container is said to have been %s", m.State)
					}
					b.wantAsItWas(id, events.StateRunning)
					time.Sleep(lastCall)
				})
			})
		}
	}
}

func TestTakeoverOfASet(t *testing.T) {
	for _, op := range []enginetest.Op{enginetest.Watch, enginetest.Pause, enginetest.Stop, enginetest.Commit,
		enginetest.Unpause, enginetest.Start} {
		for member := range three {
			stops := op == enginetest.Stop || op == enginetest.Start
			pauses := op == enginetest.Pause || op == enginetest.Unpause
			if stops && member != 1 || pauses && member == 1 {
				continue
			}
			t.Run(string(op), func(t *testing.T) {
				withBench(t, func(b *bench) {
					ids, tasks := b.set(three...)
					b.crash(op, ids[member], func(ctx context.Context) {
						if _, errs := b.storeAll(b.runner.Capture(ctx, tasks)); errs[0] == nil {
							b.Error("it did not crash")
						}
					})
					defer b.sweep()()
					for i := range tasks {
						tasks[i].Attempt = 2
					}
					began := time.Now()
					results, errs := b.storeAll(b.runner.Capture(b.Context(), tasks))
					b.wantCodes(errs, "", "", "")
					for i, r := range results {
						if r != nil && r.Manifest.State != events.StateRunning {
							b.Errorf("member %d is said to have been %s", i, r.Manifest.State)
						}
					}
					if took := time.Since(began); took > time.Minute {
						b.Errorf("the next attempt took %s", took)
					}
					b.wantSet(ids, three)
					time.Sleep(lastCall)
				})
			})
		}
	}
}
