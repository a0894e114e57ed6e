package tenure_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"holdfast.io/holdfast/internal/ledger/ledgertest"
	"holdfast.io/holdfast/internal/tenure"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func candidate(t *testing.T, locks *ledgertest.Memory, owner string) tenure.Candidate {
	return tenure.Candidate{Locks: locks, Host: "web01", Log: zaptest.NewLogger(t),
		Claimant: tenure.Claimant{Owner: owner, EngineID: "engine1", Process: "process of " + owner}}
}

func take(t *testing.T, c tenure.Candidate) *tenure.Tenure {
	t.Helper()
	held, err := c.Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return held
}

func release(t *testing.T, held *tenure.Tenure) {
	t.Helper()
	if err := held.Release(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestOneStandsByAndTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		locks := ledgertest.NewMemory()
		first := take(t, candidate(t, locks, "a"))
		second := candidate(t, locks, "b")
		stoodBy := ""
		second.StandBy = func(tenant tenure.Claimant) { stoodBy += tenant.Process }
		taken := make(chan *tenure.Tenure)
		go func() { taken <- take(t, second) }()
		select {
		case <-taken:
			t.Error("it did not wait for the tenant")
		case <-time.After(time.Hour):
		}
		if stoodBy != "process of a" {
			t.Errorf("stood by for %q", stoodBy)
		}
		release(t, first)
		began := time.Now()
		held := <-taken
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("it took over %s after the tenure was given up", took)
		}
		if err := first.Confirm(t.Context()); err == nil {
			t.Error("who gave it up still has it")
		}
		release(t, held)
	})
}

func TestWhoIsNotHeardOfLosesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// A worker that is frozen is one whose store is away: it renews nothing.
		locks, frozen := ledgertest.NewMemory(), &gate{Memory: nil}
		frozen.Memory = locks
		c := candidate(t, locks, "a")
		c.Locks = frozen
		first := take(t, c)
		frozen.shut()
		began := time.Now()
		second := take(t, candidate(t, locks, "b"))
		if took := time.Since(began); took < 7*time.Second || took > 12*time.Second {
			t.Errorf("it took over after %s", took)
		}
		confirmed := make(chan error, 1)
		go func() { confirmed <- first.Confirm(t.Context()) }()
		time.Sleep(time.Minute)
		frozen.open()
		if err := <-confirmed; !errors.Is(err, tenure.ErrLost) {
			t.Errorf("the frozen one is told %v", err)
		}
		if cause := context.Cause(first.Context()); !errors.Is(cause, tenure.ErrLost) {
			t.Errorf("its context ended with %v", cause)
		}
		release(t, first)
		if err := second.Confirm(t.Context()); err != nil {
			t.Errorf("the end of the frozen one cost the tenant its tenure: %v", err)
		}
		release(t, second)
	})
}

func TestAnAbsentServerCostsNothingIfNobodyElseIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		locks := ledgertest.NewMemory()
		held := take(t, candidate(t, locks, "a"))
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
		c := candidate(t, locks, "a")
		c.Locks = dead
		first := take(t, c)
		dead.shut()
		next := candidate(t, locks, "b")
		next.Predecessor = "a"
		began := time.Now()
		second := take(t, next)
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
		held := take(t, candidate(t, locks, "a"))
		other := candidate(t, locks, "b")
		other.EngineID = "engine2"
		if _, err := other.Take(t.Context()); !errors.Is(err, tenure.ErrOtherEngine) {
			t.Errorf("taken with another Engine: %v", err)
		}
		release(t, held)
	})
}
