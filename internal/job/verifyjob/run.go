package verifyjob

import (
	"context"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/inuse"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/verify"
)

// run is one attempt at a verify request.
type run struct {
	*spec
	attempt *job.Attempt
	plan    *verify.Plan
	users   verify.Users
}

// Run implements [job.Spec].
func (s *spec) Run(ctx context.Context, a *job.Attempt) {
	r := &run{spec: s, attempt: a, plan: a.Plan().(*verify.Plan)}
	a.Each(func(i int) { r.item(ctx, i) })
}

// item verifies one point in its turn.
func (r *run) item(ctx context.Context, i int) {
	began := time.Now()
	if err := r.attempt.Start(i); err != nil {
		r.attempt.Fail(i, began, err)
		return
	}
	var result *verify.Result
	err := panics.Catch(func() (err error) {
		ctx, cancel := r.attempt.Bound(ctx)
		defer cancel()
		result, err = r.verify(ctx, i)
		return err
	})
	if err != nil {
		r.attempt.Fail(i, began, err)
		return
	}
	item := r.plan.Items[i]
	o := events.ItemOutcome{Size: result.Checked.Bytes, Warnings: events.WarningCodes(result.Warnings)}
	r.attempt.Complete(i, began, o, events.VerifyItemCompleted{
		Job: r.attempt.Job(), Host: r.kind.Host, Item: item.Item, Point: item.Point, Sink: r.options.Sink, Path: item.Dir,
		Level: r.level, Checked: result.Checked, Previous: result.Previous,
		DurationsMillis: result.Durations, Warnings: result.Warnings,
	})
}

// verify verifies a point, and keeps others from removing it meanwhile.
func (r *run) verify(ctx context.Context, i int) (*verify.Result, error) {
	item, a := r.plan.Items[i], r.attempt
	t := verify.Task{
		Host: r.kind.Host, Job: a.Job(), Attempt: a.Number(), Item: item, SinkName: r.options.Sink, Level: r.level,
		Users: &r.users, Ledger: a.Ledger(i), Progress: a.Progress(i),
	}
	from, err := r.kind.Sinks.Open(ctx, r.options.Sink)
	if err != nil {
		return nil, verify.SinkFailed(ctx, err)
	}
	release, err := r.kind.Uses.Register(ctx, inuse.Point{Sink: from.ID(), ID: item.Point}, a.Job())
	if err != nil {
		return nil, failure.Unregistered(ctx, err)
	}
	defer release()
	t.Sink = from
	return r.kind.Runner.Run(ctx, t)
}
