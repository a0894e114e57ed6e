package backupjob

import (
	"context"
	"errors"
	"slices"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/job"
)

// together captures the containers of the plan at one point in time, in one slot,
// and then stores them and the images, as many at a time as there are slots.
func (r *run) together(ctx context.Context) {
	a := r.attempt
	g := &group{run: r, began: time.Now()}
	if !g.toCapture() || a.NextSlot() != nil {
		return
	}
	held := true // the slot that the group was captured in
	if g.capture(ctx) {
		for n, t := range g.order {
			pending := len(g.pending(t)) > 0
			if pending && !held {
				held = a.NextSlot() == nil
			}
			if !pending || !held {
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
	order    []thing // in the order in which containers are stopped
	items    [][]int // of these, those that are captured
	captured []*backup.Captured
}

// toCapture reports whether something is to be captured. Where each thing has its point in
// one of its sinks, the others get it later.
func (g *group) toCapture() bool {
	pending, stored := false, true
	for _, t := range g.things() {
		pending = pending || len(g.pending(t)) > 0
		stored = stored && (len(g.pending(t)) == 0 || g.isStored(t))
	}
	if pending && stored {
		for _, t := range g.things() {
			g.later(t, g.pending(t), nil)
		}
	}
	return pending && !stored
}

// capture captures the group. It reports false if that is to be tried again later, or
// all of its items have ended.
func (g *group) capture(ctx context.Context) bool {
	g.setOrder()
	g.dropGone(ctx)
	var tasks []backup.Task
	for n, t := range g.order {
		task, err := g.member(t)
		if errors.Is(err, job.ErrNotBegun) {
			g.putOff(err)
			return false
		}
		if err != nil {
			g.fail(ctx, n, err)
			return false
		}
		tasks = append(tasks, task)
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

// member begins the items of a thing of the group. Those that are stored are among them:
// a sink that has the point shows that its time has passed. Its errors are those of Start.
func (g *group) member(t thing) (backup.Task, error) {
	items := slices.DeleteFunc(slices.Clone(t), func(i int) bool { return g.hasFailed(i) })
	g.items = append(g.items, items)
	for _, i := range items {
		if !g.attempt.Pending(i) {
			continue
		}
		if err := g.attempt.Start(i); err != nil {
			return backup.Task{}, err
		}
	}
	return g.task(t, items), nil
}

// hasFailed reports whether an item has ended without being stored.
func (g *group) hasFailed(i int) bool {
	return !g.attempt.Pending(i) && g.attempt.Outcome(i).Status != events.OutcomeCompleted
}

// setOrder orders the things of the group: the containers as they are stopped, then
// the images. One that failed in an earlier attempt no longer belongs to the
// group; one that was stored does, as its point in time has passed.
func (g *group) setOrder() {
	byPlace := map[int]thing{}
	var others []thing
	for _, t := range g.things() {
		byPlace[t[0]] = t
		if g.plan.Items[t[0]].Kind != events.ItemContainer {
			others = append(others, t)
		}
	}
	var order []thing
	for _, i := range g.plan.StopOrder {
		order = append(order, byPlace[i])
	}
	g.order = slices.DeleteFunc(append(order, others...), func(t thing) bool { return !slices.ContainsFunc(t, g.belongs) })
}

// belongs reports whether an item belongs to the group.
func (g *group) belongs(i int) bool { return !g.hasFailed(i) }

// dropGone ends the items that are gone without anybody's fault: they do not keep the
// others from being captured.
func (g *group) dropGone(ctx context.Context) {
	all, err := g.kind.Runner.Engine.Containers(ctx)
	if err != nil {
		return // what captures them learns it too
	}
	g.order = slices.DeleteFunc(g.order, func(t thing) bool {
		item := g.plan.Items[t[0]]
		if g.isStored(t) || item.Kind != events.ItemContainer || item.Code != "" {
			return false
		}
		now := findContainer(item, all)
		if !now.gone(item) {
			return false
		}
		for _, i := range g.pending(t) {
			g.attempt.Fail(i, g.began, now.judge(item, nil))
		}
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
	for _, i := range g.pending(g.order[n]) {
		if !g.attempt.Fail(i, g.began, why) {
			return // they are tried again
		}
	}
	for m, t := range g.order {
		if m == n {
			continue
		}
		for _, i := range g.pending(t) {
			g.attempt.Fail(i, g.began, backup.NotTogether(ctx, g.plan.Items[i].Item, why))
		}
	}
}

// store stores the n-th item of the group.
func (g *group) store(ctx context.Context, n int) {
	bounded, cancel := g.attempt.Bound(ctx)
	defer cancel()
	all := failing(len(g.items[n]), func() []backup.Outcome { return g.captured[n].Store(bounded) })
	g.finish(ctx, g.order[n], g.items[n], g.began, all)
}
