package backup_test

import (
	"testing"
	"time"

	"holdfast.io/holdfast/events"
)

// The ledger's copy of a note knows less than the one on disk: it does not say that
// the container was let go. What was undone by the latter is not waited for again.
func TestTidierUndoesANoteOnce(t *testing.T) {
	withBench(t, func(b *bench) {
		id := b.add(events.StateRunning)
		n := b.died(id, 1, events.QuiescePause)
		known := n
		known.Committed = true
		b.adopt(true, known)
		b.settle()
		began := time.Now()
		b.adopt(true, n)
		if _, err := b.backuper.Run(b.Context(), b.task(id, events.QuiescePause)); err != nil {
			b.Fatal(err)
		}
		if took := time.Since(began); took > time.Second {
			b.Errorf("the container was kept for %s", took)
		}
		if left := append(b.tidier.Left(), b.noted()...); len(left) > 0 {
			b.Errorf("%q are to be undone", left)
		}
	})
}
