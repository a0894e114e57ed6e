package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast.io/holdfast/internal/ledger"
)

const hour = time.Hour

// Run holds a Store to the comments of the port. open returns the store; the
// entries that it holds already are not looked at.
func Run(t *testing.T, open func(t *testing.T) ledger.Store) {
	cases := 0
	for name, test := range map[string]func(t *testing.T, s ledger.Store, key func(rest string) string){
		"what is written can be read":       written,
		"a new key must not be there":       create,
		"a revision must be the last":       update,
		"an equal write is found again":     again,
		"a deleted key can be written anew": deleted,
		"keys are listed in their order":    listed,
		"a key is forgotten after its time": forgotten,
		"of many only one is first":         race,
		"the end of the context is the end": ended,
	} {
		cases++
		prefix := fmt.Sprintf("host%d-%d", cases, time.Now().UnixNano())
		t.Run(name, func(t *testing.T) {
			test(t, open(t), func(rest string) string { return prefix + "." + rest })
		})
	}
}

func put(t *testing.T, s ledger.Store, key, value string, expected uint64) uint64 {
	t.Helper()
	revision, err := s.Put(t.Context(), key, []byte(value), expected, hour)
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	return revision
}

func holds(t *testing.T, s ledger.Store, key, want string) (revision uint64) {
	t.Helper()
	value, revision, err := s.Get(t.Context(), key)
	if err != nil || string(value) != want {
		t.Errorf("%s is %q, %v; want %q", key, value, err, want)
	}
	return revision
}

func written(t *testing.T, s ledger.Store, key func(string) string) {
	if _, _, err := s.Get(t.Context(), key("a")); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("before it is written: %v", err)
	}
	revision := put(t, s, key("a"), "1", 0)
	if got := holds(t, s, key("a"), "1"); got != revision {
		t.Errorf("revision %d was written, %d read", revision, got)
	}
}

func create(t *testing.T, s ledger.Store, key func(string) string) {
	put(t, s, key("a"), "1", 0)
	if _, err := s.Put(t.Context(), key("a"), []byte("2"), 0, hour); !errors.Is(err, ledger.ErrConflict) {
		t.Errorf("a second creation: %v", err)
	}
	holds(t, s, key("a"), "1")
}

func update(t *testing.T, s ledger.Store, key func(string) string) {
	first := put(t, s, key("a"), "1", 0)
	second := put(t, s, key("a"), "2", first)
	if second <= first {
		t.Errorf("revision %d follows %d", second, first)
	}
	if _, err := s.Put(t.Context(), key("a"), []byte("3"), first, hour); !errors.Is(err, ledger.ErrConflict) {
		t.Errorf("an update of an old revision: %v", err)
	}
	if _, err := s.Put(t.Context(), key("b"), []byte("3"), second, hour); !errors.Is(err, ledger.ErrConflict) {
		t.Errorf("an update of a key that is not there: %v", err)
	}
	holds(t, s, key("a"), "2")
}

func again(t *testing.T, s ledger.Store, key func(string) string) {
	first := put(t, s, key("a"), "1", 0)
	if got := put(t, s, key("a"), "1", 0); got != first {
		t.Errorf("the same creation again: revision %d, not %d", got, first)
	}
	second := put(t, s, key("a"), "2", first)
	if got := put(t, s, key("a"), "2", first); got != second {
		t.Errorf("the same update again: revision %d, not %d", got, second)
	}
}

func deleted(t *testing.T, s ledger.Store, key func(string) string) {
	for range 2 { // also what is not there
		if err := s.Delete(t.Context(), key("a")); err != nil {
			t.Fatal(err)
		}
	}
	put(t, s, key("a"), "1", 0)
	if err := s.Delete(t.Context(), key("a")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Get(t.Context(), key("a")); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("after it was deleted: %v", err)
	}
	for e, err := range s.List(t.Context(), key(">")) {
		t.Errorf("a deleted key is listed: %s, %v", e.Key, err)
	}
	put(t, s, key("a"), "2", 0)
	holds(t, s, key("a"), "2")
}

func listed(t *testing.T, s ledger.Store, key func(string) string) {
	first := put(t, s, key("j1.job"), "1", 0)
	put(t, s, key("j2.item.0"), "2", 0)
	put(t, s, key("j2.job"), "3", 0)
	put(t, s, key("j1.job"), "4", first) // now it is the last
	for pattern, want := range map[string][]string{
		key("*.job"):    {key("j2.job"), key("j1.job")},
		key("j2.*.*"):   {key("j2.item.0")},
		key(">"):        {key("j2.item.0"), key("j2.job"), key("j1.job")},
		key("nowhere"):  nil,
		key("j2.job.>"): nil,
	} {
		var got []string
		for e, err := range s.List(t.Context(), pattern) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Revision == 0 || e.Time.IsZero() || len(e.Value) == 0 {
				t.Errorf("an incomplete entry: %+v", e)
			}
			got = append(got, e.Key)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s lists %q, want %q", pattern, got, want)
		}
	}
	for range s.List(t.Context(), key(">")) {
		break // a list can be left
	}
}

func forgotten(t *testing.T, s ledger.Store, key func(string) string) {
	revision, err := s.Put(t.Context(), key("a"), []byte("1"), 0, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = s.Put(t.Context(), key("a"), []byte("2"), revision, time.Second); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		_, _, err = s.Get(t.Context(), key("a"))
		if errors.Is(err, ledger.ErrNotFound) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("it is still there: %v", err)
		}
	}
	put(t, s, key("a"), "3", 0)
}

func race(t *testing.T, s ledger.Store, key func(string) string) {
	var all sync.WaitGroup
	var won atomic.Int32
	for i := range 10 {
		all.Go(func() {
			_, err := s.Put(t.Context(), key("a"), fmt.Appendf(nil, "%d", i), 0, hour)
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, ledger.ErrConflict) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Errorf("%d of 10 were first", won.Load())
	}
}

func ended(t *testing.T, s ledger.Store, key func(string) string) {
	ctx, cancel := context.WithCancelCause(t.Context())
	over := errors.New("over")
	cancel(over)
	if _, _, err := s.Get(ctx, key("a")); !errors.Is(err, over) && !errors.Is(err, context.Canceled) {
		t.Errorf("get: %v", err)
	}
	if _, err := s.Put(ctx, key("a"), []byte("1"), 0, hour); !errors.Is(err, over) && !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v", err)
	}
}
