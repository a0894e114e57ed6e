package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/image"
	"holdfast.io/holdfast/internal/load"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/step"
	"holdfast.io/holdfast/internal/undo"
)

// Engine is what a drill needs of an Engine.
type Engine interface {
	engine.Containers
	engine.Images
	engine.Loader
	About(ctx context.Context) (engine.About, error)
	Images(ctx context.Context) ([]engine.Image, error)
	engine.Creator
	engine.Helpers
	engine.Prober
}

// Bounds of a drill.
const (
	// runBound is how long a container without a health check must run.
	runBound = 10 * time.Second
	// healthBound is how long one with a health check may take to become healthy.
	healthBound = 5 * time.Minute
	pollDelay   = 250 * time.Millisecond
	// undoBound is how long a drill tries to undo itself before it leaves that to the
	// Sweeper.
	undoBound = 10 * time.Second
)

// drill is one start of a container of a point's image.
type drill struct {
	*attempt
	entry     *undo.Entry
	name      string // of the container, and the value of its label
	reference string // of the image
	imageID   string
	told      atomic.Bool // the Engine may still do what it was told
}

// drill loads the point's image, starts a container of it that has no network, and
// removes both. verdict says that the container did not run as it did; err that this
// could not be seen. A point of a volume, of an image, or of a container that did not
// run has nothing to start: it passes, with a warning that says so.
func (a *attempt) drill(ctx context.Context) (verdict *failure.Error, err error) {
	if a.manifest.Image == nil {
		a.warn(events.WarningUnchecked,
			"point %s is of a %s: there is nothing to start, and what is stored of it was read", a.Item.Point, a.manifest.Item.Kind)
		return nil, nil
	}
	id := undo.ID(a.Item.Point+"-"+a.Job, a.Attempt)
	d := &drill{attempt: a, name: engine.HelperName(a.Item.Point+"-"+a.Job, a.Attempt, 0), reference: engine.DrillReference(id)}
	if err := a.Engine.Probe(ctx, engine.DrillCalls...); err != nil {
		return nil, failure.At(events.StepLoad, err, "a drill of point %s is not begun", a.Item.Point)
	}
	for {
		there, err := d.there(ctx)
		if err != nil {
			return nil, failure.At(events.StepLoad, err, "see whether the image of point %s is on the Engine", a.Item.Point)
		}
		if err := d.begin(ctx, id, there); err != nil {
			return nil, err
		}
		verdict, err = d.run(ctx, there)
		if ctx.Err() != nil {
			return verdict, err
		}
		d.end(ctx)
		if !there || !errors.Is(err, engine.ErrNotFound) {
			return verdict, err
		}
		a.Log.Info("the image of a point was removed while a drill used it; the drill begins again", zap.String("point", a.Item.Point))
	}
}

// there reports whether the image is on the Engine already, and not only for another
// drill. Then it stays. One that another drill is about to remove has lost its name, and
// cannot be told from one that has none: it may be gone at any moment.
func (d *drill) there(ctx context.Context) (bool, error) {
	m := d.manifest.Image
	for _, id := range []string{m.ID, m.ConfigDigest} {
		img, err := d.Engine.InspectImage(ctx, id)
		if errors.Is(err, engine.ErrNotFound) {
			continue
		}
		if err != nil {
			return false, err
		}
		own := func(ref string) bool { return !engine.IsTemporary(ref) }
		if len(img.References) == 0 || slices.ContainsFunc(img.References, own) {
			d.imageID = img.ID
			return true, nil
		}
	}
	return false, nil
}

// begin records what the drill may leave behind, so that whatever happens to this
// process it is undone.
func (d *drill) begin(ctx context.Context, id string, there bool) error {
	r := undo.Record{Version: undo.Version, ID: id, Job: d.Job, Attempt: d.Attempt, Item: d.manifest.Item, Time: time.Now().UTC(),
		Actions: []undo.Action{{RemoveContainer: &undo.OwnContainer{Name: d.name}}}}
	if !there {
		r.Actions = append(r.Actions, undo.Action{RemoveImage: &undo.Image{Reference: d.reference}})
	}
	resume := d.watch.Suspend() // how long the ledger takes is not the drill's lack of progress
	entry, err := d.Sweeper.Begin(ctx, d.Ledger, r)
	resume()
	if err != nil {
		return failure.At(events.StepLoad, err, "record what a drill of point %s begins", d.Item.Point)
	}
	step.At(ctx, step.Recorded)
	d.entry = entry
	if d.keep(entry, d.told.Load) {
		return nil
	}
	entry.HandOver(nil, undo.Ended, d.told.Load) // nobody else ends it
	return failure.At(events.StepLoad, context.Cause(ctx), "begin a drill of point %s", d.Item.Point)
}

