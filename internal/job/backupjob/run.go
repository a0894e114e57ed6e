package backupjob

import (
	"context"
	"slices"
	"sync"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/plan"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/undo"
)

// run is one attempt at a backup request.
type run struct {
	*spec
	attempt *job.Attempt
	plan    *plan.Plan

	mu   sync.Mutex
	late []late // what is left when all else has ended
}

// Run implements [job.Spec].
func (s *spec) Run(ctx context.Context, a *job.Attempt) {
	r := &run{spec: s, attempt: a, plan: a.Plan().(*plan.Plan)}
	if s.data.Together {
		r.together(ctx)
	} else {
		r.each(ctx)
	}
	a.Wait()
	r.catchUp(ctx)
}

// thing is one thing of the plan: the places of its items, one for each sink that it goes
// to.
type thing []int

// each backs up the things of the plan that are pending, as many at a time as there are
// slots.
func (r *run) each(ctx context.Context) {
	for _, t := range r.things() {
		pending := r.pending(t)
		switch {
		case len(pending) == 0:
		case r.isStored(t): // the Engine is not read again: a point is one and the same in all sinks
			r.later(t, pending, nil)
		case r.attempt.NextSlot() != nil:
			return
		default:
			r.attempt.Go(func() { r.thing(ctx, t, pending) })
		}
	}
}

func (r *run) things() (all []thing) {
	for _, places := range r.plan.Things() {
		all = append(all, places)
	}
	return all
}

// pending returns the items of a thing that have no outcome yet.
func (r *run) pending(t thing) (pending []int) {
	for _, i := range t {
		if r.attempt.Pending(i) {
			pending = append(pending, i)
		}
	}
	return pending
}

// stored returns the items of a thing whose sinks have its point.
func (r *run) stored(t thing) (stored []int) {
	for _, i := range t {
		if r.attempt.Outcome(i).Status == events.OutcomeCompleted {
			stored = append(stored, i)
		}
	}
	return stored
}

func (r *run) isStored(t thing) bool { return len(r.stored(t)) > 0 }

// thing backs up one thing in its turn, to the sinks of these items of it.
func (r *run) thing(ctx context.Context, t thing, items []int) {
	began := time.Now()
	if items = r.start(items, began); len(items) == 0 {
		return
	}
	bounded, cancel := r.attempt.Bound(ctx)
	defer cancel()
	all := failing(len(items), func() []backup.Outcome { return r.kind.Runner.Run(bounded, r.task(t, items)) })
	r.finish(ctx, t, items, began, all)
}

// failing returns the outcomes of work on so many items, which are that they failed if it
// panics.
func failing(items int, work func() []backup.Outcome) (all []backup.Outcome) {
	err := panics.Catch(func() error { all = work(); return nil })
	if err != nil {
		return slices.Repeat([]backup.Outcome{{Err: err}}, items)
	}
	return all
}

// start begins items in the ledger, and returns those that could be.
func (r *run) start(items []int, began time.Time) (begun []int) {
	for _, i := range items {
		if err := r.attempt.Start(i); err != nil {
			r.attempt.Fail(i, began, err)
			continue
		}
		begun = append(begun, i)
	}
	return begun
}

// task returns what is to be done for these items of a thing.
func (r *run) task(t thing, items []int) backup.Task {
	item, a, source := r.plan.Items[t[0]], r.attempt, r.request.Event
	task := backup.Task{
		Host: r.kind.Host, Job: a.Job(), Attempt: a.Number(), Item: item.PlannedItem, IgnoredLabels: item.ImageHooks,
		Point: r.point(t), Tags: r.data.Tags,
		Request:  point.Request{Source: source.Source(), ID: source.ID(), CorrelationID: events.CorrelationID(source)},
		Hot:      r.data.Volumes != nil && r.data.Volumes.Hot,
		Progress: r.progress(items),
		Ledger:   r.ledger(items),
	}
	for _, i := range items {
		name := r.sink(i)
		task.Legs = append(task.Legs, backup.Leg{
			Sink:    name,
			Open:    func(ctx context.Context) (sink.Sink, error) { return r.kind.Sinks.Open(ctx, name) },
			MayHave: r.mayHave(t, i),
			Expected: func(ctx context.Context, s sink.Sink) int64 {
				return expected(ctx, s, point.Dir(r.kind.Host, item.Kind, item.Name, task.Point))
			},
		})
	}
	return task
}

