package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/recreate"
	"holdfast.io/holdfast/internal/step"
	"holdfast.io/holdfast/internal/undo"
)

// dependant is a container that uses namespaces of the one that is replaced. Another one
// is made in its place, of an image of what it holds: nothing that it has written is lost.
type dependant struct {
	old *engine.ContainerDetail
	// context is what its document names, by their ids before anything was made.
	context   *recreate.Context
	choices   recreate.Choices
	temporary string // the name that the new one is made by
	reference string // of the image
	id        string // of the new one

	stopped    time.Time // when the old one was stopped; zero if it did not run
	started    time.Time // when the new one was started; zero if it is not
	notRunning time.Duration
}

// ranWell reports whether the old one ran as it should: of another one that is not asked,
// as it may be why the restore is.
func (d *dependant) ranWell() bool {
	return d.old.State != events.StateRestarting && d.old.Health != engine.HealthUnhealthy
}

func (d *dependant) result() events.RecreatedDependant {
	return events.RecreatedDependant{ID: d.id, Name: d.old.Name, Replaced: d.old.ID, ImageReference: d.reference,
		NotRunningMillis: elapsed(d.notRunning)}
}

// inspectDependants looks at the containers that use namespaces of the one that is
// replaced, once nobody else has them, and whether all can be made again.
func (a *attempt) inspectDependants(ctx context.Context) error {
	if a.old == nil {
		return nil
	}
	for n, planned := range a.Item.Dependants {
		old, err := a.inspect(ctx, planned.ID, planned.Name)
		if err != nil {
			return err
		}
		d := &dependant{old: old, temporary: fmt.Sprintf("%s-%d", a.temporary(), n),
			reference: fmt.Sprintf("%s:%s-%d-%.12s", Repository, a.Job, a.Attempt, old.ID)}
		if d.context, err = recreate.Gather(ctx, a.Engine, old.Raw); err != nil {
			return failure.At(events.StepPlan, err, "find out what container %s is connected to", old.Name)
		}
		if err := a.canRemake(ctx, d); err != nil {
			return err
		}
		a.dependants = append(a.dependants, d)
	}
	return a.noOthers(ctx)
}

// canRemake reports why a container cannot be made again, while nothing is stopped.
func (a *attempt) canRemake(ctx context.Context, d *dependant) error {
	about, err := a.Engine.About(ctx)
	if err == nil && about.CommitNeedsBase && d.old.ImageID != "" {
		if _, err = a.Engine.InspectImage(ctx, d.old.ImageID); errors.Is(err, engine.ErrNotFound) {
			err = engine.BaseMissing(d.old.ImageID)
		}
	}
	if err != nil {
		return failure.At(events.StepPlan, err, "container %s cannot be made again", d.old.Name)
	}
	for _, id := range d.old.Shares {
		if !slices.ContainsFunc(d.context.Containers, func(o recreate.Container) bool { return o.ID == id }) {
			return failure.New(events.StepPlan, events.CodeUnsuitable, "container %s cannot be made again: the Engine does not tell about "+
				"container %.12s, whose namespaces it uses", d.old.Name, id)
		}
	}
	_, err = a.planDependant(ctx, d, d.old.ImageID)
	return err
}

// noOthers refuses to replace what another container began to use after the plan was made.
func (a *attempt) noOthers(ctx context.Context) error {
	all, err := a.Engine.Containers(ctx)
	if err != nil {
		return failure.At(events.StepPlan, err, "list the containers")
	}
	for _, c := range all {
		if a.Item.stops(c.ID) {
			continue
		}
		d, err := a.Engine.Inspect(ctx, c.ID)
		switch {
		case engine.IsLasting(err), errors.Is(err, engine.ErrEngineUnavailable), ctx.Err() != nil:
			return failure.At(events.StepPlan, err, "inspect container %s", c.Name)
		case err != nil: // it is gone, or goes
		case slices.ContainsFunc(d.Shares, a.Item.stops):
			return failure.New(events.StepPlan, events.CodeDependants,
				"container %s has begun to use namespaces that would go, after the plan was made: ask again", c.Name)
		}
	}
	return nil
}

// planDependant plans how a dependant is made again from an image, with all that has been
// made by now in the place of what it used.
func (a *attempt) planDependant(ctx context.Context, d *dependant, image string) (*recreate.Call, error) {
	platform, err := a.Engine.Platform(ctx)
	if err != nil {
		return nil, failure.At(events.StepCreate, err, "ask the Engine what it is")
	}
	made := map[string]string{a.old.ID: a.id}
	for _, other := range a.dependants {
		made[other.old.ID] = other.id
	}
	d.choices = recreate.Choices{Image: image, Containers: map[string]string{}}
	for _, other := range d.context.Containers {
		d.choices.Containers[other.Name] = cmp.Or(made[other.ID], other.ID)
	}
	for _, m := range d.old.Mounts { // what it has emptied stays empty
		if m.Type == "volume" {
			d.choices.NoCopy = append(d.choices.NoCopy, m.Name)
		}
	}
	call, err := recreate.Plan(recreate.Source{Document: d.old.Raw, Context: d.context}, &platform, d.choices)
	if err != nil {
		return nil, failure.New(events.StepCreate, events.CodeUnsuitable, "container %s cannot be made again: %w", d.old.Name, err)
	}
	return call, nil
}