// end removes what the drill made, or leaves it to the Sweeper.
func (d *drill) end(ctx context.Context) {
	d.progress(events.StepRemove)
	bounded, cancel := context.WithTimeout(ctx, undoBound)
	defer cancel()
	err := d.remove(bounded)
	if err == nil && d.told.Load() { // more may come
		d.leave(undo.Ended)
		return
	}
	if err != nil {
		d.Log.Warn("what a drill made is still on the Engine; it will be removed", zap.String("container", d.name), zap.Error(err))
		d.warn(events.WarningSnapshotKept,
			"what a drill of point %s made is still on the Engine, and is removed as soon as that is possible: %v", d.Item.Point, err)
		d.leave(undo.Ended)
		return
	}
	step.At(ctx, step.Removed)
	if err := d.entry.End(); err != nil {
		d.Log.Warn("the undo record of what is undone is still there", zap.String("container", d.name), zap.Error(err))
		d.leave(undo.Ended)
		return
	}
	d.forget()
	step.At(ctx, step.RecordGone)
}

func (d *drill) remove(ctx context.Context) error {
	if _, err := d.Engine.RemoveHelper(ctx, d.name); err != nil {
		return fmt.Errorf("remove container %s: %w", d.name, err)
	}
	r := d.entry.Record()
	for _, a := range r.Actions {
		if a.RemoveImage == nil {
			continue
		}
		ids, err := undo.FindImage(ctx, d.Engine, *a.RemoveImage)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if _, err := undo.RemoveImage(ctx, d.Engine, undo.Image{Reference: a.RemoveImage.Reference, ID: id}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *drill) run(ctx context.Context, there bool) (*failure.Error, error) {
	if !there {
		if err := d.load(ctx); err != nil {
			return nil, err
		}
	}
	step.At(ctx, step.Loaded)
	starts := d.manifest.State == events.StateRunning || d.manifest.State == events.StatePaused
	d.progress(events.StepCreate)
	id, err := d.create(ctx, starts)
	switch {
	case errors.Is(err, engine.ErrRefusedConfig):
		return d.failed(events.StepCreate, events.CodeNotStarted, "no container can be made of it: %v", err), nil
	case err != nil:
		return nil, failure.At(events.StepCreate, err, "make a container of point %s", d.Item.Point)
	}
	step.At(ctx, step.Created)
	if !starts {
		d.warn(events.WarningUnchecked,
			"point %s is of %s: its image was loaded and a container made of it, and that was not started", d.Item.Point, d.describe())
		return nil, nil
	}
	d.progress(events.StepStart)
	if err := d.Engine.Start(ctx, id); err != nil {
		if code, _ := meanings.Classify(err); code != events.CodeEngine || ctx.Err() != nil {
			return nil, failure.At(events.StepStart, err, "start a container of point %s", d.Item.Point)
		}
		return d.failed(events.StepStart, events.CodeNotStarted, "a container of it cannot be started: %v", err), nil
	}
	step.At(ctx, step.Started)
	return d.gate(ctx, id)
}

// describe says what the point is of that is not started.
func (d *drill) describe() string {
	if d.manifest.Item.Kind == events.ItemImage {
		return "an image"
	}
	return fmt.Sprintf("a container that was %s", d.manifest.State)
}

// load loads the image under the drill's own name, by which it is found whatever id the
// Engine gives it.
func (d *drill) load(ctx context.Context) error {
	what := fmt.Sprintf("load the image of point %s", d.Item.Point)
	size, has := image.SizeOf(d.manifest)
	if !has {
		return &failure.Error{Step: events.StepLoad, Code: events.CodeInternal, Err: fmt.Errorf("%s: it has no image", what)}
	}
	d.begins(events.StepLoad, size.Stored)
	if err := d.send(ctx); err != nil {
		return failure.At(events.StepLoad, err, "%s", what)
	}
	return nil
}

// send sends the image archive to the Engine, without what that has of it. When it returns, nothing is read any more.
func (d *drill) send(ctx context.Context) error {
	var opened []*source
	from := image.Source{Manifest: d.manifest, Seal: seal.Of(d.Sink), Open: func(ctx context.Context, key string) (io.ReadCloser, error) {
		f, err := d.open(ctx, key)
		if err == nil {
			opened = append(opened, f)
		}
		return f, err
	}}
	d.told.Store(true)
	var err error
	d.imageID, err = load.Image(ctx, d.Engine, from, d.reference, d.Log)
	if answered(ctx, err) {
		d.knows(func(r *undo.Record) { r.EndCommit(d.reference, d.imageID) })
	}
	for _, f := range opened {
		if f.err != nil { // the Engine says less of it
			return f.err
		}
	}
	return err
}

// answered reports whether the Engine has said what came of what it was told: if not, it
// may go on with it.
func answered(ctx context.Context, err error) bool {
	return err == nil || ctx.Err() == nil && !errors.Is(err, engine.ErrEngineUnavailable)
}

// knows says that the Engine has done what it was told, and what is known by now of
// what is to be undone.
func (d *drill) knows(change func(r *undo.Record)) {
	d.told.Store(false)
	d.entry.Change(change)
	if err := d.entry.Save(); err != nil {
		d.Log.Warn("the undo record of a drill is not up to date on disk", zap.String("container", d.name), zap.Error(err))
	}
}
