package restore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/recreate"
	"holdfast.io/holdfast/internal/step"
	"holdfast.io/holdfast/internal/undo"
)

// gatePoll is how often a started container is looked at.
const gatePoll = 200 * time.Millisecond

// container makes the container, puts it in its place, starts it, and sees whether it
// runs; and so with those that use the namespaces of the one that it replaces. The old
// ones are stopped last: what stands while others are made is as little as can be.
func (a *attempt) container(ctx context.Context) error {
	for _, part := range []func(context.Context) error{
		a.create, a.remakeDependants, a.takePlace, a.start, a.startDependants, a.compare, a.compareDependants,
	} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

// create creates the container by its temporary name, with all of its endpoints.
func (a *attempt) create(ctx context.Context) error {
	defer measure(&a.result.DurationsMillis.Create)()
	platform, err := a.Engine.Platform(ctx)
	if err != nil {
		return failure.At(events.StepCreate, err, "ask the Engine what it is")
	}
	a.choices.Image = a.imageID
	a.call, err = recreate.Plan(recreate.Source{Document: a.source.Document, Context: a.source.Context}, &platform, a.choices)
	if err != nil {
		return failure.New(events.StepCreate, events.CodeUnsuitable, "container %s cannot be made on this Engine: %w", a.Item.Name, err)
	}
	a.id, err = a.make(ctx, a.Item.Container, a.temporary(), a.call)
	return err
}

// make creates a container by a temporary name, with all of its endpoints, and records
// its id.
func (a *attempt) make(ctx context.Context, name, temporary string, call *recreate.Call) (id string, err error) {
	created, err := a.Engine.CreateContainer(ctx, temporary, call.Body)
	if err != nil {
		return "", failure.At(events.StepCreate, err, "create container %s", name)
	}
	id = created.ID
	step.At(ctx, step.Created)
	for _, w := range created.Warnings {
		a.result.Warnings = events.Warn(a.result.Warnings, events.WarningRestore, "%s", w)
	}
	if err := a.note(ctx, func(r *undo.Restoration) { r.ContainerMade(temporary, id) }); err != nil {
		return "", failure.At(events.StepCreate, err, "record that container %s is created", name)
	}
	for _, c := range call.Connect {
		if err := a.Engine.Connect(ctx, c.Network, id, c.Endpoint); err != nil {
			return "", failure.At(events.StepCreate, err, "connect container %s to network %s", name, c.Network)
		}
	}
	for _, network := range call.Disconnect {
		if err := a.Engine.Disconnect(ctx, network, id); err != nil {
			return "", failure.At(events.StepCreate, err, "disconnect container %s from network %s", name, network)
		}
	}
	step.At(ctx, step.Connected)
	return id, nil
}

// takePlace gives the container its name, and has the one that it replaces stop before.
func (a *attempt) takePlace(ctx context.Context) error {
	if a.old != nil {
		if err := a.stopOld(ctx); err != nil {
			return err
		}
		if err := a.fill(ctx, events.VolumeFilled, events.VolumeReplaced); err != nil {
			return err
		}
	}
	if err := a.Engine.RenameContainer(ctx, a.id, a.Item.Container); err != nil {
		return failure.At(events.StepCreate, err, "name container %s", a.Item.Container)
	}
	a.result.Container = events.RestoredContainer{ID: a.id, Name: a.Item.Container}
	step.At(ctx, step.Named)
	return nil
}

// stopOld stops the container that is replaced, for good, and has it give its name up.
func (a *attempt) stopOld(ctx context.Context) (err error) {
	defer measure(&a.result.DurationsMillis.Stop)()
	if err := a.note(ctx, func(r *undo.Restoration) { r.Stopping = true }); err != nil {
		return failure.At(events.StepStop, err, "record that container %s is stopped", a.old.Name)
	}
	if runs(a.old.State) {
		a.stopped = time.Now()
	}
	if err := a.stop(ctx, a.old); err != nil {
		return err
	}
	return a.rename(ctx, a.old)
}

// stop stops a container, for good: it does not come back by itself when the Engine
// starts anew.
func (a *attempt) stop(ctx context.Context, old *engine.ContainerDetail) error {
	if runs(old.State) {
		a.Progress(events.StepStop, 0, 0, 0)
		if err := a.Engine.Stop(ctx, old.ID); err != nil {
			return failure.At(events.StepStop, err, "stop container %s", old.Name)
		}
		step.At(ctx, step.Stopped)
	}
	if err := a.Engine.SetRestartPolicy(ctx, old.ID, engine.RestartPolicy{Name: "no"}); err != nil {
		return failure.At(events.StepStop, err, "keep container %s from starting by itself", old.Name)
	}
	return nil
}

// rename has a container that is replaced give its name up.
func (a *attempt) rename(ctx context.Context, old *engine.ContainerDetail) error {
	if err := a.Engine.RenameContainer(ctx, old.ID, old.Name+".holdfast-"+a.Job); err != nil {
		return failure.At(events.StepStop, err, "rename container %s", old.Name)
	}
	step.At(ctx, step.Renamed)
	return nil
}

// start starts the container, if that is asked for, and sees whether it passes its gate.
func (a *attempt) start(ctx context.Context) error {
	if a.Item.As != events.RestoreStart {
		if !a.stopped.IsZero() {
			a.result.NotRunningMillis = elapsed(time.Since(a.stopped))
		}
		return nil
	}
	a.Progress(events.StepStart, 0, 0, 0)
	done := measure(&a.result.DurationsMillis.Start)
	err := a.Engine.Start(ctx, a.id)
	done()
	if err != nil {
		return failure.At(events.StepStart, err, "start container %s", a.Item.Container)
	}
	if !a.stopped.IsZero() {
		a.result.NotRunningMillis = elapsed(time.Since(a.stopped))
	}
	step.At(ctx, step.Started)
	defer measure(&a.result.DurationsMillis.Gate)()
	a.Progress(events.StepGate, 0, 0, 0)
	if err := a.gate(ctx, a.id, a.Item.Container, time.Now()); err != nil {
		return err
	}
	step.At(ctx, step.GatePassed)
	return nil
}

// gate returns when a container that was begun to be watched some time ago is healthy, or
// has run for as long as it must. It does not wait longer for a health check than that can
// take by its own times.
func (a *attempt) gate(ctx context.Context, id, name string, began time.Time) error {
	failed := func(err error) error { return failure.At(events.StepGate, err, "container %s", name) }
	starting := false
	tick := time.NewTicker(gatePoll)
	defer tick.Stop()
	for {
		c, err := a.Engine.Inspect(ctx, id)
		switch {
		case errors.Is(err, engine.ErrNotFound):
			return failed(fmt.Errorf("%w: it is gone", errNotHealthy))
		case err != nil && ctx.Err() == nil:
			return failed(err)
		case err == nil:
			starting = c.Health == engine.HealthStarting
			if passed, err := a.passes(c, time.Since(began)); err != nil {
				return failed(err)
			} else if passed {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			cause := context.Cause(ctx)
			if starting && errors.Is(cause, context.DeadlineExceeded) {
				return failure.New(events.StepGate, events.CodeNotHealthy,
					"container %s: %w: %s after its start its health check has not passed, and %w", name,
					errNotHealthy, time.Since(began).Round(time.Millisecond), cause)
			}
			return failed(cause)
		}
	}
}

// passes reports whether a container that was started some time ago passes the gate. An
// error says why it never will.
func (a *attempt) passes(c *engine.ContainerDetail, ran time.Duration) (passed bool, err error) {
	after := ran.Round(time.Millisecond)
	switch {
	case c.State != events.StateRunning:
		return false, fmt.Errorf("%w: %s after its start it is %s, and ended with exit code %d; what it wrote is gone with it: "+
			"restore it as \"create\", and start it by hand to see", errNotHealthy, after, c.State, c.ExitCode)
	case c.RestartCount > 0:
		return false, fmt.Errorf("%w: it ended and was started again within %s of its start", errNotHealthy, after)
	case c.Health == engine.HealthUnhealthy:
		return false, fmt.Errorf("%w: its health check fails", errNotHealthy)
	case c.Health == engine.HealthStarting && ran >= c.HealthBound+a.Gate:
		return false, fmt.Errorf("%w: its health check has not passed within %s, which are its own times and the gate",
			errNotHealthy, c.HealthBound+a.Gate)
	}
	return c.Health == engine.HealthHealthy || c.Health == engine.HealthNone && ran >= a.Gate, nil
}

// compare says what of the configuration is not as it was.
func (a *attempt) compare(ctx context.Context) error {
	c, err := a.Engine.Inspect(ctx, a.id)
	if err != nil {
		return failure.At(events.StepGate, err, "inspect container %s", a.Item.Container)
	}
	differences, err := recreate.Compare(a.source.Document, c.Raw, a.choices)
	if err != nil {
		return failure.At(events.StepGate, err, "compare container %s with what it was", a.Item.Container)
	}
	for _, d := range differences {
		reason := d.Reason
		if reason == "" {
			reason = "not known: please look at it"
		}
		a.result.Differences = append(a.result.Differences, events.Difference{Member: d.Member, Was: d.Was, Now: d.Now, Reason: reason})
	}
	return nil
}
