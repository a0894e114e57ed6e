package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/ledger"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/plan"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/step"
	"holdfast.io/holdfast/internal/undo"
)

// maxTries is how many attempts at an item may end without a word before it
// fails, and the job goes on without it.
const maxTries = 3

// items backs up the items of the plan that have no outcome yet, as many at a time
// as there are slots. An error means that the job has not ended.
func (j *job) items(ctx context.Context, p *plan.Plan) ([]events.ItemOutcome, error) {
	outcomes := make([]events.ItemOutcome, len(p.Items))
	for i, item := range p.Items {
		outcomes[i] = events.ItemOutcome{Item: item.Item, Status: events.OutcomeSkipped}
	}
	if j.backupData.AbortOnError && doomed(p) {
		return outcomes, j.tellDoomed(p, outcomes)
	}
	r := &round{job: j, outcomes: outcomes}
	r.starting, r.abort = context.WithCancel(ctx)
	defer r.abort()
	if err := r.repeatKnown(); err != nil {
		return nil, err
	}
	if j.backupData.Together {
		r.together(ctx, p)
	} else {
		r.each(ctx, p)
	}
	r.running.Wait()
	if j.base.Err() != nil {
		return nil, context.Cause(j.base)
	}
	return outcomes, r.failure
}

// round is one attempt's way through the items of a job.
type round struct {
	*job
	starting context.Context // ends when no more items are begun
	abort    context.CancelFunc
	running  sync.WaitGroup

	mu       sync.Mutex
	outcomes []events.ItemOutcome
	failure  error
}

// repeatKnown publishes again what earlier attempts have entered of the items.
func (r *round) repeatKnown() error {
	for i, raw := range r.claim.Outcomes() {
		if i >= len(r.outcomes) {
			return fmt.Errorf("job %s: the ledger has an item %d, and the plan only %d items", r.job.job, i, len(r.outcomes))
		}
		o, err := r.tell(raw)
		if err != nil {
			return err
		}
		r.record(i, o, nil)
	}
	return nil
}

// known reports whether the item has an outcome from an earlier attempt.
func (r *round) known(i int) bool {
	_, ok := r.claim.Outcomes()[i]
	return ok
}

func (r *round) each(ctx context.Context, p *plan.Plan) {
	for i, item := range p.Items {
		if r.known(i) {
			continue
		}
		if r.slot.next(r.starting) != nil {
			return
		}
		r.running.Go(func() {
			defer r.Slots.Release()
			o, err := r.item(ctx, i, item)
			r.record(i, o, err)
		})
	}
}

// record takes down what came of an item; an error means that the job is not to go
// on now.
func (r *round) record(i int, o events.ItemOutcome, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outcomes[i] = o
	r.failure = errors.Join(r.failure, err)
	if err != nil || o.Status != events.OutcomeCompleted && !isGone(o) && r.backupData.AbortOnError {
		r.abort()
	}
}

// item backs up one item, enters what came of it, and publishes it. An error means
// that the item has not ended.
func (j *job) item(ctx context.Context, i int, item plan.Item) (events.ItemOutcome, error) {
	began := time.Now()
	if err := j.startItem(i, item); err != nil {
		return j.itemFailed(i, item, err, began)
	}
	var result *backup.Result
	err := panics.Catch(func() error {
		task, err := j.task(ctx, i, item)
		if err != nil {
			return err
		}
		ctx, cancel := j.itemBounded(ctx)
		defer cancel()
		result, err = j.Runner.Run(ctx, task)
		return err
	})
	if err != nil {
		return j.itemFailed(i, item, err, began)
	}
	return j.itemStored(i, item, result, began)
}

func (j *job) itemBounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if j.Timeouts.Item == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, j.Timeouts.Item, backup.ErrTimeout)
}

// errNotBegun is reported where the ledger does not take that an item is begun.
var errNotBegun = errors.New("the item cannot be begun in the ledger")

