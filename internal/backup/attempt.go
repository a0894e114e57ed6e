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
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/helper"
	"holdfast.io/holdfast/internal/hook"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/quiesce"
	"holdfast.io/holdfast/internal/registry"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/stall"
	"holdfast.io/holdfast/internal/step"
	"holdfast.io/holdfast/internal/transport"
	"holdfast.io/holdfast/internal/undo"
)

// attempt is one attempt at one item. One goroutine works on it, and its caller may
// stop waiting; shared is for both.
type attempt struct {
	// What is given, and does not change.
	*Runner
	Task
	id    string // of the undo record
	dir   string // of the point
	watch *stall.Watchdog
	legs  []*leg

	work
	shared shared
	busy   sync.WaitGroup // what runs beside in legs
}

// work is what the goroutine of an attempt knows.
type work struct {
	about     engine.About
	ref       string // of the snapshot; empty for an image or a volume
	manifest  *point.Manifest
	documents []document // that are stored as they are
	baseID    string     // of the image that the container was made from; empty for none
	durations events.Durations

	below  []string        // the layers that the image has of the one it is based on, by their diff ids; nil if not known
	moved  transport.Facts // what the choice of the transport rests on, as far as it is known
	pushed *pushed         // takes the snapshot's push; nil if there is none
	direct sink.Repository // to which the Engine is to push the snapshot by itself; nil for none

	container *quiesce.Container // nil for an image or a volume
	hooks     *hook.Session      // nil for an image or a volume
	resumeErr error              // why the container does not run again
	settled   chan error         // whether it still runs a moment after its start; nil if it was not started
	imageID   string             // of the snapshot
	retried   bool               // there may be more snapshots than that
	helpers   []*helper.Prepared // by volume, as far as they were begun; nil if one was used, or is not there
}

// shared is what the goroutine of an attempt and its caller both use.
type shared struct {
	mu      sync.Mutex
	step    events.Step
	entry   *undo.Entry // what is to be undone; nil if nothing is
	release func()      // of the container's lock; nil if it is not held
	// heldSince is since when the container is paused or stopped by this backup, at the
	// earliest; zero if it is not. heldFor is how long it was.
	heldSince    time.Time
	heldFor      time.Duration
	stopSettling func() // ends the looking at a container that was started again; nil if nobody looks
	handedOver   bool   // the Sweeper undoes the rest
	err          error
	// firstFailure is why the first leg was dropped; nil if none of several was.
	firstFailure *failure.Error
	// hooks, durations and warnings are those of the result; the warnings came up after the
	// item was stored.
	hooks     []events.HookResult
	session   *registry.Session // of the push that was not begun; nil for none
	durations events.Durations
	warnings  []events.Warning
}

func (b *Runner) newAttempt(t Task, watch *stall.Watchdog) *attempt {
	r := &attempt{
		Runner: b, Task: t, watch: watch, id: undo.ID(t.Point, t.Attempt),
		dir: point.Dir(t.Host, t.Item.Kind, t.Item.Name, t.Point),
	}
	for _, to := range t.Legs {
		r.legs = append(r.legs, &leg{Leg: to})
	}
	r.shared.step = events.StepInspect
	if t.Item.Kind == events.ItemContainer {
		r.ref = engine.SnapshotReference(r.id)
	}
	return r
}

