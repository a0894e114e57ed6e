package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
)

// job is one backup request on this host.
type job struct {
	*Worker
	*request
	attempt uint64
	slot    *heldSlot
	sink    string
	began   time.Time
	log     *zap.Logger
}

// backup carries a backup request out, and acknowledges its message when the
// terminal event is stored.
func (w *Worker) backup(base context.Context, m *bus.Message, req *request, slot *heldSlot) {
	j := &job{Worker: w, request: req, attempt: m.Delivered, slot: slot, began: time.Now().UTC(),
		sink: cmp.Or(req.backupData.Sink, events.DefaultSink), log: w.Log.With(zap.String("job", req.job))}
	if rejection := j.refuse(); rejection != nil {
		w.reject(base, m, rejection)
		return
	}
	ctx, cancel := context.WithCancelCause(base)
	defer cancel(nil)
	if !w.begin(req.job, cancel) {
		w.later(m, duplicateDelay)
		return
	}
	defer w.end(req.job)
	if req.backupData.Timeout != "" {
		timeout, _ := time.ParseDuration(req.backupData.Timeout) // validated at the door
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, timeout, backup.ErrTimeout)
		defer stop()
	}
	terminal, err := j.run(ctx, base)
	if err == nil {
		err = w.publish(base, j.job, terminal)
	}
	switch {
	case err == nil:
		w.done(base, m)
		j.log.Info("job ended", zap.String("event", events.Short(terminal.Type())), zap.Duration("took", time.Since(j.began)))
	case base.Err() != nil:
		j.log.Info("job stopped; it will be done by the next worker")
		w.later(m, stoppedDelay)
	default:
		j.log.Warn("job put off", zap.Error(err))
		w.later(m, putOffDelay)
	}
}

// refuse holds the request against the host's configuration.
func (j *job) refuse() *rejection {
	if !j.Sinks.Has(j.sink) {
		return j.rejected(events.ReasonUnknownSink, events.Violation{Pointer: "/sink",
			Message: fmt.Sprintf("no sink %q is configured on host %s; there are: %q", j.sink, j.Host, j.Sinks.Names())})
	}
	if q := j.backupData.Quiesce; q != "" && !slices.Contains(j.Policy.Quiesce, q) {
		return j.rejected(events.ReasonPolicy, events.Violation{Pointer: "/quiesce",
			Message: fmt.Sprintf("host %s does not allow quiesce %s, only %q (policy.quiesce in its configuration)", j.Host, q, j.Policy.Quiesce)})
	}
	return nil
}

// run does the job and returns its terminal event. An error means that the job
// has not ended, and is to be done again later. ctx is the job's own; base ends
// with the worker, and is what events are published under.
func (j *job) run(ctx, base context.Context) (event.Event, error) {
	plan, err := j.plan(ctx)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && base.Err() == nil {
			return j.ended(nil, nil, cause), nil
		}
		return event.Event{}, err
	}
	if j.backupData.DryRun {
		data := events.BackupPlanned{Job: j.job, Host: j.Host, Plan: shorten(*plan)}
		return j.terminal(events.TypeBackupPlanned, data), nil
	}
	accepted := events.BackupAccepted{Job: j.job, Host: j.Host, Sink: j.sink, Plan: shorten(*plan)}
	if err := j.publish(base, j.job, j.event(events.TypeBackupAccepted, j.job, "", accepted)); err != nil {
		return event.Event{}, err
	}
	for _, m := range plan.Missing {
		if err := j.publishMissing(base, m); err != nil {
			return event.Event{}, err
		}
	}
	outcomes, err := j.items(ctx, base, plan)
	if err != nil {
		return event.Event{}, err
	}
	return j.ended(plan, outcomes, context.Cause(ctx)), nil
}

// plan asks the Engine what there is, and decides what the request means.
func (j *job) plan(ctx context.Context) (*events.Plan, error) {
	var containers []backup.Container
	var images []backup.Image
	var err error
	if j.backupData.Containers != nil {
		if containers, err = j.Backuper.Engine.Containers(ctx); err != nil {
			return nil, fmt.Errorf("list the containers: %w", err)
		}
	}
	if j.backupData.Images != nil {
		if images, err = j.Backuper.Engine.Images(ctx); err != nil {
			return nil, fmt.Errorf("list the images: %w", err)
		}
	}
	plan := backup.Plan(j.backupData, containers, images, backup.Rules{
		Quiesce:     j.Policy.Quiesce,
		Protected:   backup.Protected(containers, j.Lifeline(ctx)),
		SkipMissing: j.target == events.TargetAll,
		Explain:     j.backupData.DryRun,
	})
	return &plan, nil
}

