package undo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"go.uber.org/zap"

	"holdfast.io/holdfast/internal/hook"
	"holdfast.io/holdfast/internal/sink"
)

// Sinks opens the sinks that the configuration names. An error that wraps neither
// [sink.ErrUnavailable] nor [sink.ErrFull] means that there is no such sink.
type Sinks interface {
	Open(ctx context.Context, name string) (sink.Sink, error)
}

// maxUndone bounds of how many undone records the ids are kept, the latest ones.
const maxUndone = 10_000

// Sweeper undoes records, each on its own, for as long as it takes: an Engine or a
// sink that is away is tried again until it is back. What a living attempt made is
// not touched. It may be used by several goroutines; the fields are not changed
// once it is in use.
type Sweeper struct {
	Engine Engine
	Locks  *Locks
	Store  Store
	Sinks  Sinks
	// Volumes undoes what a restore did to the content of volumes.
	Volumes Volumes
	// Patience is after how many failures in a row nobody waits any longer for a record,
	// which is retried all the same: [Sweeper.Wait] returns, and who wants its container
	// gets ErrBlocked. Nor is an image waited for then that is not likely to come. 0 is for
	// ever. What somebody else has to mend first is not waited for at all.
	Patience int
	// HookOutput has the last line logged that a failing hook wrote.
	HookOutput bool
	Log        *zap.Logger

	mu      sync.Mutex
	running context.Context //nolint:containedctx // the lifetime of Run; nil when it does not run
	entries map[string]*Entry
	changed chan struct{} // closed when an entry is gone, is handed over, or fails
	// undone are the ids of records that were undone: the ledger may have a copy of
	// one that says less of what was undone before. order has them by age.
	undone map[string]bool
	order  []string
	work   sync.WaitGroup
}

// Run undoes what it is given until ctx ends. What is not undone by then stays in
// the Store. It returns when nothing runs any more; it is called once.
func (s *Sweeper) Run(ctx context.Context) {
	s.mu.Lock()
	s.running = ctx
	for _, e := range s.entries {
		if !e.live {
			s.start(e)
		}
	}
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	s.running = nil
	s.mu.Unlock()
	s.work.Wait()
}

