package undo_test

import (
	"errors"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/undo"
)

// The ledger's copy of a record knows less than the one on disk: it does not say that
// the container was resumed. What was undone by the latter is not waited for again.
func TestSweeperUndoesARecordOnce(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		n := b.died(id, 1, events.QuiescePause)
		known := b.died(id, 1, events.QuiescePause)
		committed(&known)
		b.adopt(true, known)
		b.settle()
		began := time.Now()
		b.adopt(true, n)
		release, err := b.sweeper.Locks.Acquire(b.Context(), undo.Container(id))
		if err != nil {
			b.Fatal(err)
		}
		release()
		if took := time.Since(began); took > time.Second {
			b.Errorf("the container was kept for %s", took)
		}
		if left := append(b.sweeper.Left(), b.recorded()...); len(left) > 0 {
			b.Errorf("%q are to be undone", left)
		}
	})
}

// The Engine shows the image of a commit before it lets the container go. Who lets
// it go in between has the next commit of the container falsified by that.
func TestSweeperLetsTheEngineEndItsOwnPause(t *testing.T) {
	for name, engineDoes := range map[string]bool{"it does": true, "it does not": false} {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				id := b.add(events.StateRunning)
				n := b.died(id, 1, events.QuiescePause)
				b.commit(n, 0)
				b.engine.Freeze(id) // as the Engine has it at that moment
				b.adopt(true, n)
				time.Sleep(3 * time.Second)
				if n := b.engine.Calls(enginetest.Unpause); n > 0 {
					b.Fatal("it was resumed before the Engine resumed it")
				}
				began := time.Now()
				if engineDoes {
					if err := b.engine.Unpause(b.Context(), id); err != nil {
						b.Fatal(err)
					}
				}
				b.wantAsItWas(id, events.StateRunning)
				if took := time.Since(began); took > 15*time.Second || engineDoes && took > 5*time.Second {
					b.Errorf("the container was kept for %s", took)
				}
			})
		})
	}
}

// Nobody waits for what fails again and again, nor for an image that an unobserved
// commit is not likely to produce any more; both are undone when that is possible.
func TestSweeperIsNotWaitedFor(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		r := b.died(id, 1, events.QuiesceStop)
		if err := b.engine.Stop(b.Context(), id); err != nil {
			b.Fatal(err)
		}
		b.engine.Plan(enginetest.Fault{Op: enginetest.Start, Err: errors.New("the port is taken"), Times: 10})
		b.sweeper.Patience = 4
		began := time.Now()
		b.adopt(true, r)
		if _, err := b.sweeper.Locks.Acquire(b.Context(), undo.Container(id)); !errors.Is(err, undo.ErrBlocked) {
			b.Errorf("who wants the container gets %v, want ErrBlocked", err)
		}
		if err := b.sweeper.Wait(b.Context()); err != nil || time.Since(began) > 3*time.Second {
			b.Errorf("it was waited for %s: %v", time.Since(began), err)
		}
		if left := b.sweeper.Left(); len(left) != 1 {
			b.Errorf("%q are left, want the record", left)
		}
		for b.engine.State(id) != events.StateRunning {
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		began = time.Now()
		if err := b.sweeper.Wait(b.Context()); err != nil || time.Since(began) > time.Second {
			b.Errorf("an image that may still come was waited for %s: %v", time.Since(began), err)
		}
		time.Sleep(15 * time.Minute)
		if left := append(b.sweeper.Left(), b.recorded()...); len(left) > 0 {
			b.Errorf("%q are left", left)
		}
	})
}