// startItem records that this attempt begins the item, before anything is asked about
// it: whatever the worker dies of then counts as a try at it. It reports errNotBegun,
// or the *backup.ItemError of an item that has been tried often enough.
func (j *job) startItem(i int, item plan.Item) error {
	if item.Code != "" { // it fails at once
		return nil
	}
	if before := j.claim.Begun()[i]; before.Tries >= maxTries {
		return &backup.ItemError{Step: events.StepPlan, Code: events.CodeGaveUp,
			Err: fmt.Errorf("the worker died %d times at %s %s; its log may say why", before.Tries, item.Kind, item.Name)}
	}
	if err := j.claim.Begin(j.base, i, nil); err != nil {
		return fmt.Errorf("%w: %w", errNotBegun, err)
	}
	return nil
}

// task returns what is to be done for an item. The error is a *backup.ItemError.
func (j *job) task(ctx context.Context, i int, item plan.Item) (backup.Task, error) {
	t := backup.Task{
		Host: j.Host, Job: j.job, Attempt: j.claim.Attempt(), Point: j.pointID(item.Item), Item: item.PlannedItem, IgnoredLabels: item.ImageHooks,
		SinkName: j.sink, Tags: j.backupData.Tags,
		Request: point.Request{
			Source: j.request.event.Source(), ID: j.request.event.ID(), CorrelationID: events.CorrelationID(j.request.event),
		},
		Progress: j.progress(item.Item),
		Ledger:   itemLedger{j, i},
	}
	if item.Code != "" {
		return t, nil
	}
	var err error
	if t.Sink, err = j.Sinks.Open(ctx, j.sink); err != nil {
		return t, backup.SinkFailed(ctx, err)
	}
	return t, nil
}

func (j *job) pointID(item events.Item) string {
	return events.PointID(j.claim.Stored(), j.request.event.Source(), j.request.event.ID(), j.Host, item.Kind, item.ID)
}

// itemLedger is the job's ledger as the undo log of one item sees it.
type itemLedger struct {
	job  *job
	item int // its place in the plan
}

// Begin implements [undo.Ledger]: it enters that the item is begun, and what may be
// left of it.
func (l itemLedger) Begin(ctx context.Context, r undo.Record) error {
	j, i := l.job, l.item
	record, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode the undo record of %s %s: %w", r.Item.Kind, r.Item.Name, err)
	}
	if err := j.Lease.Confirm(ctx); err != nil {
		return err
	}
	if err := j.claim.Begin(ctx, i, record); err != nil {
		return err
	}
	step.At(ctx, step.ItemBegun)
	return nil
}

// AdoptRecords hands a job's undo records to the sweeper; their worker may have run
// on another machine. A container stays locked until it has been resumed. A record
// that this program cannot undo stays in the ledger, and is reported.
func AdoptRecords(ctx context.Context, s Sweeper, job string, begun map[int]ledger.Begun) error {
	var failure error
	for _, before := range begun {
		if before.Record == nil {
			continue
		}
		r, err := undo.Decode(before.Record)
		switch {
		case errors.Is(err, undo.ErrNewer):
			failure = errors.Join(failure, fmt.Errorf("%w: an undo record of job %s: %w", ledger.ErrNewer, job, err))
			continue
		case err != nil:
			failure = errors.Join(failure, fmt.Errorf("%w: an undo record of job %s: %w", ledger.ErrDamaged, job, err))
			continue
		}
		failure = errors.Join(failure, s.Adopt(ctx, r, true))
	}
	return failure
}

// imageID is the image of a point that has one.
func imageID(m *point.Manifest) string {
	if m.Image == nil {
		return ""
	}
	return m.Image.ID
}

func (j *job) itemStored(i int, item plan.Item, result *backup.Result, began time.Time) (events.ItemOutcome, error) {
	m := result.Manifest
	o := events.ItemOutcome{Item: item.Item, Millis: time.Since(began).Milliseconds()}
	completed(&o, m)
	o.Warnings = events.WarningCodes(result.Warnings)
	ev := j.event(time.Now(), events.Backup.ResultType(events.ResultItemCompleted), item.Name, string(item.Kind)+item.ID, events.BackupItemCompleted{
		Job: j.job, Host: j.Host, Item: item.Item, Point: m.ID, Sink: j.sink, Path: result.Dir,
		ImageID: imageID(m), Artifacts: m.Artifacts, NotIncluded: m.NotIncluded,
		SnapshotTime: m.SnapshotTime, Quiesce: m.Quiesce, NotRunningMillis: m.NotRunningMillis,
		Hooks: result.Hooks, DurationsMillis: result.Durations, Warnings: result.Warnings,
	})
	return j.endItem(i, o, &ev)
}

