package dispatch

import (
	"context"
	"errors"
	"slices"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/plan"
)

// together captures the containers of the plan at one point in time, in one slot,
// and then stores them and the images, as many at a time as there are slots.
func (r *round) together(ctx context.Context, p *plan.Plan) {
	if len(r.claim.Outcomes()) == len(p.Items) || r.slot.next(r.starting) != nil {
		return
	}
	s := &set{round: r, plan: p, began: time.Now()}
	free := r.Slots.Release // of the slot that the set was captured in
	if s.capture(ctx) {
		for n, i := range s.order {
			if !r.known(i) && free == nil && r.slot.next(r.starting) == nil {
				free = r.Slots.Release
			}
			if r.known(i) || free == nil {
				s.captured[n].Discard()
				continue
			}
			free = nil
			r.running.Go(func() {
				defer r.Slots.Release()
				o, err := s.store(ctx, n)
				r.record(i, o, err)
			})
		}
	}
	if free != nil {
		free()
	}
}

// set are the items of a job whose containers are captured at one point in time.
type set struct {
	*round
	plan     *plan.Plan
	began    time.Time
	order    []int // places in the plan, in the order in which containers are stopped
	captured []*backup.Captured
}

// capture captures the set. It reports false if that is to be tried again later,
// or all of its items have ended.
func (s *set) capture(ctx context.Context) bool {
	s.setOrder()
	s.dropGone(ctx)
	var tasks []backup.Task
	for n, i := range s.order {
		t, err := s.member(ctx, i)
		if errors.Is(err, errNotBegun) {
			s.putOff(err)
			return false
		}
		if err != nil {
			s.end(n, err)
			return false
		}
		tasks = append(tasks, t)
	}
	s.captured = s.Runner.Capture(ctx, tasks)
	for _, c := range s.captured {
		if err := c.Err(); errors.Is(err, backup.ErrAway) && s.mayWait() {
			s.putOff(err)
			return false
		}
	}
	return true
}

// member begins an item of the set. Its errors are those of startItem and task.
func (s *set) member(ctx context.Context, i int) (backup.Task, error) {
	item := s.plan.Items[i]
	if !s.known(i) {
		if err := s.startItem(i, item); err != nil {
			return backup.Task{}, err
		}
	}
	return s.task(ctx, i, item)
}

// setOrder orders the items of the set: the containers as they are stopped, then
// the images. An item that failed in an earlier attempt no longer belongs to the
// set; one that was stored does, as its point in time has passed.
func (s *set) setOrder() {
	order := slices.Clone(s.plan.StopOrder)
	for i, item := range s.plan.Items {
		if item.Kind != events.ItemContainer {
			order = append(order, i)
		}
	}
	s.order = slices.DeleteFunc(order, func(i int) bool {
		return s.known(i) && s.outcomes[i].Status != events.OutcomeCompleted
	})
}

// dropGone ends the items that are gone without anybody's fault: they do not keep the
// others from being captured.
func (s *set) dropGone(ctx context.Context) {
	all, err := s.Runner.Engine.Containers(ctx)
	if err != nil {
		return // what captures them learns it too
	}
	s.order = slices.DeleteFunc(s.order, func(i int) bool {
		item := s.plan.Items[i]
		if s.known(i) || item.Kind != events.ItemContainer || item.Code != "" {
			return false
		}
		now := findContainer(item, all)
		if !now.gone(item) {
			return false
		}
		o, err := s.itemFailed(i, item, now.judge(item, nil), s.began)
		s.record(i, o, err)
		return true
	})
}

// putOff has the job tried again later.
func (s *set) putOff(err error) {
	for _, c := range s.captured {
		c.Discard()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = errors.Join(s.failure, err)
	s.abort()
}

// end ends the items of a set of which the n-th could not be begun.
func (s *set) end(n int, cause error) {
	i := s.order[n]
	o, err := s.itemFailed(i, s.plan.Items[i], cause, s.began)
	s.record(i, o, err)
	for _, other := range s.order {
		if err != nil || other == i || s.known(other) {
			continue
		}
		failure := backup.NotTogether(s.plan.Items[other].Item, cause)
		o, err = s.itemFailed(other, s.plan.Items[other], failure, s.began)
		s.record(other, o, err)
	}
}

// store stores the n-th item of the set.
func (s *set) store(ctx context.Context, n int) (events.ItemOutcome, error) {
	ctx, cancel := s.itemBounded(ctx)
	defer cancel()
	i := s.order[n]
	result, err := s.captured[n].Store(ctx)
	if err != nil {
		return s.itemFailed(i, s.plan.Items[i], err, s.began)
	}
	return s.itemStored(i, s.plan.Items[i], result, s.began)
}
