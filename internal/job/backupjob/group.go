package backupjob

import (
	"context"
	"errors"
	"slices"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/panics"
)

// together captures the containers of the plan at one point in time, in one slot,
// and then stores them and the images, as many at a time as there are slots.
func (r *run) together(ctx context.Context) {
	a := r.attempt
	g := &group{run: r, began: time.Now()}
	if !g.anyPending() || a.NextSlot() != nil {
		return
	}
	held := true // the slot that the group was captured in
	if g.capture(ctx) {
		for n, i := range g.order {
			if a.Pending(i) && !held {
				held = a.NextSlot() == nil
			}
			if !a.Pending(i) || !held {
				g.captured[n].Discard()
				continue
			}
			held = false
			a.Go(func() { g.store(ctx, n) })
		}
	}
	if held {
		a.ReleaseSlot()
	}
}

// group are the items of a job whose containers are captured at one point in time.
type group struct {
	*run
	began    time.Time
	order    []int // places in the plan, in the order in which containers are stopped
	captured []*backup.Captured
}

func (g *group) anyPending() bool {
	for i := range g.plan.Items {
		if g.attempt.Pending(i) {
			return true
		}
	}
	return false
}

// capture captures the group. It reports false if that is to be tried again later, or
// all of its items have ended.
func (g *group) capture(ctx context.Context) bool {
	g.setOrder()
	g.dropGone(ctx)
	var tasks []backup.Task
	for n, i := range g.order {
		t, err := g.member(ctx, i)
		if errors.Is(err, job.ErrNotBegun) {
			g.putOff(err)
			return false
		}
		if err != nil {
			g.fail(ctx, n, err)
			return false
		}
		tasks = append(tasks, t)
	}
	g.captured = g.kind.Runner.Capture(ctx, tasks)
	for _, c := range g.captured {
		if err := c.Err(); errors.Is(err, job.ErrAway) && g.attempt.MayRetry() {
			g.putOff(err)
			return false
		}
	}
	return true
}

// member begins an item of the group. Its errors are those of Start and task.
func (g *group) member(ctx context.Context, i int) (backup.Task, error) {
	if g.attempt.Pending(i) {
		if err := g.attempt.Start(i); err != nil {
			return backup.Task{}, err
		}
	}
	return g.task(ctx, i)
}

// setOrder orders the items of the group: the containers as they are stopped, then
// the images. An item that failed in an earlier attempt no longer belongs to the
// group; one that was stored does, as its point in time has passed.
func (g *group) setOrder() {
	order := slices.Clone(g.plan.StopOrder)
	for i, item := range g.plan.Items {
		if item.Kind != events.ItemContainer {
			order = append(order, i)
		}
	}
	g.order = slices.DeleteFunc(order, func(i int) bool {
		return !g.attempt.Pending(i) && g.attempt.Outcome(i).Status != events.OutcomeCompleted
	})
}

// dropGone ends the items that are gone without anybody's fault: they do not keep the
// others from being captured.
func (g *group) dropGone(ctx context.Context) {
	all, err := g.kind.Runner.Engine.Containers(ctx)
	if err != nil {
		return // what captures them learns it too
	}
	g.order = slices.DeleteFunc(g.order, func(i int) bool {
		item := g.plan.Items[i]
		if !g.attempt.Pending(i) || item.Kind != events.ItemContainer || item.Code != "" {
			return false
		}
		now := findContainer(item, all)
		if !now.gone(item) {
			return false
		}
		g.attempt.Fail(i, g.began, now.judge(item, nil))
		return true
	})
}

// putOff has the job tried again later.
func (g *group) putOff(err error) {
	for _, c := range g.captured {
		c.Discard()
	}
	g.attempt.PutOff(err)
}

// fail ends the items of a group of which the n-th could not be begun.
func (g *group) fail(ctx context.Context, n int, why error) {
	if !g.finish(ctx, g.order[n], g.began, nil, why) {
		return // they are tried again
	}
	for _, i := range g.order {
		if i != g.order[n] && g.attempt.Pending(i) {
			g.finish(ctx, i, g.began, nil, backup.NotTogether(ctx, g.plan.Items[i].Item, why))
		}
	}
}

// store stores the n-th item of the group.
func (g *group) store(ctx context.Context, n int) {
	bounded, cancel := g.attempt.Bound(ctx)
	defer cancel()
	var result *backup.Result
	err := panics.Catch(func() (err error) {
		result, err = g.captured[n].Store(bounded)
		return err
	})
	g.finish(ctx, g.order[n], g.began, result, err)
}
