package backup

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"go.uber.org/zap"

	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/sink"
)

// SinkOpener opens the sinks that the configuration names. An error that wraps
// neither [sink.ErrUnavailable] nor [sink.ErrFull] means that there is no such
// sink.
type SinkOpener interface {
	Open(ctx context.Context, name string) (sink.Sink, error)
}

// Tidier undoes what notes name, each on its own, for as long as it takes: an
// Engine or a sink that is away is tried again until it is back. What a live
// attempt made is not touched. It may be used by several goroutines; the fields
// are not changed once it is in use.
type Tidier struct {
	Engine engine.Engine
	Locks  *Locks
	Notes  Notes
	Sinks  SinkOpener
	Log    *zap.Logger

	mu      sync.Mutex
	running context.Context // of Run; nil when it does not run
	notes   map[string]*tidying
	undone  map[string]bool // notes of dead attempts that were undone
	work    sync.WaitGroup
}

// remains are what an attempt leaves behind.
type remains struct {
	note    Note
	release func() // of the container's lock; nil if it is not held
	// ended is closed when nothing of the attempt runs in this process any more, and
	// lost then tells whether the Engine may still do what it was told. Both are nil
	// for an attempt of another process, of which nothing is known.
	ended <-chan struct{}
	lost  func() bool
}

// tidying is a note that is in use, or is being undone.
type tidying struct {
	remains
	live bool          // a living attempt has it
	gone chan struct{} // closed when the note is gone
}

// Run undoes what it is given until ctx ends. What is not undone by then stays in
// the Notes. It returns when nothing runs any more; it is called once.
func (t *Tidier) Run(ctx context.Context) {
	t.mu.Lock()
	t.running = ctx
	for _, y := range t.notes {
		if !y.live {
			t.start(y)
		}
	}
	t.mu.Unlock()
	<-ctx.Done()
	t.mu.Lock()
	t.running = nil
	t.mu.Unlock()
	t.work.Wait()
}

// Adopt has a note undone that a dead attempt left: one that the Notes listed, or
// one that another worker of the host knew of, which is written to them first.
// From its return on no other attempt gets the container before it is let go,
// unless one has it already. Unless whole is set, only the attempt's own snapshot
// and staging are removed, and the container is left alone: a later attempt has
// taken it over. A note that is in use, being undone or undone already stays as it
// is: what else tells of an attempt may know less of it than the Notes did.
func (t *Tidier) Adopt(n Note, whole bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.notes[n.ID()] != nil || t.undone[n.ID()] {
		return nil
	}
	kept, there := t.kept(n.ID())
	if there {
		n = kept // it may know more
	}
	if !whole {
		n.Quiesce, n.Post = "", nil
	}
	if n != kept {
		if err := t.Notes.Write(&n); err != nil {
			return fmt.Errorf("keep note %s: %w", n.ID(), err)
		}
	}
	r := remains{note: n}
	if n.stands() {
		r.release, _ = t.Locks.TryAcquire(n.Item.ID)
	}
	t.add(r)
	return nil
}

// kept returns the note on disk. One that cannot be read is as good as none.
func (t *Tidier) kept(id string) (Note, bool) {
	notes, _ := t.Notes.List()
	i := slices.IndexFunc(notes, func(n Note) bool { return n.ID() == id })
	if i < 0 {
		return Note{}, false
	}
	return notes[i], true
}

// Undone waits until a note that is in use or being undone is gone, or ctx ends.
// A note that is neither counts as gone.
func (t *Tidier) Undone(ctx context.Context, id string) error {
	t.mu.Lock()
	y := t.notes[id]
	t.mu.Unlock()
	if y == nil {
		return nil
	}
	select {
	case <-y.gone:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Wait waits until nothing is left to be undone, or ctx ends. A worker that stops
// waits a while, so that it leaves nothing to the next one.
func (t *Tidier) Wait(ctx context.Context) error {
	for {
		left := t.Left()
		if len(left) == 0 {
			return nil
		}
		if err := t.Undone(ctx, left[0]); err != nil {
			return err
		}
	}
}

// Left returns the ids of the notes that are still to be undone, in order. Those
// that living attempts have are not among them.
func (t *Tidier) Left() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var ids []string
	for id, y := range t.notes {
		if !y.live {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// use keeps a note from being undone until unuse or take. It waits until what an
// attempt of the same name left is undone, or ctx ends.
func (t *Tidier) use(ctx context.Context, id string) error {
	for {
		if err := t.Undone(ctx, id); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		t.mu.Lock()
		free := t.notes[id] == nil
		if free {
			t.put(id, &tidying{live: true, gone: make(chan struct{})})
		}
		t.mu.Unlock()
		if free {
			return nil
		}
	}
}

// unuse is for a note that is gone.
func (t *Tidier) unuse(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.notes[id].gone)
	delete(t.notes, id)
}

// forget is for a note that is undone.
func (t *Tidier) forget(id string) {
	t.mu.Lock()
	if t.undone == nil {
		t.undone = map[string]bool{}
	}
	t.undone[id] = true
	t.mu.Unlock()
	t.unuse(id)
}

// take has the remains of an attempt of this process undone, with what it holds.
func (t *Tidier) take(r remains) {
	t.mu.Lock()
	defer t.mu.Unlock()
	y := t.notes[r.note.ID()]
	y.live, y.remains = false, r
	t.start(y)
}

// The methods below are called with the mutex held.

func (t *Tidier) add(r remains) {
	y := &tidying{remains: r, gone: make(chan struct{})}
	t.put(r.note.ID(), y)
	t.start(y)
}

func (t *Tidier) put(id string, y *tidying) {
	if t.notes == nil {
		t.notes = map[string]*tidying{}
	}
	t.notes[id] = y
}

// start undoes a note in the background, now or when Run is called.
func (t *Tidier) start(y *tidying) {
	if ctx := t.running; ctx != nil {
		t.work.Go(func() { t.undo(ctx, y) })
	}
}

// undo undoes a note, and forgets it. When ctx ends before, it stays.
func (t *Tidier) undo(ctx context.Context, y *tidying) {
	u := &undoing{remains: y.remains, engine: t.Engine, sinks: t.Sinks,
		log: t.Log.With(zap.String("note", y.note.ID()), zap.String("item", y.note.Item.Name))}
	defer u.unlock()
	if err := u.lock(ctx, t.Locks); err != nil {
		return
	}
	u.log.Info("undoing what an attempt left behind")
	if u.all(ctx) != nil {
		return
	}
	remove := func() (bool, error) { return true, t.Notes.Remove(y.note.ID()) }
	if u.repeat(ctx, "remove the note", remove) != nil {
		return
	}
	u.log.Info("undone")
	t.forget(y.note.ID())
}
