package undo_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"holdfast.io/holdfast/internal/undo"
)

// Nobody waits for a lock that its holder cannot release; who waited already learns
// it too, and who asks after the release has it.
func TestBlockedLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var locks undo.Locks
		c, why := undo.Container("c"), errors.New("the port is taken")
		locks.Block(c, why) // nobody holds it
		release, err := locks.Acquire(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		waited := make(chan error)
		go func() {
			_, err := locks.Acquire(t.Context(), c)
			waited <- err
		}()
		synctest.Wait()
		locks.Block(c, why)
		for _, err := range []error{<-waited, func() error { _, err := locks.Acquire(t.Context(), c); return err }()} {
			if !errors.Is(err, undo.ErrBlocked) || !errors.Is(err, why) {
				t.Errorf("it reports %v, want ErrBlocked and why", err)
			}
		}
		if other, err := locks.Acquire(t.Context(), undo.Container("d")); err != nil {
			t.Errorf("another container: %v", err)
		} else {
			other()
		}
		locks.Block(c, nil)
		go func() {
			release, err := locks.Acquire(t.Context(), c)
			if err == nil {
				release()
			}
			waited <- err
		}()
		synctest.Wait()
		release()
		if err := <-waited; err != nil {
			t.Errorf("after its release: %v", err)
		}
	})
}