// remakeDependants stops the dependants, those first that need others, and makes each
// again of what it holds then. The container that is replaced runs on meanwhile.
func (a *attempt) remakeDependants(ctx context.Context) error {
	if len(a.dependants) == 0 {
		return nil
	}
	err := a.note(ctx, func(r *undo.Restoration) {
		for i := range r.Dependants {
			r.Dependants[i].Stopping = true
		}
	})
	if err != nil {
		return failure.At(events.StepStop, err, "record that the dependants of container %s are stopped", a.old.Name)
	}
	for _, d := range slices.Backward(a.dependants) {
		if runs(d.old.State) {
			d.stopped = time.Now()
		}
		if err := a.stop(ctx, d.old); err != nil {
			return err
		}
	}
	for _, d := range a.dependants {
		if err := a.remake(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// remake makes a container again, from an image of what it holds.
func (a *attempt) remake(ctx context.Context, d *dependant) error {
	if err := a.change(ctx, func(r *undo.Record) {
		r.Actions = append(r.Actions, undo.Action{RemoveImage: &undo.Image{Reference: d.reference, Begun: time.Now().UTC()}})
	}); err != nil {
		return failure.At(events.StepCommit, err, "record that container %s is committed", d.old.Name)
	}
	a.Progress(events.StepCommit, 0, 0, 0)
	image, err := a.Engine.Commit(ctx, d.old.ID, engine.CommitOptions{Reference: d.reference, Comment: engine.SnapshotComment(d.reference)})
	if err != nil {
		return failure.At(events.StepCommit, err, "commit container %s", d.old.Name)
	}
	a.entry.Change(func(r *undo.Record) { r.EndCommit(d.reference, image) })
	step.At(ctx, step.Committed)
	a.Progress(events.StepCreate, 0, 0, 0)
	call, err := a.planDependant(ctx, d, image)
	if err != nil {
		return err
	}
	if d.id, err = a.make(ctx, d.old.Name, d.temporary, call); err != nil {
		return err
	}
	step.At(ctx, step.DependantMade)
	return nil
}

// startDependants puts the dependants in their places, has those run that ran, and sees
// whether they do.
func (a *attempt) startDependants(ctx context.Context) error {
	if len(a.dependants) == 0 {
		return nil
	}
	a.Progress(events.StepStart, 0, 0, 0)
	for _, d := range a.dependants {
		if err := a.startDependant(ctx, d); err != nil {
			return err
		}
	}
	defer measure(&a.result.DurationsMillis.Gate)()
	a.Progress(events.StepGate, 0, 0, 0)
	for _, d := range a.dependants {
		if d.started.IsZero() {
			continue
		}
		if d.ranWell() {
			if err := a.gate(ctx, d.id, d.old.Name, d.started); err != nil {
				return err
			}
		}
		if d.old.State == events.StatePaused {
			if err := a.Engine.Pause(ctx, d.id); err != nil {
				return failure.At(events.StepGate, err, "pause container %s, as it was", d.old.Name)
			}
		}
	}
	step.At(ctx, step.DependantsRun)
	return nil
}

func (a *attempt) startDependant(ctx context.Context, d *dependant) error {
	if err := a.rename(ctx, d.old); err != nil {
		return err
	}
	if err := a.Engine.RenameContainer(ctx, d.id, d.old.Name); err != nil {
		return failure.At(events.StepCreate, err, "name container %s", d.old.Name)
	}
	step.At(ctx, step.DependantNamed)
	if a.Item.As == events.RestoreStart && runs(d.old.State) {
		if err := a.Engine.Start(ctx, d.id); err != nil {
			return failure.At(events.StepStart, err, "start container %s", d.old.Name)
		}
		d.started = time.Now()
		step.At(ctx, step.Started)
	}
	if !d.stopped.IsZero() {
		d.notRunning = time.Since(d.stopped)
	}
	return nil
}

// compareDependants warns of what of the dependants' configuration is not as it was, and
// should be.
func (a *attempt) compareDependants(ctx context.Context) error {
	for _, d := range a.dependants {
		c, err := a.Engine.Inspect(ctx, d.id)
		if err != nil {
			return failure.At(events.StepGate, err, "inspect container %s", d.old.Name)
		}
		differences, err := recreate.Compare(d.old.Raw, c.Raw, d.choices)
		if err != nil {
			return failure.At(events.StepGate, err, "compare container %s with what it was", d.old.Name)
		}
		for _, diff := range recreate.Unexpected(differences) {
			a.result.Warnings = events.Warn(a.result.Warnings, events.WarningRestore,
				"container %s was made again, and %s is not as it was: please look at it", d.old.Name, diff.Member)
		}
	}
	return nil
}