// Adopt undoes a record that a dead attempt left: one that the Store listed, or one
// that another worker of the host knew of, which is written to the Store first.
// When it has returned, no other attempt gets the container before that has been
// resumed, unless one has it already. Unless whole is set, only the attempt's own
// image and staging are removed, and the container is left alone: a later attempt
// has taken it over. A record that is in use, being undone or undone already stays
// as it is: other copies of it may say less than the Store's. It reports ErrNewer
// if the Store has that record in a higher version.
func (s *Sweeper) Adopt(ctx context.Context, r Record, whole bool) error {
	e := &Entry{sweeper: s, id: r.ID, live: true, adopted: make(chan struct{})}
	for {
		other, undone := s.reserve(e)
		if undone {
			return nil
		}
		if other == nil {
			break
		}
		if other.adopted == nil {
			return nil
		}
		select {
		case <-other.adopted:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if !other.failed {
			return nil
		}
	}
	// The entry keeps others off, so the disk is not written under the mutex: no
	// other item waits for it.
	if err := s.keep(e, r, whole); err != nil {
		e.failed = true
		s.drop(e, false)
		close(e.adopted)
		return err
	}
	e.HandOver(e.release, nil, nil)
	close(e.adopted)
	return nil
}

// reserve enters e, unless the record is in use or undone already.
func (s *Sweeper) reserve(e *Entry) (other *Entry, undone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	other, undone = s.entries[e.id], s.undone[e.id]
	if other == nil && !undone {
		s.put(e)
	}
	return other, undone
}

// keep makes the record that is adopted durable, and takes the container's lock for
// it if that is free.
func (s *Sweeper) keep(e *Entry, r Record, whole bool) error {
	kept, err := s.Store.Read(r.ID)
	switch {
	case errors.Is(err, ErrNewer):
		return fmt.Errorf("undo record %s: %w", r.ID, err)
	case err == nil:
		r = kept // it may know more
	}
	written := err == nil // one that cannot be read is as good as none
	if !whole && r.Holds() {
		r.Drop(Holding)
		written = false
	}
	e.record = r.clone()
	if !written {
		if err := e.Save(); err != nil {
			return fmt.Errorf("keep undo record %s: %w", r.ID, err)
		}
	}
	if all := r.resources(); len(all) > 0 {
		e.release, _ = s.Locks.tryAcquireAll(all)
	}
	return nil
}

// Undone waits until a record that is in use or being undone is gone, or ctx ends.
// A record that is neither counts as gone.
func (s *Sweeper) Undone(ctx context.Context, id string) error {
	s.mu.Lock()
	e := s.entries[id]
	s.mu.Unlock()
	if e == nil {
		return nil
	}
	select {
	case <-e.gone:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Settled is Undone, but does not wait for images: they are in nobody's way, and one that
// an unobserved commit may still produce is waited for long.
func (s *Sweeper) Settled(ctx context.Context, id string) error {
	s.mu.Lock()
	e := s.entries[id]
	s.mu.Unlock()
	if e == nil {
		return nil
	}
	select {
	case <-e.settled:
		return nil
	case <-e.gone:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Wait waits until nothing is left to be undone but what fails for now (see
// Patience), or ctx ends. A worker that stops waits a while, so that it leaves
// nothing to the next one.
func (s *Sweeper) Wait(ctx context.Context) error {
	for {
		s.mu.Lock()
		waiting := false
		for _, e := range s.entries {
			waiting = waiting || !e.live && e.failing == nil
		}
		changed := s.changes()
		s.mu.Unlock()
		if !waiting {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Left returns the ids of the records that are still to be undone, in order. Those
// that living attempts have are not among them.
func (s *Sweeper) Left() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for id, e := range s.entries {
		if !e.live {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// enter enters the entry of a living attempt when no other one has its id.
func (s *Sweeper) enter(ctx context.Context, e *Entry) error {
	for {
		if err := s.Undone(ctx, e.id); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.mu.Lock()
		free := s.entries[e.id] == nil
		if free {
			s.put(e)
		}
		s.mu.Unlock()
		if free {
			return nil
		}
	}
}

// drop forgets an entry whose record is gone. With undone, its copies in the ledger
// are not undone again.
func (s *Sweeper) drop(e *Entry, undone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries[e.id] != e {
		return
	}
	close(e.gone)
	delete(s.entries, e.id)
	if undone {
		s.remember(e.id)
	}
	s.change()
}

// dropLive forgets an entry whose record the attempt itself has removed. One that was
// handed over is still looked through.
func (s *Sweeper) dropLive(e *Entry) {
	s.mu.Lock()
	live := e.live
	s.mu.Unlock()
	if live {
		s.drop(e, false)
	}
}

// settle says that nothing of an entry is left on the Engine but images.
func (s *Sweeper) settle(e *Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-e.settled:
	default:
		close(e.settled)
	}
}

// fail says why an entry cannot be undone for now; nil for that it can.
func (s *Sweeper) fail(e *Entry, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.failing = why
	s.change()
}

// The methods below are called with the mutex held.

func (s *Sweeper) put(e *Entry) {
	if s.entries == nil {
		s.entries = map[string]*Entry{}
	}
	e.gone, e.settled = make(chan struct{}), make(chan struct{})
	s.entries[e.id] = e
}

// start undoes a record in the background, now or when Run is called.
func (s *Sweeper) start(e *Entry) {
	if ctx := s.running; ctx != nil {
		s.work.Go(func() { s.sweep(ctx, e) })
	}
	s.change()
}

func (s *Sweeper) remember(id string) {
	if s.undone == nil {
		s.undone = map[string]bool{}
	}
	s.undone[id] = true
	if s.order = append(s.order, id); len(s.order) > maxUndone {
		delete(s.undone, s.order[0])
		s.order = s.order[1:]
	}
}

// changes returns a channel that is closed at the next change.
func (s *Sweeper) changes() <-chan struct{} {
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

func (s *Sweeper) change() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// sweep undoes a record, and forgets it. When ctx ends before, it stays.
func (s *Sweeper) sweep(ctx context.Context, e *Entry) {
	r := e.Record()
	p := &pass{Entry: e, engine: s.Engine, sinks: s.Sinks,
		hooks: hook.Runner{Execer: s.Engine, ShowOutput: s.HookOutput, Log: s.Log},
		log:   s.Log.With(zap.String("record", e.id), zap.String("item", r.Item.Name))}
	defer p.unlock()
	if err := p.lock(ctx, s.Locks); err != nil {
		return
	}
	p.log.Info("undoing what an attempt left behind")
	if p.all(ctx) != nil {
		return
	}
	remove := func() (bool, error) { return true, s.Store.Remove(e.id) }
	if p.repeat(ctx, "remove the undo record", remove, p.fails) != nil {
		return
	}
	p.log.Info("undone")
	s.drop(e, true)
}
