package backup

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/step"
)

// itemRun is one item on its way. It is worked on by one goroutine, which whoever
// waits for it can leave behind; only what mu guards is for both.
type itemRun struct {
	*Backuper
	Task
	id        string // of the note
	ref       string // of the snapshot; empty for an image
	dir       string // of the point
	about     engine.About
	manifest  *point.Manifest
	config    []byte // the container's inspect document
	durations events.Durations
	watch     *watchdog

	together bool                    // captured with others
	worse    error                   // of a container of a set that does not run again
	before   *engine.ContainerDetail // the container before it is quiesced
	hooks    *hookRun
	account  *account
	touched  bool   // something may have been done to the container
	imageID  string // of the snapshot
	staged   bool   // something may lie staged

	mu      sync.Mutex
	at      events.Step
	note    *Note  // what is to be undone; nil if nothing is
	release func() // of the container's lock; nil if it is not held
	lost    bool   // the Engine may still do what it was told
	left    bool   // the Tidier undoes the rest
	result  *Result
	err     error
}

func (b *Backuper) newRun(t Task) *itemRun {
	r := &itemRun{
		Backuper: b, Task: t, at: events.StepInspect, watch: &watchdog{},
		id:  noteID(t.Point, t.Attempt),
		dir: point.Dir(t.Host, t.Item.Kind, t.Item.Name, t.Point),
	}
	if t.Item.Kind == events.ItemContainer {
		r.ref = engine.SnapshotReference(r.id)
	}
	return r
}

// work does all of an item that stands alone.
func (r *itemRun) work(ctx context.Context) error {
	if stored, err := r.find(ctx); stored || err != nil {
		return err
	}
	if r.Item.Kind == events.ItemImage {
		return r.image(ctx)
	}
	if err := r.capture(ctx); err != nil {
		return err
	}
	return r.storeSnapshot(ctx)
}

// find looks whether an earlier attempt has stored the point, which then is the
// result. Otherwise it asks the Engine what it is.
func (r *itemRun) find(ctx context.Context) (stored bool, err error) {
	m, err := point.Read(ctx, r.Sink, r.dir)
	if err == nil {
		r.stored(m)
		return true, nil
	}
	if !errors.Is(err, sink.ErrNotFound) {
		return false, r.failed(ctx, events.StepInspect, sinkError(err), "look for point %s of %s %s", r.Point, r.Item.Kind, r.Item.Name)
	}
	if r.about, err = r.Engine.About(ctx); err != nil {
		return false, r.failed(ctx, events.StepInspect, err, "ask the Engine what it is")
	}
	r.manifest = &point.Manifest{
		FormatVersion: point.FormatVersion,
		ID:            r.Point,
		Host:          r.Host,
		Item:          r.Item.Item,
		Job:           r.Job,
		Request:       r.Request,
		Attempt:       r.Attempt,
		Engine:        point.Engine{Version: r.about.Version, Store: r.about.Store},
		Artifacts:     []events.Artifact{},
		NotIncluded:   []events.NotIncluded{},
		Tags:          r.Tags,
		Holdfast:      r.Version,
	}
	r.manifest.Warn(r.Item.Warnings...)
	return false, nil
}

func (r *itemRun) image(ctx context.Context) error {
	done := measure(&r.durations.Inspect)
	img, err := r.Engine.InspectImage(ctx, r.Item.ID)
	done()
	if err != nil {
		return r.failed(ctx, events.StepInspect, err, "inspect image %s", r.Item.Name)
	}
	if err := r.begin(ctx); err != nil {
		return err
	}
	r.manifest.SnapshotTime = time.Now().UTC()
	r.manifest.Image.Reference = r.Item.Name
	return r.store(ctx, img)
}

// storeSnapshot stores the container's snapshot.
func (r *itemRun) storeSnapshot(ctx context.Context) error {
	img, err := r.Engine.InspectImage(ctx, r.imageID)
	if err != nil {
		return r.failed(ctx, events.StepSave, r.imageError(err), "inspect the snapshot of container %s", r.Item.Name)
	}
	return r.store(ctx, img)
}

// begin notes what the item may leave behind, so that whatever happens to this
// process it is undone: with whoever began the job, and on disk.
func (r *itemRun) begin(ctx context.Context) error {
	n := r.newNote()
	if err := r.Tidier.use(ctx, r.id); err != nil {
		return r.failed(ctx, events.StepInspect, err, "wait for what an attempt of the same name left behind")
	}
	err := r.announce(ctx, n)
	if err == nil {
		err = r.Notes.Write(&n)
	}
	if err == nil {
		step.At(ctx, step.Noted)
		err = r.noted(ctx, n)
	}
	if err == nil {
		return nil
	}
	if rerr := r.Notes.Remove(r.id); rerr != nil {
		r.Log.Warn("the note of an item that did nothing stays", zap.String("note", r.id), zap.Error(rerr))
	}
	r.Tidier.unuse(r.id)
	if ctx.Err() != nil {
		return r.failed(ctx, events.StepInspect, err, "begin %s %s", r.Item.Kind, r.Item.Name)
	}
	return &ItemError{Step: events.StepInspect, Code: events.CodeInternal, Retryable: true,
		Err: fmt.Errorf("note what is begun with %s %s: %w", r.Item.Kind, r.Item.Name, err)}
}

// announce tells whoever began the job. How long that takes is not the item's
// lack of progress.
func (r *itemRun) announce(ctx context.Context, n Note) error {
	if r.Begin == nil {
		return nil
	}
	defer r.watch.rest()()
	return r.Begin(ctx, n)
}

// noted has the note undone in the end. It fails if the item was left meanwhile.
func (r *itemRun) noted(ctx context.Context, n Note) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	r.note = &n
	return nil
}

func (r *itemRun) newNote() Note {
	n := Note{
		Job: r.Job, Attempt: r.Attempt, Point: r.Point, Item: r.Item.Item,
		Sink: r.SinkName, Dir: r.dir, Snapshot: r.ref, Time: time.Now().UTC(),
	}
	if r.before != nil {
		n.Quiesce, n.Before, n.StartedAt = r.Item.Quiesce, r.before.State, r.before.StartedAt.UTC()
		n.Held = r.together && n.Quiesce == events.QuiescePause
		n.Post = r.hooks.owed()
	}
	return n
}

// progress tells that the item goes on, unless it was left.
func (r *itemRun) progress(at events.Step, read, total, stored int64) {
	r.watch.alive()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.left {
		r.at = at
		r.Progress(at, read, total, stored)
	}
}

// stored makes m the item's result, whatever happens after.
func (r *itemRun) stored(m *point.Manifest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result = &Result{Manifest: m, Dir: r.dir, Durations: r.durations}
	if r.hooks != nil {
		r.result.Hooks = r.hooks.results
	}
}

// outcome is what came of the item so far. If ctx has ended, the Tidier gets what
// is left; ended is closed when nothing of the item runs any more.
func (r *itemRun) outcome(ctx context.Context, ended <-chan struct{}) (*Result, error) {
	if ctx.Err() != nil {
		r.handOver(ended)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.result != nil:
		result := *r.result
		return &result, nil
	case r.err != nil:
		return nil, r.err
	}
	return nil, failed(ctx, r.at, context.Cause(ctx), "back up %s %s", r.Item.Kind, r.Item.Name)
}
