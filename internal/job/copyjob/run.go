package copyjob

import (
	"context"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/copies"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/inuse"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/panics"
)

// run is one attempt at a copy request.
type run struct {
	*spec
	attempt *job.Attempt
	plan    *copies.Plan
}

// Run implements [job.Spec].
func (s *spec) Run(ctx context.Context, a *job.Attempt) {
	r := &run{spec: s, attempt: a, plan: a.Plan().(*copies.Plan)}
	a.Each(func(i int) { r.item(ctx, i) })
}

// item copies one point in its turn.
func (r *run) item(ctx context.Context, i int) {
	began := time.Now()
	if err := r.attempt.Start(i); err != nil {
		r.attempt.Fail(i, began, err)
		return
	}
	var result *copies.Result
	err := panics.Catch(func() (err error) {
		ctx, cancel := r.attempt.Bound(ctx)
		defer cancel()
		result, err = r.copy(ctx, i)
		return err
	})
	if err != nil {
		r.attempt.Fail(i, began, err)
		return
	}
	item, artifacts := r.plan.Items[i], result.Manifest.Artifacts
	o := events.ItemOutcome{Volumes: len(result.Manifest.Volumes()), Warnings: events.WarningCodes(result.Warnings)}
	for _, a := range artifacts {
		o.Size += a.Size
		o.UncompressedSize += a.UncompressedSize
	}
	r.attempt.Complete(i, began, o, events.CopyItemCompleted{
		Job: r.attempt.Job(), Host: r.kind.Host, Item: item.Item, Point: item.Point, PointHost: item.PointHost,
		From: r.from, Sink: r.options.Sink, Path: item.Dir, AlreadyThere: result.AlreadyThere, Protected: result.Protected,
		Bytes: o.Size, Artifacts: artifacts, DurationsMillis: result.Durations, Warnings: result.Warnings,
	})
}

// copy copies a point, and keeps others from removing it meanwhile: where it is read, and
// where it may already be to be seen, but not yet be protected.
func (r *run) copy(ctx context.Context, i int) (*copies.Result, error) {
	item, a := r.plan.Items[i], r.attempt
	t := copies.Task{Job: a.Job(), Attempt: a.Number(), Item: item, Ledger: a.Ledger(i), Progress: a.Progress(i)}
	if item.Code != "" {
		return r.kind.Runner.Run(ctx, t)
	}
	var err error
	if t.From, t.To, err = r.open(ctx); err != nil {
		return nil, copies.SinkFailed(ctx, err)
	}
	for _, of := range []copies.Sink{t.From, t.To} {
		release, err := r.kind.Uses.Register(ctx, inuse.Point{Sink: of.ID(), ID: item.Point}, a.Job())
		if err != nil {
			return nil, failure.Unregistered(ctx, err)
		}
		defer release()
	}
	return r.kind.Runner.Run(ctx, t)
}
