package job

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestSlotsBound(t *testing.T) {
	const n = 3
	synctest.Test(t, func(t *testing.T) {
		s := NewSlots(n)
		var (
			mu        sync.Mutex
			now, most int
			all       sync.WaitGroup
		)
		work := func(d time.Duration) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(d)
			mu.Lock()
			now--
			mu.Unlock()
			s.Release()
		}
		for i := range 200 {
			r := rand.New(rand.NewPCG(uint64(i), 0))
			all.Go(func() {
				time.Sleep(rand.N(20 * time.Millisecond))
				if r.IntN(4) == 0 {
					if s.TryAcquire() {
						work(time.Millisecond)
					}
					return
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+r.IntN(30))*time.Millisecond)
				defer cancel()
				if s.Acquire(ctx) == nil {
					work(time.Duration(r.IntN(3)) * time.Millisecond)
				}
			})
		}
		all.Wait()
		if most != n {
			t.Errorf("at most %d slots were taken at a time, want %d", most, n)
		}
		for i := range n {
			if !s.TryAcquire() {
				t.Errorf("slot %d was lost", i)
			}
		}
		if s.TryAcquire() {
			t.Error("there is a slot too many")
		}
	})
}

func TestSlotsAreGivenInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSlots(1)
		if err := s.Acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []int
		impatient, leave := context.WithCancel(t.Context())
		for i := range 6 {
			go func() {
				ctx := t.Context()
				if i == 2 {
					ctx = impatient
				}
				if s.Acquire(ctx) != nil {
					return
				}
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				s.Release()
			}()
			synctest.Wait()
		}
		leave()
		synctest.Wait()
		if s.TryAcquire() {
			t.Error("one that did not wait was quicker than those who do")
		}
		s.Release()
		synctest.Wait()
		if want := []int{0, 1, 3, 4, 5}; !slices.Equal(order, want) {
			t.Errorf("the slot went to %v, want %v", order, want)
		}
	})
}

func TestSlotsAcquireEndsWithItsContext(t *testing.T) {
	cause := errors.New("enough")
	synctest.Test(t, func(t *testing.T) {
		s := NewSlots(1)
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		if err := s.Acquire(ctx); !errors.Is(err, cause) {
			t.Errorf("a free slot was taken after the end: %v", err)
		}
		if !s.TryAcquire() {
			t.Fatal("the slot is not free")
		}
		ctx, cancel = context.WithCancelCause(t.Context())
		result := make(chan error)
		go func() { result <- s.Acquire(ctx) }()
		synctest.Wait()
		// The slot comes and the context ends before the one who waits can look.
		cancel(cause)
		s.Release()
		if err := <-result; !errors.Is(err, cause) {
			t.Errorf("the slot was taken after the end: %v", err)
		}
		if !s.TryAcquire() {
			t.Error("the slot was lost")
		}
	})
}

// closing is a context that ends at the very moment when it is asked whether it
// has, or for its channel.
type closing struct {
	context.Context
	asked, listened func()
}

func (c closing) Err() error {
	err := c.Context.Err()
	c.asked()
	return err
}

func (c closing) Done() <-chan struct{} {
	c.listened()
	return c.Context.Done()
}

// A slot that comes free after the end of the context is not taken, and not lost,
// however close the two are.
func TestSlotsHandedOverAtTheEnd(t *testing.T) {
	for range 50 { // where both are ready, select picks either
		for _, when := range []string{"before it waits", "as it begins to wait"} {
			s := NewSlots(1)
			s.TryAcquire()
			inner, cancel := context.WithCancel(t.Context())
			end := sync.OnceFunc(func() { cancel(); s.Release() })
			ctx := closing{inner, func() {}, func() {}}
			if when == "before it waits" {
				ctx.asked = end
			} else {
				ctx.listened = end
			}
			if s.Acquire(ctx) == nil {
				t.Fatalf("%s: it was taken", when)
			}
			if !s.TryAcquire() {
				t.Fatalf("%s: it was lost", when)
			}
			if s.TryAcquire() {
				t.Fatalf("%s: there are two now", when)
			}
		}
	}
}

func TestSlotsWhileFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSlots(2)
		free, cancel, err := s.WhileFree(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer cancel()
		s.TryAcquire()
		synctest.Wait()
		if free.Err() != nil {
			t.Error("it ended although a slot is free")
		}
		s.TryAcquire()
		synctest.Wait()
		if free.Err() == nil {
			t.Error("it goes on although no slot is free")
		}

		came := make(chan struct{})
		go func() {
			defer close(came)
			_, cancel, err := s.WhileFree(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			cancel()
		}()
		synctest.Wait()
		select {
		case <-came:
			t.Fatal("it did not wait for a slot")
		default:
		}
		s.Release()
		<-came

		s.TryAcquire()
		ended, end := context.WithCancelCause(t.Context())
		cause := errors.New("enough")
		end(cause)
		if _, _, err := s.WhileFree(ended); !errors.Is(err, cause) {
			t.Errorf("the error is %v, want the context's cause", err)
		}
	})
}

func TestSlotsBusy(t *testing.T) {
	s := NewSlots(2)
	s.TryAcquire()
	if got := s.Busy(); got != 1 {
		t.Errorf("%d of 2 are busy, want 1", got)
	}
}
