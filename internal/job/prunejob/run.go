package prunejob

import (
	"context"
	"errors"
	"strings"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/inuse"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/prune"
	"holdfast.io/holdfast/internal/retention"
	"holdfast.io/holdfast/internal/sink"
)

// run is one attempt at a prune request.
type run struct {
	*spec
	attempt *job.Attempt
	plan    *plan
	remover *prune.Remover
	// now is what would be decided of the points by now, by their folders.
	now map[string]retention.Decision
}

// Run implements [job.Spec]. What was planned is decided once more: since then, points
// may have been protected, verified, taken back or stored.
func (s *spec) Run(ctx context.Context, a *job.Attempt) {
	r := &run{spec: s, attempt: a, plan: a.Plan().(*plan)}
	err := r.begin(ctx)
	a.Each(func(i int) {
		began := time.Now()
		if err := a.Start(i); err != nil {
			a.Fail(i, began, err)
			return
		}
		if err != nil {
			a.Fail(i, began, failed(ctx, events.StepInspect, err))
			return
		}
		r.item(ctx, i, began)
	})
	if a.Wait(); err == nil {
		r.collect(ctx)
	}
}

// minBlobGrace is for how long a blob is garbage, at least, before it is removed: longer
// than what stores points is expected to take, so that these do not have to begin anew.
const minBlobGrace = 24 * time.Hour

// collect removes blobs that no point needs any more. What it cannot do now a later prune
// does.
func (r *run) collect(ctx context.Context) {
	grace := max(r.grace, minBlobGrace)
	c, err := r.remover.Collect(ctx, grace)
	if errors.Is(err, inuse.ErrTaken) {
		r.attempt.Log.Info("another host removes the layers that no point needs any more")
		return
	}
	if err != nil {
		r.attempt.Log.Warn("layers that no point needs any more stay in the sink; a later prune removes them", zap.Error(err))
		return
	}
	if c.Blobs+c.Marked+c.Locked > 0 {
		r.attempt.Log.Info("layers that no point needs", zap.Int("removed", c.Blobs), zap.Int64("bytes", c.Bytes),
			zap.Int("waiting", c.Marked), zap.Int("locked", c.Locked), zap.Duration("grace", grace))
	}
}

func (r *run) begin(ctx context.Context) error {
	from, err := r.kind.Sinks.Open(ctx, r.options.Sink)
	if err != nil {
		return err
	}
	d, err := r.decide(ctx, from, r.plan.Now)
	if err != nil {
		return err
	}
	r.now = d.byFolder()
	if permitter, ok := sink.As[sink.Permitter](from); ok { // before anything is hidden that cannot go
		if err := permitter.MayRemove(ctx); err != nil {
			return err
		}
	}
	r.remover = &prune.Remover{Sink: from, Uses: r.kind.Uses, Host: r.kind.Host, Job: r.attempt.Job(), Now: r.plan.Now, Grace: r.grace}
	return r.remover.TakeUp(ctx, r.selection.hosts)
}

// item removes one point.
func (r *run) item(ctx context.Context, i int, began time.Time) {
	it := r.plan.Items[i]
	var goneAfter time.Time
	err := r.changed(it)
	if err == nil {
		err = panics.Catch(func() (err error) {
			ctx, cancel := r.attempt.Bound(ctx)
			defer cancel()
			goneAfter, err = r.remove(ctx, it)
			return err
		})
	}
	if err != nil {
		r.attempt.Fail(i, began, failed(ctx, stepOf(it), err))
		return
	}
	r.attempt.Complete(i, began, events.ItemOutcome{Size: it.Bytes, GoneAfter: goneAfter}, events.PruneItemCompleted{
		Job: r.attempt.Job(), Host: r.kind.Host, Item: it.Item, Point: it.Point, PointHost: it.PointHost, Sink: r.options.Sink, Path: it.Dir,
		Reason: it.Reason, Bytes: it.Bytes, GoneAfter: goneAfter,
	})
}

func (r *run) remove(ctx context.Context, it item) (goneAfter time.Time, err error) {
	p := prune.Point{ID: it.Point, Dir: it.Dir, Reason: it.Reason}
	if it.Action == retention.Erase {
		return time.Time{}, r.remover.Erase(ctx, p)
	}
	return r.remover.Remove(ctx, p)
}

// changed says why an item must stay after all, by what is decided now. A point that is
// not there any more, or that an earlier attempt has hidden, is left to what removes it.
func (r *run) changed(it item) error {
	if it.Code != "" {
		return failure.New(events.StepPlan, it.Code, "%s", it.Message)
	}
	now, there := r.now[it.Dir]
	switch {
	case !there, now.Action == retention.Remove, now.Action == retention.Erase,
		now.Action == retention.Wait && it.Action == retention.Remove:
		return nil
	}
	return &prune.KeptError{Why: strings.Join(now.Reasons, "; ")}
}

// stepOf is what an item fails at.
func stepOf(it item) events.Step {
	if it.Action == retention.Erase {
		return events.StepRemove
	}
	return events.StepHide
}

// failed decides what an error means for an item.
func failed(ctx context.Context, at events.Step, err error) error {
	_, kept := errors.AsType[*prune.KeptError](err)
	switch {
	case kept:
		return &failure.Error{Step: at, Code: events.CodeKept, Err: err}
	case errors.Is(err, context.DeadlineExceeded): // the bound of this item
		return &failure.Error{Step: at, Code: events.CodeTimeout, Retryable: true, Err: err}
	}
	return failure.Sink.Of(ctx, at, failure.FromSink(err))
}
