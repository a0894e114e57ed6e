package backupjob

import (
	"context"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/plan"
	"holdfast.io/holdfast/internal/point"
)

// run is one attempt at a backup request.
type run struct {
	*spec
	attempt *job.Attempt
	plan    *plan.Plan
}

// Run implements [job.Spec].
func (s *spec) Run(ctx context.Context, a *job.Attempt) {
	r := &run{spec: s, attempt: a, plan: a.Plan().(*plan.Plan)}
	if s.data.Together {
		r.together(ctx)
		return
	}
	a.Each(func(i int) { r.item(ctx, i) })
}

// item backs up one item in its turn.
func (r *run) item(ctx context.Context, i int) {
	began := time.Now()
	if err := r.attempt.Start(i); err != nil {
		r.attempt.Fail(i, began, err)
		return
	}
	var result *backup.Result
	err := panics.Catch(func() error {
		task, err := r.task(ctx, i)
		if err != nil {
			return err
		}
		ctx, cancel := r.attempt.Bound(ctx)
		defer cancel()
		result, err = r.kind.Runner.Run(ctx, task)
		return err
	})
	r.finish(ctx, i, began, result, err)
}

// task returns what is to be done for an item. The error is a *failure.Error.
func (r *run) task(ctx context.Context, i int) (backup.Task, error) {
	item, a := r.plan.Items[i], r.attempt
	source := r.request.Event
	t := backup.Task{
		Host: r.kind.Host, Job: a.Job(), Attempt: a.Number(), Item: item.PlannedItem, IgnoredLabels: item.ImageHooks,
		Point:    events.PointID(a.Stored(), source.Source(), source.ID(), r.kind.Host, item.Kind, item.ID),
		SinkName: r.options.Sink, Tags: r.data.Tags,
		Request:  point.Request{Source: source.Source(), ID: source.ID(), CorrelationID: events.CorrelationID(source)},
		Hot:      r.data.Volumes != nil && r.data.Volumes.Hot,
		Progress: a.Progress(i),
		Ledger:   a.Ledger(i),
	}
	if item.Code != "" {
		return t, nil
	}
	var err error
	if t.Sink, err = r.kind.Sinks.Open(ctx, r.options.Sink); err != nil {
		return t, backup.SinkFailed(ctx, err)
	}
	return t, nil
}

// finish tells the attempt what came of an item. It reports whether the item has ended.
func (r *run) finish(ctx context.Context, i int, began time.Time, result *backup.Result, err error) (ended bool) {
	if err != nil {
		return r.attempt.Fail(i, began, r.explain(ctx, r.plan.Items[i], err))
	}
	m := result.Manifest
	o := events.ItemOutcome{
		Point: m.ID, NotRunningMillis: m.NotRunningMillis, NotIncluded: m.NotIncluded, Warnings: events.WarningCodes(result.Warnings),
	}
	for _, artifact := range m.Artifacts {
		o.Size += artifact.Size
		o.UncompressedSize += artifact.UncompressedSize
		if artifact.MediaType == point.MediaTypeVolume {
			o.Volumes++
		}
	}
	return r.attempt.Complete(i, began, o, events.BackupItemCompleted{
		Job: r.attempt.Job(), Host: r.kind.Host, Item: r.plan.Items[i].Item, Point: m.ID, Sink: r.options.Sink, Path: result.Dir,
		ImageID: imageID(m), Artifacts: m.Artifacts, NotIncluded: m.NotIncluded,
		SnapshotTime: m.SnapshotTime, Quiesce: m.Quiesce, NotRunningMillis: m.NotRunningMillis,
		Hooks: result.Hooks, DurationsMillis: result.Durations, Warnings: result.Warnings,
	})
}

// imageID is the id of a point's image; empty if it has none.
func imageID(m *point.Manifest) string {
	if m.Image == nil {
		return ""
	}
	return m.Image.ID
}
