package restore

import (
	"context"
	"errors"
	"sync"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/undo"
)

// lock keeps others from what the item changes: the name of the container, the
// containers that are replaced, the image and the volumes. What an earlier attempt at the
// item did is undone before.
func (a *attempt) lock(ctx context.Context) error {
	for n := uint64(1); n < a.Attempt; n++ {
		if err := a.Sweeper.Settled(ctx, a.recordID(n)); err != nil {
			return failure.At(events.StepPlan, err, "wait until attempt %d is undone", n)
		}
	}
	var all []undo.Resource
	if a.Item.As != "" {
		all = append(all, undo.ImageReference(Reference(a.Item.Point)))
	}
	if a.Item.Container != "" {
		all = append(all, undo.ContainerName(a.Item.Container))
	}
	if a.Item.Replaces != "" {
		all = append(all, undo.Container(a.Item.Replaces))
	}
	for _, d := range a.Item.Dependants {
		all = append(all, undo.Container(d.ID), undo.ContainerName(d.Name))
	}
	for _, v := range a.Item.Volumes {
		all = append(all, undo.VolumeName(v.Name))
	}
	release, err := a.Sweeper.Locks.AcquireAll(ctx, all)
	if err != nil {
		return failure.At(events.StepPlan, err, "restore point %s", a.Item.Point)
	}
	a.release = sync.OnceFunc(release)
	return nil
}

// inspectOld looks at the container that is replaced, once nobody else has it.
func (a *attempt) inspectOld(ctx context.Context) error {
	if a.Item.Replaces == "" {
		return nil
	}
	var err error
	a.old, err = a.inspect(ctx, a.Item.Replaces, a.Item.Container)
	return err
}

// inspect looks at a container that was there when the plan was made.
func (a *attempt) inspect(ctx context.Context, id, name string) (*engine.ContainerDetail, error) {
	c, err := a.Engine.Inspect(ctx, id)
	switch {
	case errors.Is(err, engine.ErrNotFound):
		return nil, failure.New(events.StepPlan, events.CodeReplaced, "container %s (%.12s) was removed after the plan was made: ask again",
			name, id)
	case err != nil:
		return nil, failure.At(events.StepPlan, err, "inspect container %s", name)
	case c.Name != name:
		return nil, failure.New(events.StepPlan, events.CodeReplaced, "container %s is called %s by now: ask again", name, c.Name)
	}
	return c, nil
}
