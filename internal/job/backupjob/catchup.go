package backupjob

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/copies"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/inuse"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/point"
)

// late is an item whose sink did not get the point while it was captured.
type late struct {
	thing thing
	item  int
	why   error // nil if an earlier attempt knows
}

// later leaves items of a thing until all else of the job has ended.
func (r *run) later(t thing, items []int, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range items {
		r.late = append(r.late, late{t, i, why})
	}
}

// catchUp copies points to the sinks that did not get them while they were captured, from
// one that has them. A sink that is away comes last: it puts off nothing but itself.
func (r *run) catchUp(ctx context.Context) {
	all := r.takeLate()
	for len(all) > 0 && r.attempt.NextSlot() == nil {
		n := 1
		for n < len(all) && all[n].thing[0] == all[0].thing[0] {
			n++
		}
		same := all[:n] // of one thing, of which one is copied at a time
		all = all[n:]
		r.attempt.Go(func() {
			for _, l := range same {
				r.copyLate(ctx, l)
			}
		})
	}
	r.attempt.Wait()
	for _, l := range r.takeLate() {
		r.attempt.Fail(l.item, time.Now(), l.why)
	}
}

// takeLate returns what is late, in the order of the plan, and forgets it.
func (r *run) takeLate() []late {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.late
	r.late = nil
	slices.SortFunc(all, func(a, b late) int { return cmp.Compare(a.item, b.item) })
	return all
}

// copyLate ends an item by a copy of its point, or leaves it for the very end if that
// cannot be reached.
func (r *run) copyLate(ctx context.Context, l late) {
	stored := r.stored(l.thing)
	if len(stored) == 0 {
		r.later(l.thing, []int{l.item}, l.why)
		return
	}
	began := time.Now()
	if len(r.start([]int{l.item}, began)) == 0 {
		return
	}
	var result *backup.Result
	err := panics.Catch(func() (err error) {
		ctx, cancel := r.attempt.Bound(ctx)
		defer cancel()
		result, err = r.copyFrom(ctx, l, stored)
		return err
	})
	switch err = r.remedied(l, stored[0], err); {
	case err == nil:
		r.complete(l.item, began, result)
	case isSinkAway(err):
		r.later(l.thing, []int{l.item}, err)
	default:
		r.attempt.Fail(l.item, began, err)
	}
}

// copyFrom copies the point of an item from the sink of one of these, which have it.
func (r *run) copyFrom(ctx context.Context, l late, stored []int) (result *backup.Result, err error) {
	to, err := r.open(ctx, l.item)
	if err != nil {
		return nil, err
	}
	var sources []copies.Sink
	for _, i := range stored {
		from, openErr := r.open(ctx, i)
		if openErr != nil {
			err = openErr
			continue
		}
		sources = append(sources, from)
	}
	slices.SortStableFunc(sources, func(a, b copies.Sink) int { return copies.Compare(to, a, b) })
	for _, from := range sources {
		if result, err = r.copy(ctx, l, from, to); err == nil {
			return result, nil
		}
	}
	return nil, err
}

// open opens the sink of an item.
func (r *run) open(ctx context.Context, i int) (copies.Sink, error) {
	name := r.sink(i)
	opened, err := r.kind.Sinks.Open(ctx, name)
	if err != nil {
		return copies.Sink{}, copies.SinkFailed(ctx, err)
	}
	return copies.Sink{Name: name, Sink: opened}, nil
}

// copy copies the point of an item from one sink to its own, and keeps others from
// removing it meanwhile.
func (r *run) copy(ctx context.Context, l late, from, to copies.Sink) (*backup.Result, error) {
	item, a := r.plan.Items[l.item].Item, r.attempt
	id := r.point(l.thing)
	dir := point.Dir(r.kind.Host, item.Kind, item.Name, id)
	for _, of := range []copies.Sink{from, to} {
		release, err := r.kind.Uses.Register(ctx, inuse.Point{Sink: of.ID(), ID: id}, a.Job())
		if err != nil {
			return nil, failure.Unregistered(ctx, err)
		}
		defer release()
	}
	copied, err := r.kind.Copies.Run(ctx, copies.Task{Job: a.Job(), Attempt: a.Number(), From: from, To: to,
		Item:   copies.Item{PlannedItem: events.PlannedItem{Item: item, Point: id}, Dir: dir, Named: true},
		Ledger: a.Ledger(l.item), Progress: a.Progress(l.item)})
	if err != nil {
		return nil, err
	}
	m, err := r.same(ctx, dir, copied.Manifest, from, to)
	if err != nil {
		return nil, err
	}
	return &backup.Result{Manifest: m, Dir: dir, Warnings: events.Warn(append(m.PublicWarnings(), copied.Warnings...),
		events.WarningCaughtUp, "point %s was copied to sink %s from sink %s: %s", id, to.Name, from.Name, l.reason()),
		Durations: events.Durations{Save: copied.Durations.Copy, Publish: copied.Durations.Publish}}, nil
}

// reason says why the sink did not get the point while it was captured.
func (l late) reason() string {
	if l.why == nil {
		return "an earlier attempt could not store it there"
	}
	return l.why.Error()
}

// same returns the manifest of a copy with what is the same in both sinks. A point that
// was there before, and was captured at another time, is none of this job.
func (r *run) same(ctx context.Context, dir string, copied *point.Manifest, from, to copies.Sink) (*point.Manifest, error) {
	m, err := point.ReadUnsealed(ctx, from, dir)
	if err != nil {
		return nil, copies.SinkFailed(ctx, err)
	}
	if m.Attempt != copied.Attempt || !m.SnapshotTime.Equal(copied.SnapshotTime) {
		return nil, failure.New(events.StepPublish, events.CodeUnsuitable,
			"sink %s has a point %s already, which another attempt has captured at %s; that in sink %s was captured at %s",
			to.Name, m.ID, copied.SnapshotTime, from.Name, m.SnapshotTime)
	}
	m.Artifacts = copied.Artifacts
	return m, nil
}

// remedied says of an item that could not be copied how that is done by hand.
func (r *run) remedied(l late, from int, err error) error {
	why, ok := errors.AsType[*failure.Error](err)
	if !ok {
		return err
	}
	e := *why
	e.Err = fmt.Errorf("%w; the point is stored in sink %s: copy it with 'holdfast copy %s --from %s --to %s'",
		why.Err, r.sink(from), r.point(l.thing), r.sink(from), r.sink(l.item))
	return &e
}

// isSinkAway reports whether an item failed because a sink is away, so that it may be back
// later.
func isSinkAway(err error) bool {
	why, ok := errors.AsType[*failure.Error](err)
	return ok && why.Code == events.CodeSinkUnavailable
}
