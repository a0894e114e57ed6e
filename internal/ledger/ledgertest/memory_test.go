package ledgertest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"holdfast.io/holdfast/internal/ledger"
	"holdfast.io/holdfast/internal/ledger/ledgertest"
)

func TestMemory(t *testing.T) {
	ledgertest.Run(t, func(*testing.T) ledger.Store { return ledgertest.NewMemory() })
}

func TestMemoryForgetsByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := ledgertest.NewMemory()
		if _, err := m.Put(t.Context(), "key", nil, 0, 10*time.Second); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10*time.Second - 1)
		if _, _, err := m.Get(t.Context(), "key"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Nanosecond)
		if _, _, err := m.Get(t.Context(), "key"); !errors.Is(err, ledger.ErrNotFound) {
			t.Error(err)
		}
	})
}

func TestMemoryAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := ledgertest.NewMemory()
		m.SetAway(true)
		m.SetAway(true)
		why := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, why)
		defer cancel()
		if _, err := m.Put(ctx, "key", nil, 0, 0); !errors.Is(err, why) {
			t.Fatal(err)
		}
		var waited time.Duration
		began := time.Now()
		go func() {
			if _, err := m.Put(t.Context(), "key", nil, 0, 0); err != nil {
				t.Error(err)
			}
			waited = time.Since(began)
		}()
		time.Sleep(time.Hour)
		m.SetAway(false)
		m.SetAway(false)
		synctest.Wait()
		if waited != time.Hour {
			t.Errorf("the store was back after an hour, and the answer there after %s", waited)
		}
	})
}

func TestMemoryFull(t *testing.T) {
	m := ledgertest.NewMemory()
	revision, err := m.Put(t.Context(), "key", []byte("12"), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	m.SetFull(true)
	if _, err := m.Put(t.Context(), "other", nil, 0, 0); !errors.Is(err, ledger.ErrFull) {
		t.Errorf("a new key: %v", err)
	}
	if _, err := m.Put(t.Context(), "key", []byte("123"), revision, 0); !errors.Is(err, ledger.ErrFull) {
		t.Errorf("a larger value: %v", err)
	}
	if revision, err = m.Put(t.Context(), "key", []byte("21"), revision, 0); err != nil {
		t.Errorf("one as large: %v", err)
	}
	m.SetFull(false)
	if _, err := m.Put(t.Context(), "key", []byte("123"), revision, 0); err != nil {
		t.Error(err)
	}
}
