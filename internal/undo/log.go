package undo

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.uber.org/zap"

	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/panics"
)

// ErrNoRecord is reported for an id of which a [Store] has no record.
var ErrNoRecord = errors.New("there is no such record")

// Store keeps records on disk, so that they outlive the process. It may be used by
// several goroutines.
type Store interface {
	// Write returns when the record is durable. It replaces one of the same id.
	Write(r *Record) error
	// Read returns the record of this id. It reports ErrNoRecord if there is none,
	// and ErrNewer.
	Read(id string) (Record, error)
	// Remove returns when the record is gone for good. It is no error if it is not
	// there.
	Remove(id string) error
	// List returns all records that can be read, in any order, and an error that
	// names those that cannot. Those stay as they are.
	List() ([]Record, error)
}

// Ledger keeps the records of one item where the other workers of the host find
// them.
type Ledger interface {
	// Begin returns when the record is durable. Its error ends the item untouched.
	Begin(ctx context.Context, r Record) error
}

// Log writes a record ahead of what it names: to the job's ledger, and to the disk of
// this worker. What changes later is written to the disk alone, so the ledger's copy
// may name more than is left, and never less.
type Log struct {
	Ledger Ledger // nil for none
	Store  Store
}

// Begin returns when the record is durable in both places. Neither waits for the
// other. After an error it may be in one of them.
func (l Log) Begin(ctx context.Context, r Record) error {
	var both sync.WaitGroup
	var diskErr error
	both.Go(func() { diskErr = panics.Catch(func() error { return l.Store.Write(&r) }) }) // a panic costs one item, here too
	var err error
	if l.Ledger != nil {
		err = l.Ledger.Begin(ctx, r)
	}
	both.Wait()
	return errors.Join(err, diskErr)
}

// Entry is the record of an attempt while it is in use or is being undone. It may
// be used by several goroutines.
type Entry struct {
	sweeper *Sweeper
	id      string

	mu     sync.Mutex
	record Record

	// What is below is guarded by the Sweeper's mutex.

	live bool          // a living attempt has it
	gone chan struct{} // closed when the record is gone
	// settled is closed when nothing is left on the Engine but images.
	settled chan struct{}
	// failing is why it cannot be undone for now; nil while undoing goes on.
	failing error
	leftovers

	// adopted is closed when a record that is adopted is ready, or failed tells that it
	// could not be; nil for one that was begun in this process.
	adopted chan struct{}
	failed  bool
}

// leftovers are what an attempt holds when it hands its record over.
type leftovers struct {
	release func() // of the container's lock; nil if it is not held
	// ended is closed when nothing of the attempt runs in this process any more, and
	// pending then tells whether the Engine may still do what it was told. Both are
	// nil for an attempt of another process, of which nothing is known.
	ended   <-chan struct{}
	pending func() bool
}

// Record returns a copy of the record as it is now.
func (e *Entry) Record() Record {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.record.clone()
}

// Change changes the record in memory. It is written with the next Save.
func (e *Entry) Change(change func(r *Record)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(&e.record)
}

// Save returns when the record is on disk as it is now.
func (e *Entry) Save() error {
	r := e.Record()
	return e.sweeper.Store.Write(&r)
}

// End returns when the record is gone: nothing of it is left. After an error the
// entry is still in use.
func (e *Entry) End() error {
	if err := e.sweeper.Store.Remove(e.id); err != nil {
		return err
	}
	e.sweeper.dropLive(e)
	return nil
}

// ErrUncertain is reported where it is not known whether the ledger has that an item is
// done. The next attempt sees that, and nothing is to be undone before.
var ErrUncertain = errors.New("it is not certain that the ledger has that the item is done")

// Commit says in the ledger that the item is done, by a record with what came of it and
// with nothing to be undone but what is left to do for good; then that is the entry's
// record. The disk forgets its own first: were it the last to know, what is done could be
// undone. After ErrUncertain the entry is no longer in use, and after another error it is
// as it was.
func (e *Entry) Commit(ctx context.Context, ledger Ledger, done Record) error {
	if err := e.sweeper.Store.Remove(e.id); err != nil {
		return err
	}
	if err := ledger.Begin(ctx, done); err != nil {
		e.sweeper.drop(e, false)
		return fmt.Errorf("%w: %w", ErrUncertain, err)
	}
	e.Change(func(r *Record) { *r = done.clone() })
	return nil
}

// HandOver leaves the undoing to the Sweeper, with the container's lock; release may
// be nil. ended is closed when nothing of the attempt runs in this process any
// more, and pending then tells whether the Engine may still do what it was told.
// Until then the attempt may go on to change and save the record.
func (e *Entry) HandOver(release func(), ended <-chan struct{}, pending func() bool) {
	s := e.sweeper
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries[e.id] != e || !e.live {
		return
	}
	e.live, e.leftovers = false, leftovers{release: release, ended: ended, pending: pending}
	s.start(e)
}

// Ended is the end of an attempt of which nothing runs any more, for HandOver.
var Ended = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Begin writes the record of an attempt that begins, to its ledger and to the disk,
// and returns its entry. It waits until what an attempt of the same name left is
// undone, or ctx ends. After an error nothing of the record is on this disk.
func (s *Sweeper) Begin(ctx context.Context, ledger Ledger, r Record) (*Entry, error) {
	e := &Entry{sweeper: s, id: r.ID, record: r.clone(), live: true}
	if err := s.enter(ctx, e); err != nil {
		return nil, fmt.Errorf("wait for what an attempt of the same name left behind: %w", err)
	}
	err := Log{Ledger: ledger, Store: s.Store}.Begin(ctx, r)
	if err == nil {
		return e, nil
	}
	if rerr := s.Store.Remove(r.ID); rerr != nil {
		s.Log.Warn("the undo record of an item that did nothing stays", zap.String("record", r.ID), zap.Error(rerr))
	}
	s.drop(e, false)
	return nil, err
}

// Engine is what a Sweeper needs of an Engine.
type Engine interface {
	engine.Inventory
	engine.Containers
	engine.Images
	engine.Volumes
	engine.Networks
	engine.Creator
	engine.Execer
	engine.Helpers
}