// items backs up the items of the plan, as many at a time as there are slots.
// An error means that the job has not ended.
func (j *job) items(ctx, base context.Context, plan *events.Plan) ([]events.ItemOutcome, error) {
	outcomes := make([]events.ItemOutcome, len(plan.Items))
	for i, item := range plan.Items {
		outcomes[i] = events.ItemOutcome{Item: item.Item, Status: events.ItemSkipped}
	}
	if j.backupData.AbortOnError && doomed(plan) {
		return outcomes, j.publishDoomed(base, plan, outcomes)
	}
	starting, abort := context.WithCancel(ctx) // ends when no more items are begun
	defer abort()
	var (
		running sync.WaitGroup
		mu      sync.Mutex
		failure error
	)
	for i, item := range plan.Items {
		if j.slot.next(starting) != nil {
			break
		}
		running.Go(func() {
			defer j.Slots.Release()
			outcome, err := j.item(ctx, base, item)
			mu.Lock()
			defer mu.Unlock()
			outcomes[i] = outcome
			failure = errors.Join(failure, err)
			if err != nil || outcome.Status != events.ItemCompleted && j.backupData.AbortOnError {
				abort()
			}
		})
	}
	running.Wait()
	if base.Err() != nil {
		return nil, context.Cause(base)
	}
	return outcomes, failure
}

// item backs up one item and publishes what came of it. An error means that it
// could not be published.
func (j *job) item(ctx, base context.Context, item events.PlannedItem) (events.ItemOutcome, error) {
	began := time.Now()
	id := events.PointID(j.streamTime, j.request.event.Source(), j.request.event.ID(), j.Host, item.Kind, item.ID)
	result, err := j.store(ctx, item, id)
	if base.Err() != nil {
		return events.ItemOutcome{}, context.Cause(base)
	}
	outcome := events.ItemOutcome{Item: item.Item, Millis: time.Since(began).Milliseconds()}
	if err != nil {
		err = j.itemFailed(base, &outcome, err)
		return outcome, err
	}
	completed(&outcome, result.Manifest)
	m := result.Manifest
	ev := j.event(events.TypeBackupItemCompleted, item.Name, string(item.Kind)+item.ID, events.BackupItemCompleted{
		Job: j.job, Host: j.Host, Item: item.Item, Point: id, Sink: j.sink, Path: result.Dir,
		ImageID: m.Image.ID, Artifacts: m.Artifacts, NotIncluded: m.NotIncluded,
		SnapshotTime: m.SnapshotTime, Quiesce: m.Quiesce, NotRunningMillis: m.NotRunningMillis,
		DurationsMillis: result.Durations,
	})
	return outcome, j.publish(base, j.job, ev)
}

// store runs the backup of one item.
func (j *job) store(ctx context.Context, item events.PlannedItem, id string) (*backup.Result, error) {
	var to sink.Sink
	if item.Code == "" {
		var err error
		if to, err = j.Sinks.Open(ctx, j.sink); err != nil {
			return nil, backup.SinkFailed(ctx, err)
		}
	}
	return j.Backuper.Run(ctx, backup.Task{
		Host: j.Host, Job: j.job, Attempt: j.attempt, Point: id, Item: item,
		SinkName: j.sink, Sink: to, Tags: j.backupData.Tags,
		Request: point.Request{
			Source: j.request.event.Source(), ID: j.request.event.ID(), CorrelationID: correlationID(j.request.event),
		},
		Progress: j.progress(item.Item),
	})
}

// itemFailed completes the outcome of an item that failed, and publishes it.
func (j *job) itemFailed(base context.Context, outcome *events.ItemOutcome, err error) error {
	data := events.BackupItemFailed{Job: j.job, Host: j.Host, Item: outcome.Item,
		Step: events.StepPlan, Code: events.CodeInternal, Message: err.Error()}
	if failure, ok := errors.AsType[*backup.ItemError](err); ok {
		data.Step, data.Code, data.Retryable = failure.Step, failure.Code, failure.Retryable
	}
	outcome.Status, outcome.Code = events.ItemFailed, data.Code
	if data.Code == events.CodeCancelled {
		outcome.Status = events.ItemCancelled
	}
	j.log.Warn("item failed", zap.String("item", outcome.Item.Name), zap.String("code", string(data.Code)), zap.Error(err))
	return j.publish(base, j.job, j.event(events.TypeBackupItemFailed, outcome.Item.Name,
		string(outcome.Item.Kind)+outcome.Item.ID, data))
}

// publishMissing reports a name that leads to nothing as an item that failed.
func (j *job) publishMissing(base context.Context, m events.Missing) error {
	data := events.BackupItemFailed{Job: j.job, Host: j.Host, Item: events.Item{Kind: m.Kind, Name: m.Name},
		Step: events.StepPlan, Code: m.Code, Message: m.Message}
	return j.publish(base, j.job, j.event(events.TypeBackupItemFailed, m.Name, string(m.Kind)+"\x00"+m.Name, data))
}

// doomed reports whether it is known from the plan that something will fail.
func doomed(plan *events.Plan) bool {
	for _, item := range plan.Items {
		if item.Code != "" {
			return true
		}
	}
	return len(plan.Missing) > 0
}

// publishDoomed reports the items that are known to fail; the others are
// skipped, and nothing is touched.
func (j *job) publishDoomed(base context.Context, plan *events.Plan, outcomes []events.ItemOutcome) error {
	for i, item := range plan.Items {
		if item.Code == "" {
			continue
		}
		err := &backup.ItemError{Step: events.StepPlan, Code: item.Code, Err: errors.New(item.Message)}
		if err := j.itemFailed(base, &outcomes[i], err); err != nil {
			return err
		}
	}
	return nil
}

func (j *job) event(eventType, subject, discriminator string, data any) event.Event {
	return j.result(j.job, j.request.event, eventType, subject, discriminator, data)
}
