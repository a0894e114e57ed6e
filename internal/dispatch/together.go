package dispatch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/plan"
)

// together captures the containers of the plan at one point in time, in one slot,
// and then stores them and the images, as many at a time as there are slots.
func (r *round) together(ctx context.Context, p *planned) {
	if len(r.claim.Outcomes()) == len(p.Plan.Items) || r.slot.next(r.starting) != nil {
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
	plan     *planned
	began    time.Time
	order    []int // places in the plan, in the order in which containers are stopped
	captured []*backup.Captured
}

// capture captures the set. It reports false if that is to be tried again later,
// or all of its items have ended.
func (s *set) capture(ctx context.Context) bool {
	if err := s.setOrder(ctx); err != nil {
		if ctx.Err() == nil {
			s.putOff(err)
		}
		return false // nothing is begun of a job that was told to end
	}
	var tasks []backup.Task
	for n, i := range s.order {
		t, err := s.task(ctx, i, s.plan.Plan.Items[i])
		if err != nil {
			s.end(n, err)
			return false
		}
		tasks = append(tasks, t)
	}
	s.captured = s.Backuper.RunTogether(ctx, tasks)
	for _, c := range s.captured {
		if err := c.Err(); errors.Is(err, backup.ErrAway) && s.mayWait() {
			s.putOff(err)
			return false
		}
	}
	return true
}

// setOrder orders the items of the set. One that failed in an earlier attempt is
// none of it any more; one that was stored is, since its time has passed.
func (s *set) setOrder(ctx context.Context) error {
	containers, err := s.Backuper.Engine.Containers(ctx)
	if err != nil {
		return fmt.Errorf("%w: list the containers: %w", backup.ErrAway, err)
	}
	labels := map[string]map[string]string{}
	for _, c := range containers {
		labels[c.ID] = c.Labels
	}
	var members []int
	var all []map[string]string
	for i, item := range s.plan.Plan.Items {
		if !s.known(i) || s.outcomes[i].Status == events.ItemCompleted {
			members = append(members, i)
			all = append(all, labels[item.ID])
		}
	}
	for _, n := range plan.StopOrder(all) {
		s.order = append(s.order, members[n])
	}
	return nil
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
	o, err := s.itemFailed(i, s.plan.Plan.Items[i], cause, s.began)
	s.record(i, o, err)
	for _, other := range s.order {
		if err != nil || other == i || s.known(other) {
			continue
		}
		failure := backup.NotTogether(s.plan.Plan.Items[other].Item, cause)
		o, err = s.itemFailed(other, s.plan.Plan.Items[other], failure, s.began)
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
		return s.itemFailed(i, s.plan.Plan.Items[i], err, s.began)
	}
	return s.itemStored(i, s.plan.Plan.Items[i], result, s.began)
}