// expected returns how many bytes the point in a folder will take in a sink with a quota,
// about: as many as the one before it has there by itself, as what that shares need not be
// stored again. It returns 0 where that does not matter, or is not known.
func expected(ctx context.Context, s sink.Sink, dir string) (bytes int64) {
	if _, ok := sink.As[sink.Rationed](s); !ok {
		return 0
	}
	m, err := point.Previous(ctx, s, dir)
	if err != nil || m == nil {
		return 0 // who stores the item learns of the error too
	}
	return m.OwnSize()
}

// point is the id of a thing's point.
func (r *run) point(t thing) string {
	item, source := r.plan.Items[t[0]], r.request.Event
	return events.PointID(r.attempt.Stored(), source.Source(), source.ID(), r.kind.Host, item.Kind, item.ID)
}

// sink is the name of the sink of an item.
func (r *run) sink(i int) string {
	if name := r.plan.Items[i].Sink; name != "" {
		return name
	}
	return r.options.Sink
}

// mayHave reports whether an earlier attempt may have stored the point of a thing in the
// sink of one of its items.
func (r *run) mayHave(t thing, i int) bool {
	return r.attempt.Outcome(i).Status == events.OutcomeCompleted ||
		slices.ContainsFunc(t, func(any int) bool { return r.attempt.MayHaveStaged(any, r.sink(i)) })
}

// progress tells of each of some items how far it is, which they are together.
func (r *run) progress(items []int) func(step events.Step, read, total, stored int64) {
	var each []func(step events.Step, read, total, stored int64)
	for _, i := range items {
		each = append(each, r.attempt.Progress(i))
	}
	return func(step events.Step, read, total, stored int64) {
		for _, tell := range each {
			tell(step, read, total, stored)
		}
	}
}

// ledger keeps the undo record with each of some items.
func (r *run) ledger(items []int) undo.Ledger {
	var all ledgers
	for _, i := range items {
		all = append(all, r.attempt.Ledger(i))
	}
	return all
}

// ledgers are the ledgers of the items of one thing.
type ledgers []undo.Ledger

// Begin implements [undo.Ledger].
func (l ledgers) Begin(ctx context.Context, record undo.Record) error {
	for _, one := range l {
		if err := one.Begin(ctx, record); err != nil {
			return err
		}
	}
	return nil
}

// finish tells the attempt what came of these items of a thing. What another sink of the
// thing has is copied later, and a sink that is away is left for later too: neither keeps
// what follows from being stored elsewhere.
func (r *run) finish(ctx context.Context, t thing, items []int, began time.Time, all []backup.Outcome) {
	stored := slices.ContainsFunc(all, func(o backup.Outcome) bool { return o.Result != nil })
	for n, i := range items {
		switch o := all[n]; {
		case !r.attempt.Pending(i):
		case o.Result != nil:
			r.complete(i, began, o.Result)
		case stored, len(t) > 1 && isSinkAway(o.Err):
			r.later(t, []int{i}, o.Err)
		default:
			r.attempt.Fail(i, began, r.explain(ctx, r.plan.Items[i], o.Err))
		}
	}
}

// complete tells the attempt that an item is stored.
func (r *run) complete(i int, began time.Time, result *backup.Result) {
	m := result.Manifest
	o := events.ItemOutcome{
		Point: m.ID, NotRunningMillis: m.NotRunningMillis, NotIncluded: m.NotIncluded, Warnings: events.WarningCodes(result.Warnings),
		Unchanged: result.Unchanged,
	}
	for _, artifact := range m.Artifacts {
		o.Size += artifact.Size
		if artifact.MediaType != point.MediaTypePack { // what volumes have is counted with them
			o.UncompressedSize += artifact.UncompressedSize
		}
		if point.IsVolume(&artifact) {
			o.Volumes++
		}
	}
	img := point.Image{} // none
	if m.Image != nil {
		img = *m.Image
	}
	r.attempt.Complete(i, began, o, events.BackupItemCompleted{
		Job: r.attempt.Job(), Host: r.kind.Host, Item: r.plan.Items[i].Item, Point: m.ID, Sink: r.sink(i), Path: result.Dir,
		ImageID: img.ID, Artifacts: m.Artifacts, NotIncluded: m.NotIncluded,
		SnapshotTime: m.SnapshotTime, Quiesce: m.Quiesce, NotRunningMillis: m.NotRunningMillis,
		Transport: img.Transport, TransportReason: img.TransportReason, Unchanged: result.Unchanged,
		Hooks: result.Hooks, DurationsMillis: result.Durations, Warnings: result.Warnings,
	})
}
