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
	"holdfast.io/holdfast/internal/stall"
	"holdfast.io/holdfast/internal/step"
	"holdfast.io/holdfast/internal/undo"
)

// itemRun is one item on its way. It is worked on by one goroutine, which whoever
// waits for it can leave behind; only what mu guards is for both.
type itemRun struct {
	*Runner
	Task
	id        string // of the undo record
	ref       string // of the snapshot; empty for an image
	dir       string // of the point
	about     engine.About
	manifest  *point.Manifest
	config    []byte // the container's inspect document
	durations events.Durations
	watch     *stall.Watchdog

	together bool                    // captured with others
	worse    error                   // of a container of a set that does not run again
	before   *engine.ContainerDetail // the container before it is quiesced
	hooks    *hookRun
	account  *account
	resumed  bool   // it runs as before, and nothing but its hook may be left to undo
	touched  bool   // something may have been done to the container
	imageID  string // of the snapshot
	staged   bool   // something may lie staged

	mu      sync.Mutex
	at      events.Step
	entry   *undo.Entry // what is to be undone; nil if nothing is
	release func()      // of the container's lock; nil if it is not held
	lost    bool        // the Engine may still do what it was told
	left    bool        // the Sweeper undoes the rest
	result  *Result
	err     error
}

func (b *Runner) newRun(t Task) *itemRun {
	r := &itemRun{
		Runner: b, Task: t, at: events.StepInspect, watch: &stall.Watchdog{},
		id:  undo.ID(t.Point, t.Attempt),
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
		Image:         &point.Image{},
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

// begin records what the item may leave behind, so that whatever happens to this
// process it is undone.
func (r *itemRun) begin(ctx context.Context) error {
	resume := r.watch.Suspend() // how long the ledger takes is not the item's lack of progress
	entry, err := r.Sweeper.Begin(ctx, r.Ledger, r.newRecord())
	resume()
	if err == nil {
		step.At(ctx, step.Recorded)
		if err = r.recorded(ctx, entry); err == nil {
			return nil
		}
		if rerr := entry.End(); rerr != nil {
			r.Log.Warn("the undo record of an item that did nothing stays", zap.String("record", r.id), zap.Error(rerr))
			entry.HandOver(nil, closed, r.isLost)
		}
	}
	if ctx.Err() != nil {
		return r.failed(ctx, events.StepInspect, err, "begin %s %s", r.Item.Kind, r.Item.Name)
	}
	return &ItemError{Step: events.StepInspect, Code: events.CodeInternal, Retryable: true,
		Err: fmt.Errorf("record what is begun with %s %s: %w", r.Item.Kind, r.Item.Name, err)}
}

// recorded makes sure that the record is undone in the end. It fails if the item was
// left meanwhile.
func (r *itemRun) recorded(ctx context.Context, entry *undo.Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	r.entry = entry
	return nil
}

func (r *itemRun) newRecord() undo.Record {
	rec := undo.Record{Version: undo.Version, ID: r.id, Job: r.Job, Attempt: r.Attempt, Item: r.Item.Item, Time: time.Now().UTC()}
	if r.resumes() {
		rec.Actions = append(rec.Actions, undo.Action{Resume: &undo.Resume{
			Container: r.Item.ID, Quiesce: r.Item.Quiesce, Before: r.before.State, StartedAt: r.before.StartedAt.UTC(), Held: r.isHeld()}})
	}
	if r.hooks != nil && r.hooks.pending() != nil {
		rec.Actions = append(rec.Actions, undo.Action{RunHook: &undo.Hook{Container: r.Item.ID, Command: *r.hooks.pending()}})
	}
	if r.ref != "" {
		rec.Actions = append(rec.Actions, undo.Action{RemoveImage: &undo.Image{Reference: r.ref}})
	}
	rec.Actions = append(rec.Actions, undo.Action{Unstage: &undo.Staging{Sink: r.SinkName, Dir: r.dir, Name: stagingName(r.Attempt)}})
	return rec
}

// stagingName is the name of an attempt in a sink.
func stagingName(attempt uint64) string { return fmt.Sprint(attempt) }

// resumes reports whether the item pauses or stops a container that ran before, and
// which is to be resumed. What did not run before is left as it was.
func (r *itemRun) resumes() bool {
	switch {
	case r.before == nil:
		return false
	case r.Item.Quiesce == events.QuiescePause:
		return r.before.State == events.StateRunning
	case r.Item.Quiesce == events.QuiesceStop:
		return r.before.State == events.StateRunning || r.before.State == events.StateRestarting
	}
	return false
}

// isHeld reports whether the container is paused by a call of its own, and not by
// its commit.
func (r *itemRun) isHeld() bool { return r.together && r.Item.Quiesce == events.QuiescePause }

// progress tells that the item goes on, unless it was left.
func (r *itemRun) progress(at events.Step, read, total, stored int64) {
	r.watch.Kick()
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

// outcome is what came of the item so far. If ctx has ended, the Sweeper gets what
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
