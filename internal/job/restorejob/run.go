package restorejob

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/inuse"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/restore"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/undo"
)

// run is one attempt at a restore request.
type run struct {
	*spec
	attempt *job.Attempt
	plan    *restore.Plan
}

// Run implements [job.Spec]. The items are restored one after the other: one may need
// what is before it.
func (s *spec) Run(ctx context.Context, a *job.Attempt) {
	r := &run{spec: s, attempt: a, plan: a.Plan().(*restore.Plan)}
	for i := range r.plan.Items {
		if !a.Pending(i) {
			continue
		}
		if a.NextSlot() != nil {
			return
		}
		r.item(ctx, i)
		a.ReleaseSlot()
	}
}

// item restores one point in its turn.
func (r *run) item(ctx context.Context, i int) {
	began, a := time.Now(), r.attempt
	if done := a.Done(i); done != nil { // an earlier attempt was here, and died before it said so
		var result events.RestoreItemCompleted
		if err := json.Unmarshal(done, &result); err != nil {
			a.Fail(i, began, fmt.Errorf("read what an earlier attempt has done: %w", err))
			return
		}
		r.complete(i, began, &result)
		return
	}
	if err := a.Start(i); err != nil {
		a.Fail(i, began, err)
		return
	}
	result, err := r.restore(ctx, i)
	switch {
	case errors.Is(err, undo.ErrUncertain):
		a.PutOff(err)
	case err != nil:
		a.Fail(i, began, err)
	default:
		r.complete(i, began, result)
	}
}

func (r *run) restore(ctx context.Context, i int) (*events.RestoreItemCompleted, error) {
	item, a := r.plan.Items[i], r.attempt
	t := restore.Task{
		Job: a.Job(), Attempt: a.Number(), Item: item, SinkName: r.options.Sink, Gate: r.gate,
		Ledger: a.Ledger(i), Progress: a.Progress(i), Host: r.kind.Host,
	}
	t.Keep = func(ctx context.Context, volume string, l undo.Ledger) (restore.Kept, error) {
		return r.keep(ctx, &t, volume, l)
	}
	if item.Code != "" {
		return r.kind.Runner.Run(ctx, t)
	}
	ctx, cancel := a.Bound(ctx)
	defer cancel()
	var err error
	if t.Sink, err = r.kind.Sinks.Open(ctx, r.options.Sink); err != nil {
		return nil, restore.SinkFailed(ctx, err)
	}
	release, err := r.kind.Uses.Register(ctx, inuse.Point{Sink: t.Sink.ID(), ID: item.Point}, a.Job())
	if err != nil {
		return nil, failure.Unregistered(ctx, err)
	}
	defer release()
	if marks := point.ReadMarks(ctx, t.Sink, item.Dir, sink.RemovedName); marks.IsRemoved() {
		return nil, &failure.Error{Step: events.StepRead, Code: events.CodePointNotFound,
			Err: fmt.Errorf("point %s was pruned after the plan was made; holdfast unprune takes it back", item.Point)}
	}
	return r.kind.Runner.Run(ctx, t)
}

// safetyTag is on the point of what a volume held before a restore replaced that. Its
// value is the job.
const safetyTag = "holdfast.safety"

// keep stores what a volume holds as a point. Each attempt at the item stores one of its
// own: what an earlier one has stored may not be what the volume holds now.
func (r *run) keep(ctx context.Context, t *restore.Task, volume string, l undo.Ledger) (restore.Kept, error) {
	v, err := r.kind.Runner.Engine.InspectVolume(ctx, volume)
	if err != nil {
		return restore.Kept{}, err
	}
	source, item := r.request.Event, events.Item{Kind: events.ItemVolume, ID: volume, Name: volume}
	tags := map[string]string{}
	maps.Copy(tags, r.data.Tags)
	tags[safetyTag] = t.Job
	stored := r.kind.Backups.Run(ctx, backup.Task{
		Host: t.Host, Job: t.Job, Attempt: t.Attempt, Tags: tags, Ledger: l, Progress: t.Progress,
		Legs:    []backup.Leg{{Sink: t.SinkName, Open: func(context.Context) (sink.Sink, error) { return t.Sink, nil }}},
		Point:   events.PointID(r.attempt.Stored(), source.Source(), fmt.Sprintf("%s/%d", source.ID(), t.Attempt), t.Host, item.Kind, item.ID),
		Request: point.Request{Source: source.Source(), ID: source.ID(), CorrelationID: events.CorrelationID(source)},
		Item: events.PlannedItem{Item: item, Reason: "it is replaced by a restore", Volumes: []events.PlannedVolume{
			{Type: "volume", Name: volume, Driver: v.Driver, CreatedAt: v.CreatedAt},
		}},
	})[0]
	if stored.Err != nil {
		return restore.Kept{}, stored.Err
	}
	return restore.Kept{Point: stored.Result.Manifest.ID, Dir: stored.Result.Dir}, nil
}

// complete tells the attempt that an item is restored.
func (r *run) complete(i int, began time.Time, result *events.RestoreItemCompleted) {
	r.attempt.Complete(i, began, events.ItemOutcome{
		Size: result.Bytes, NotRunningMillis: result.NotRunningMillis, Warnings: events.WarningCodes(result.Warnings),
	}, *result)
}
