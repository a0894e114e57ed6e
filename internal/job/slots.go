package job

import (
	"context"
	"slices"
	"sync"
)

// Slots bounds how many items are worked on at a time, over all jobs. Waiting
// for messages takes no slot; a message is taken only while one is free. It may
// be used by several goroutines.
type Slots struct {
	mu      sync.Mutex
	all     int
	free    int
	waiting []chan struct{} // those who wait for a slot, in order
	changed chan struct{}   // closed when it changes whether a slot is free
}

// NewSlots returns n free slots.
func NewSlots(n int) *Slots {
	return &Slots{all: n, free: n, changed: make(chan struct{})}
}

// Acquire takes a slot, and waits for one until ctx ends. It takes none that came
// free after that. Slots go to those who wait in the order in which they came.
func (s *Slots) Acquire(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.mu.Lock()
	if s.free > 0 {
		s.take()
		s.mu.Unlock()
		return s.keep(ctx)
	}
	mine := make(chan struct{})
	s.waiting = append(s.waiting, mine)
	s.mu.Unlock()

	select {
	case <-mine:
		return s.keep(ctx)
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.waiting, mine); i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
	} else { // it was handed over at the same moment
		s.release()
	}
	return context.Cause(ctx)
}

// keep gives the slot back that was just taken if ctx has ended.
func (s *Slots) keep(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	s.Release()
	return context.Cause(ctx)
}

// TryAcquire takes a slot if one is free.
func (s *Slots) TryAcquire() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free == 0 {
		return false
	}
	s.take()
	return true
}

// Release gives a slot back.
func (s *Slots) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release()
}

// Busy returns how many slots are taken.
func (s *Slots) Busy() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all - s.free
}

// WhileFree waits until a slot is free, without taking it, and returns a context
// that ends when none is free any more. The error is that of ctx.
func (s *Slots) WhileFree(ctx context.Context) (context.Context, context.CancelFunc, error) {
	for {
		s.mu.Lock()
		free, changed := s.free > 0, s.changed
		s.mu.Unlock()
		if free {
			while, cancel := context.WithCancel(ctx)
			go func() {
				select {
				case <-changed:
					cancel()
				case <-while.Done():
				}
			}()
			return while, cancel, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
}

// take and release are called with the lock held.

func (s *Slots) take() {
	if s.free--; s.free == 0 {
		s.announce()
	}
}

func (s *Slots) release() {
	if len(s.waiting) > 0 {
		close(s.waiting[0])
		s.waiting = s.waiting[1:]
		return
	}
	if s.free++; s.free == 1 {
		s.announce()
	}
}

func (s *Slots) announce() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Slot is the slot that a message was taken for. Its first item works in it.
type Slot struct {
	slots *Slots
	held  bool
}

// Slot returns a slot for a message; held says whether one was taken for it.
func (s *Slots) Slot(held bool) *Slot { return &Slot{slots: s, held: held} }

// next returns with a slot taken: the held one first. The error is that of ctx.
func (h *Slot) next(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if h.held {
		h.held = false
		return nil
	}
	return h.slots.Acquire(ctx)
}

// Release gives the slot back, if it was not used.
func (h *Slot) Release() {
	if h.held {
		h.held = false
		h.slots.Release()
	}
}