// find looks whether an earlier attempt has stored the point in one of its sinks, which
// then is the result. Otherwise it asks the Engine what it is.
func (r *attempt) find(ctx context.Context) (stored bool, err error) {
	if err = r.inLegs(ctx, r.look); r.isStored() || err != nil {
		return r.isStored(), err
	}
	if err := r.doubt(); err != nil {
		return false, err
	}
	if r.about, err = r.Engine.About(ctx); err != nil {
		return false, failure.At(events.StepInspect, err, "ask the Engine what it is")
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
	if r.Item.Kind != events.ItemVolume {
		r.manifest.Image = &point.Image{}
	}
	r.manifest.Warn(r.Item.Warnings...)
	return false, nil
}

// probe finds out whether all calls that the item needs would be let through, those
// that undo its traces among them: what could not be resumed is not paused.
func (r *attempt) probe(ctx context.Context) error {
	held := r.container != nil && !r.container.ByCommit
	hooks := r.hooks != nil && r.hooks.Declared()
	err := r.Engine.Probe(ctx, engine.CallsFor(r.Item, held, hooks)...)
	if err == nil && len(r.Item.Volumes) > 0 {
		err = r.Volumes.Helpers.Ready(ctx)
	}
	if err != nil {
		return failure.At(events.StepInspect, err, "%s %s is not touched", r.Item.Kind, r.Item.Name)
	}
	return nil
}

// image backs up an image, of which nothing has to be captured.
func (r *attempt) image(ctx context.Context) error {
	if stored, err := r.find(ctx); stored || err != nil {
		return err
	}
	done := measure(&r.durations.Inspect)
	img, err := r.Engine.InspectImage(ctx, r.Item.ID)
	done()
	if err != nil {
		return failure.At(events.StepInspect, err, "inspect image %s", r.Item.Name)
	}
	if err := r.probe(ctx); err != nil {
		return err
	}
	if err := r.begin(ctx); err != nil {
		return err
	}
	if err := r.stage(ctx); err != nil {
		return err
	}
	r.manifest.SnapshotTime = time.Now().UTC()
	r.manifest.Image.Reference = r.Item.Name
	return r.store(ctx, img)
}

// alone backs up what is no container, of which nothing has to be captured.
func (r *attempt) alone(ctx context.Context) error {
	if r.Item.Kind == events.ItemVolume {
		return r.volume(ctx)
	}
	return r.image(ctx)
}

// snapshot stores the container's snapshot, and the volumes that are read hot, and sees whether the container still
// runs.
func (r *attempt) snapshot(ctx context.Context) error {
	if r.Hot {
		if err := r.readVolumes(ctx); err != nil {
			return err
		}
	}
	img, err := r.Engine.InspectImage(ctx, r.imageID)
	if err != nil {
		return failure.At(events.StepSave, r.imageError(err), "inspect the snapshot of container %s", r.Item.Name)
	}
	if err := r.store(ctx, img); err != nil {
		return err
	}
	if r.settled == nil {
		return nil
	}
	select {
	case err = <-r.settled:
	case <-ctx.Done():
	}
	if errors.Is(err, quiesce.ErrNotResumed) {
		return failure.At(events.StepCommit, err, "container %s is stored as point %s", r.Item.Name, r.Point)
	}
	return nil
}

// begin records what the item may leave behind, so that whatever happens to this
// process it is undone.
func (r *attempt) begin(ctx context.Context) error {
	resume := r.watch.Suspend() // how long the ledger takes is not the item's lack of progress
	entry, err := r.Sweeper.Begin(ctx, r.Ledger, r.record())
	resume()
	if err == nil {
		step.At(ctx, step.Recorded)
		if err = r.recorded(ctx, entry); err == nil {
			return nil
		}
		if rerr := entry.End(); rerr != nil {
			r.Log.Warn("the undo record of an item that did nothing stays", zap.String("record", r.id), zap.Error(rerr))
			entry.HandOver(nil, undo.Ended, r.pending)
		}
	}
	if ctx.Err() != nil {
		return failure.At(events.StepInspect, err, "begin %s %s", r.Item.Kind, r.Item.Name)
	}
	return &failure.Error{Step: events.StepInspect, Code: events.CodeInternal, Retryable: true,
		Err: fmt.Errorf("record what is begun with %s %s: %w", r.Item.Kind, r.Item.Name, err)}
}

// recorded makes sure that the record is undone in the end. It fails if the item was
// left meanwhile.
func (r *attempt) recorded(ctx context.Context, entry *undo.Entry) error {
	r.shared.mu.Lock()
	defer r.shared.mu.Unlock()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	r.shared.entry = entry
	return nil
}

func (r *attempt) record() undo.Record {
	rec := undo.Record{Version: undo.Version, ID: r.id, Job: r.Job, Attempt: r.Attempt, Item: r.Item.Item, Time: time.Now().UTC()}
	if r.container != nil {
		if resume := r.container.Undo(); resume != nil {
			rec.Actions = append(rec.Actions, undo.Action{Resume: resume})
		}
		if post := r.hooks.Pending(); post != nil {
			rec.Actions = append(rec.Actions, undo.Action{RunHook: &undo.Hook{Container: r.Item.ID, Command: *post}})
		}
		rec.Actions = append(rec.Actions, undo.Action{RemoveImage: &undo.Image{Reference: r.ref}})
	}
	for n := range r.Item.Volumes {
		rec.Actions = append(rec.Actions, undo.Action{RemoveContainer: &undo.OwnContainer{Name: r.helper(n)}})
	}
	for _, l := range r.live() {
		rec.Actions = append(rec.Actions, undo.Action{Unstage: &undo.Staging{Sink: l.Sink, Dir: r.dir, Name: stagingName(r.Attempt)}})
	}
	return rec
}

// stagingName is the name of an attempt in a sink.
func stagingName(attempt uint64) string { return fmt.Sprint(attempt) }

// pending reports whether the Engine may still do what it was told.
func (r *attempt) pending() bool { return r.container != nil && r.container.Pending() }

// progress tells that the item goes on, unless it was left.
func (r *attempt) progress(at events.Step, read, total, stored int64) {
	r.watch.Kick()
	r.shared.mu.Lock()
	defer r.shared.mu.Unlock()
	if !r.shared.handedOver {
		r.shared.step = at
		r.Progress(at, read, total, stored)
	}
}

// outcomes are what came of the item so far in each of its sinks. If ctx has ended, the
// Sweeper gets what is left; ended is closed when nothing of the item runs any more but
// what runs beside in its legs.
func (r *attempt) outcomes(ctx context.Context, ended <-chan struct{}) []Outcome {
	if ctx.Err() != nil {
		r.handOver(r.idle(ended))
	}
	r.shared.mu.Lock()
	defer r.shared.mu.Unlock()
	if errors.Is(r.shared.err, quiesce.ErrNotResumed) {
		return r.failed(r.shared.err) // also if the point is stored: the container is down
	}
	all := make([]Outcome, len(r.legs))
	for i, l := range r.legs {
		switch {
		case l.manifest != nil:
			all[i].Result = r.result(l)
		case l.failure != nil:
			all[i].Err = l.failure
		case r.shared.err != nil:
			all[i].Err = r.shared.err
		case ctx.Err() != nil:
			all[i].Err = r.unfinished(ctx)
		default:
			all[i].Err = &failure.Error{Step: events.StepInspect, Code: events.CodeInternal, Retryable: true,
				Err: fmt.Errorf("an earlier attempt has stored point %s in another sink, and not in sink %s", r.Point, l.Sink)}
		}
	}
	return all
}

// result is that of a leg that has the point. It is called with the mutex held.
func (r *attempt) result(l *leg) *Result {
	result := &Result{Manifest: l.manifest, Dir: r.dir, Hooks: r.shared.hooks, Durations: r.shared.durations,
		Unchanged: l.unchanged, Warnings: l.manifest.PublicWarnings()}
	for _, w := range r.shared.warnings {
		result.Warnings = events.Warn(result.Warnings, w.Code, "%s", w.Message)
	}
	return result
}

// unfinished is the error of an item that has no end yet. It is called with the mutex held.
func (r *attempt) unfinished(ctx context.Context) error {
	e := itemError(ctx, failure.At(r.shared.step, context.Cause(ctx), "back up %s %s", r.Item.Kind, r.Item.Name))
	if e.NotRunning = r.shared.heldFor; !r.shared.heldSince.IsZero() {
		e.NotRunning = time.Since(r.shared.heldSince)
		e.Err = fmt.Errorf("%w; the container may be paused or stopped, for %s by now, "+
			"and is resumed as soon as the Engine has ended what it was told", e.Err, e.NotRunning.Round(time.Millisecond))
	}
	return e
}

// held says that the container is being paused or stopped, and resumed that it runs
// again.
func (r *attempt) held() {
	r.shared.mu.Lock()
	defer r.shared.mu.Unlock()
	if r.container.Undo() != nil && r.shared.heldSince.IsZero() {
		r.shared.heldSince = time.Now()
	}
}

func (r *attempt) resumed() {
	r.shared.mu.Lock()
	defer r.shared.mu.Unlock()
	if !r.shared.heldSince.IsZero() {
		r.shared.heldFor += time.Since(r.shared.heldSince)
		r.shared.heldSince = time.Time{}
	}
}
