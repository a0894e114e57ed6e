package backup

import (
	"context"
	"slices"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/stall"
	"holdfast.io/holdfast/internal/undo"
)

// Captured is one item of a group whose containers were captured at one point in
// time, or failed to be. It is either stored or discarded.
type Captured struct {
	attempt *attempt
	failed  []Outcome // that it was not captured; nil if it was
}

// Capture captures the containers among the tasks at one point in time: all are
// quiesced, then all are committed, then all are resumed. They are stopped in the
// order of the tasks, and started in the reverse one. A container whose mode is none
// is committed as it runs. It returns one Captured for each task, in their order, to
// be stored or discarded by the caller, several at a time or not. An image has no
// point in time, and neither has a volume by itself: they are read when they are
// stored. The volumes of the containers are read before the first of those runs again,
// unless they are to be read hot.
//
// If one container cannot be captured, none is: its item fails for its reason,
// and the others with not_together. Items that an earlier attempt stored stay;
// the rest of their group fails then, as the time of those has passed.
//
// When ctx ends, Capture returns within a second, as Run does.
func (b *Runner) Capture(ctx context.Context, tasks []Task) []*Captured {
	all := make([]*Captured, 0, len(tasks))
	g := &group{Runner: b, watch: &stall.Watchdog{}}
	for _, t := range tasks {
		c := &Captured{attempt: b.newAttempt(t, g.watch)}
		if t.Item.Kind == events.ItemContainer {
			g.all = append(g.all, c.attempt)
		}
		all = append(all, c)
	}
	if len(g.all) == 0 {
		return all
	}
	ctx, stop := g.watch.Guard(ctx, b.StallTimeout)
	defer stop()
	ended := await(ctx, g.all, func() { g.capture(ctx) })
	for _, c := range all {
		if c.attempt.Item.Kind != events.ItemContainer {
			continue
		}
		if err := ctx.Err(); err != nil || c.attempt.failure() != nil {
			if all := c.attempt.outcomes(ctx, ended); !isStored(all) {
				c.failed = all
			}
		}
	}
	return all
}

// Err is why the item was not captured; nil if it was.
func (c *Captured) Err() error {
	if c.failed == nil {
		return nil
	}
	if err := c.attempt.failure(); err != nil {
		return err
	}
	return c.failed[0].Err
}

// isStored reports whether an item is stored in one of its sinks.
func isStored(all []Outcome) bool {
	return slices.ContainsFunc(all, func(o Outcome) bool { return o.Result != nil })
}

// Store stores what was captured, as Run does. It is called once at most.
func (c *Captured) Store(ctx context.Context) []Outcome {
	r := c.attempt
	if c.failed != nil {
		return c.failed
	}
	if err := plannedFailure(r.Task); err != nil {
		return r.failed(err)
	}
	r.watch = &stall.Watchdog{}
	ctx, stop := r.watch.Guard(ctx, r.StallTimeout)
	defer stop()
	ended := await(ctx, []*attempt{r}, func() {
		switch {
		case r.isStored():
		case r.Item.Kind != events.ItemContainer:
			r.finish(ctx, r.alone(ctx))
		default:
			r.finish(ctx, r.snapshot(ctx))
		}
	})
	return r.outcomes(ctx, ended)
}

// Discard throws away what was captured and will not be stored. It does nothing
// after Store.
func (c *Captured) Discard() { c.attempt.handOver(c.attempt.idle(undo.Ended)) }
