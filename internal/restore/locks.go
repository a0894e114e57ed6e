package restore

import (
	"context"
	"errors"
	"slices"
	"sync"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/undo"
)

// locks are what an attempt holds while it works.
type locks struct {
	once sync.Once
	mu   sync.Mutex
	held []func()
}

// release releases all, once.
func (l *locks) release() {
	l.once.Do(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, release := range slices.Backward(l.held) {
			release()
		}
	})
}

// lock keeps others from what the item changes: the name of the container, the
// container that is replaced, and the volumes. They are taken in the order of their
// names, so that no two items wait for each other.
func (a *attempt) lock(ctx context.Context) error {
	var all []undo.Resource
	if a.Item.As != "" {
		all = append(all, undo.Resource("image/"+Reference(a.Item.Point)))
	}
	if a.Item.Container != "" {
		all = append(all, undo.Resource("name/"+a.Item.Container))
	}
	if a.Item.Replaces != "" {
		all = append(all, undo.Container(a.Item.Replaces))
	}
	for _, v := range a.Item.Volumes {
		all = append(all, undo.Resource("volume/"+v.Name))
	}
	slices.Sort(all)
	for _, r := range slices.Compact(all) {
		release, err := a.Sweeper.Locks.Acquire(ctx, r)
		if err != nil {
			return failure.At(events.StepPlan, err, "wait for %s", r)
		}
		a.locks.held = append(a.locks.held, release)
	}
	return nil
}

// inspectOld looks at the container that is replaced, once nobody else has it.
func (a *attempt) inspectOld(ctx context.Context) error {
	if a.Item.Replaces == "" {
		return nil
	}
	c, err := a.Engine.Inspect(ctx, a.Item.Replaces)
	switch {
	case errors.Is(err, engine.ErrNotFound):
		return failure.New(events.StepPlan, events.CodeReplaced, "container %s (%.12s) was removed after the plan was made: ask again",
			a.Item.Container, a.Item.Replaces)
	case err != nil:
		return failure.At(events.StepPlan, err, "inspect container %s", a.Item.Container)
	case c.Name != a.Item.Container:
		return failure.New(events.StepPlan, events.CodeReplaced, "container %s is called %s by now: ask again", a.Item.Container, c.Name)
	}
	a.old = c
	return nil
}