// itemFailed ends an item that failed, unless it is to be tried again: then it
// returns the error.
func (j *job) itemFailed(i int, item plan.Item, err error, began time.Time) (events.ItemOutcome, error) {
	if j.base.Err() != nil {
		return events.ItemOutcome{}, context.Cause(j.base)
	}
	if fateOf(j.base, err) == lost || errors.Is(err, errNotBegun) || errors.Is(err, backup.ErrAway) && j.mayWait() {
		return events.ItemOutcome{}, err
	}
	err = j.explain(item, err)
	data := events.ItemFailed{Job: j.job, Host: j.Host, Item: item.Item,
		Step: events.StepPlan, Code: events.CodeInternal, Message: err.Error()}
	if failure, ok := errors.AsType[*backup.ItemError](err); ok {
		data.Step, data.Code, data.Retryable = failure.Step, failure.Code, failure.Retryable
		data.NotRunningMillis = float64(failure.NotRunning.Microseconds()) / 1000
	}
	o := events.ItemOutcome{Item: item.Item, Millis: time.Since(began).Milliseconds(), Status: events.OutcomeFailed, Code: data.Code,
		NotRunningMillis: data.NotRunningMillis}
	if data.Code == events.CodeCancelled {
		o.Status = events.OutcomeCancelled
	}
	if data.Code == events.CodeGone {
		o.Status = events.OutcomeSkipped
		j.log.Info("item skipped", zap.String("item", item.Name), zap.Error(err))
		return j.endItem(i, o, nil)
	}
	j.log.Warn("item failed", zap.String("item", item.Name), zap.String("code", string(data.Code)), zap.Error(err), zap.ByteString("stack", panics.Stack(err)))
	ev := j.event(time.Now(), events.Backup.ResultType(events.ResultItemFailed), item.Name, string(item.Kind)+item.ID, data)
	return j.endItem(i, o, &ev)
}

// endItem stores what came of an item, and publishes what counts. ev is nil if the
// end of the job says all of it.
func (j *job) endItem(i int, o events.ItemOutcome, ev *event.Event) (events.ItemOutcome, error) {
	raw, err := j.encodeOutcome(j.job, o, ev)
	if err != nil {
		return o, err
	}
	if err := j.Lease.Confirm(j.base); err != nil {
		return o, err
	}
	stands, err := j.claim.EndItem(j.base, i, raw)
	if err != nil {
		return o, err
	}
	step.At(j.base, step.ItemEnded)
	if o, err = j.tell(stands); err == nil {
		step.At(j.base, step.ItemReported)
	}
	return o, err
}

// tell publishes an item's outcome as it stands in the ledger.
func (j *job) tell(raw []byte) (events.ItemOutcome, error) {
	o, m, err := decodeOutcome(j.job, raw)
	if err != nil {
		return o, err
	}
	if m.ID == "" {
		return o, nil
	}
	return o, j.send(j.base, m)
}

// doomed reports whether it is known from the plan that something will fail.
func doomed(plan *plan.Plan) bool {
	for _, item := range plan.Items {
		if item.Code != "" {
			return true
		}
	}
	return len(plan.Missing) > 0
}

// tellDoomed reports the items that are known to fail; the others are skipped, and
// nothing is touched.
func (j *job) tellDoomed(p *plan.Plan, outcomes []events.ItemOutcome) (err error) {
	for i, item := range p.Items {
		if item.Code == "" {
			continue
		}
		doom := &backup.ItemError{Step: events.StepPlan, Code: item.Code, Err: errors.New(item.Message)}
		if outcomes[i], err = j.itemFailed(i, item, doom, time.Now()); err != nil {
			return err
		}
	}
	return nil
}
