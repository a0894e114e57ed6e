package backupjob

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/plan"
)

// lookBound is how long the Engine may take to say what became of an item.
const lookBound = 10 * time.Second

// explain says of an item that failed whether it failed because the host changed
// after the plan was made. The plan stays what it is: a container that took the name
// of a planned one is not backed up in its place, but named. One that nobody named,
// and that ended by itself, is gone: that is nobody's fault.
func (r *run) explain(ctx context.Context, item plan.Item, err error) error {
	why, ok := errors.AsType[*failure.Error](err)
	if !ok || item.Code != "" || why.Code != events.CodeNotFound && why.Code != events.CodeUncommittable {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookBound)
	defer cancel()
	var now whereabouts
	var lookErr error
	switch item.Kind {
	case events.ItemContainer:
		var all []engine.Container
		all, lookErr = r.kind.Runner.Engine.Containers(ctx)
		now = findContainer(item, all)
	case events.ItemImage:
		var all []engine.Image
		all, lookErr = r.kind.Runner.Engine.Images(ctx)
		now = findImage(item, all)
	case events.ItemVolume:
		return whereabouts{}.judge(item, why) // a name is all that it has
	default: // no item of a backup
		return err
	}
	if lookErr != nil {
		return err // what is known without looking
	}
	return now.judge(item, why)
}

// whereabouts say what the Engine has of a planned item now.
type whereabouts struct {
	there     bool   // the item itself, and it is not about to go
	successor string // id of what has its name
}

func findContainer(item plan.Item, all []engine.Container) (w whereabouts) {
	for _, c := range all {
		switch {
		case c.ID == item.ID:
			w.there = engine.Committable(c.State)
		case c.Name == item.Name:
			w.successor = c.ID
		}
	}
	return w
}

func findImage(item plan.Item, all []engine.Image) (w whereabouts) {
	for _, img := range all {
		if img.ID == item.ID {
			w.there = true
			continue
		}
		for _, reference := range img.References {
			if reference == item.Name {
				w.successor = img.ID
			}
		}
	}
	return w
}

// gone reports whether an item is gone that nobody named and nothing replaced.
func (w whereabouts) gone(item plan.Item) bool {
	return !w.there && w.successor == "" && item.Selector != plan.ByName
}

// judge decides what the failure of an item means.
func (w whereabouts) judge(item plan.Item, why *failure.Error) error {
	switch {
	case w.gone(item):
		return &failure.Error{Step: events.StepInspect, Code: events.CodeGone,
			Err: fmt.Errorf("%s %s, which was found and not named, is gone", item.Kind, item.Name)}
	case w.there || w.successor == "":
		return why
	default:
		return &failure.Error{Step: why.Step, Code: events.CodeReplaced, Retryable: true,
			Err: fmt.Errorf("%s %s was replaced after the plan was made: what has its name now is %s; ask again to back that up",
				item.Kind, item.Name, w.successor)}
	}
}
