package lease_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"holdfast.io/holdfast/internal/lease"
	"holdfast.io/holdfast/internal/ledger/ledgertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func contender(t *testing.T, locks *ledgertest.Memory, owner string) lease.Contender {
	return lease.Contender{Locks: locks, Host: "web01", Log: zaptest.NewLogger(t),
		Holder: lease.Holder{Owner: owner, EngineID: "engine1", Process: "process of " + owner}}
}

func acquire(t *testing.T, c lease.Contender) *lease.Lease {
	t.Helper()
	held, err := c.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return held
}

func release(t *testing.T, held *lease.Lease) {
	t.Helper()
	if err := held.Release(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestOneStandsByAndTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		locks := ledgertest.NewMemory()
		first := acquire(t, contender(t, locks, "a"))
		second := contender(t, locks, "b")
		stoodBy := ""
		second.StandBy = func(holder lease.Holder) { stoodBy += holder.Process }
		taken := make(chan *lease.Lease)
		go func() { taken <- acquire(t, second) }()
		select {
		case <-taken:
			t.Error("it did not wait for the holder")
		case <-time.After(time.Hour):
		}
		if stoodBy != "process of a" {
			t.Errorf("stood by for %q", stoodBy)
		}
		release(t, first)
		began := time.Now()
		held := <-taken
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("it took over %s after the lease was released", took)
		}
		if err := first.Confirm(t.Context()); err == nil {
			t.Error("who released it still holds it")
		}
		release(t, held)
	})
}

func TestWhoIsNotHeardOfLosesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// A worker that is frozen is one whose store is away: it renews nothing.
		locks, frozen := ledgertest.NewMemory(), &gate{Memory: nil}
		frozen.Memory = locks
		c := contender(t, locks, "a")
		c.Locks = frozen
		first := acquire(t, c)
		frozen.shut()
		began := time.Now()
		second := acquire(t, contender(t, locks, "b"))
		if took := time.Since(began); took < 7*time.Second || took > 12*time.Second {
			t.Errorf("it took over after %s", took)
		}
		confirmed := make(chan error, 1)
		go func() { confirmed <- first.Confirm(t.Context()) }()
		time.Sleep(time.Minute)
		frozen.open()
		if err := <-confirmed; !errors.Is(err, lease.ErrLost) {
			t.Errorf("the frozen one is told %v", err)
		}
		if cause := context.Cause(first.Context()); !errors.Is(cause, lease.ErrLost) {
			t.Errorf("its context ended with %v", cause)
		}
		release(t, first)
		if err := second.Confirm(t.Context()); err != nil {
			t.Errorf("the end of the frozen one cost the holder its lease: %v", err)
		}
		release(t, second)
	})
}

func TestAnAbsentServerCostsNothingIfNobodyElseIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		locks := ledgertest.NewMemory()
		held := acquire(t, contender(t, locks, "a"))
		locks.SetAway(true)
		time.Sleep(5 * time.Second)
		if err := held.Confirm(t.Context()); err != nil {
			t.Errorf("within its time: %v", err)
		}
		time.Sleep(time.Hour)
		bounded, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := held.Confirm(bounded); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after its time, with nobody to ask: %v", err)
		}
		locks.SetAway(false)
		if err := held.Confirm(t.Context()); err != nil {
			t.Errorf("when the server is back: %v", err)
		}
		release(t, held)
	})
}

func TestADeadPredecessorIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		locks := ledgertest.NewMemory()
		dead := &gate{Memory: locks}
		c := contender(t, locks, "a")
		c.Locks = dead
		first := acquire(t, c)
		dead.shut()
		next := contender(t, locks, "b")
		next.Predecessor = "a"
		began := time.Now()
		second := acquire(t, next)
		if took := time.Since(began); took != 0 {
			t.Errorf("it was waited for %s", took)
		}
		dead.open()
		release(t, first)
		release(t, second)
	})
}

func TestAnotherEngineIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		locks := ledgertest.NewMemory()
		held := acquire(t, contender(t, locks, "a"))
		other := contender(t, locks, "b")
		other.EngineID = "engine2"
		if _, err := other.Acquire(t.Context()); !errors.Is(err, lease.ErrOtherEngine) {
			t.Errorf("taken with another Engine: %v", err)
		}
		release(t, held)
	})
}
