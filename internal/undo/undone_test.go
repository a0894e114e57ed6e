package undo_test

import (
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
					b.Fatal("it was let go before the Engine did")
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
