package job

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/ledger"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/step"
	"holdfast.io/holdfast/internal/undo"
)

// MaxTries is how many attempts at an item may die before it fails, and the job goes
// on without it.
const MaxTries = 3

// runItems has the kind work off the items that have no outcome yet. An error means
// that the job has not ended.
func (a *Attempt) runItems(ctx context.Context) error {
	a.outcomes = make([]events.ItemOutcome, len(a.public.Items))
	for i, item := range a.public.Items {
		a.outcomes[i] = events.ItemOutcome{Item: item.Item, Point: item.Point, Sink: item.Sink, Status: events.OutcomeSkipped}
	}
	a.starting, a.abort = context.WithCancel(ctx)
	defer a.abort()
	if a.options.AbortOnError && failsByPlan(a.public) {
		a.failPlanned()
		return a.failure
	}
	if err := a.repeatOutcomes(); err != nil {
		return err
	}
	a.spec.Run(ctx, a)
	a.running.Wait()
	if a.base.Err() != nil {
		return context.Cause(a.base)
	}
	return a.failure
}

// repeatOutcomes publishes again what earlier attempts have stored of the items.
func (a *Attempt) repeatOutcomes() error {
	for i, raw := range a.claim.Outcomes() {
		if i >= len(a.outcomes) {
			return fmt.Errorf("%w: job %s has an item %d, and its plan only %d items", ledger.ErrDamaged, a.request.Job, i, len(a.outcomes))
		}
		o, err := a.publishOutcome(raw)
		if err != nil {
			return err
		}
		a.setOutcome(i, o)
	}
	return nil
}

// failsByPlan reports whether it is known from the plan that something will fail.
func failsByPlan(p events.Plan) bool {
	for _, item := range p.Items {
		if item.Code != "" {
			return true
		}
	}
	return len(p.Missing) > 0
}

// failPlanned fails the items that are known to fail; the others are skipped, and
// nothing is touched.
func (a *Attempt) failPlanned() {
	for i, item := range a.public.Items {
		if item.Code != "" && a.failure == nil {
			a.Fail(i, time.Now(), planned(item))
		}
	}
}

// planned is the failure of an item that is known from the plan to fail.
func planned(item events.PlannedItem) error {
	return failure.New(events.StepPlan, item.Code, "%s", item.Message)
}

// Plan is the plan of the job, as its kind made it.
func (a *Attempt) Plan() Plan { return a.plan }

// Job is the job's id.
func (a *Attempt) Job() string { return a.request.Job }

// Number counts the attempts at the job, from 1.
func (a *Attempt) Number() uint64 { return a.claim.Attempt() }

// Stored is when the request was stored in its stream: that of its first message, if
// it was published again.
func (a *Attempt) Stored() time.Time { return a.claim.Stored() }

// Pending reports whether the item has no outcome from an earlier attempt.
func (a *Attempt) Pending(i int) bool {
	_, known := a.claim.Outcomes()[i]
	return !known
}

// Done is what an earlier attempt has done of an item whose outcome it could not say:
// the Done of the item's undo record, nil if it has none.
func (a *Attempt) Done(i int) json.RawMessage {
	r, err := undo.Decode(a.claim.Begun()[i].Record)
	if err != nil {
		return nil
	}
	return r.Done
}

// MayHaveStaged reports whether an earlier attempt at the item may have stored something
// in a sink: its undo record names the sink.
func (a *Attempt) MayHaveStaged(i int, sink string) bool {
	r, err := undo.Decode(a.claim.Begun()[i].Record)
	return err == nil && slices.ContainsFunc(r.Actions, func(do undo.Action) bool {
		return do.Unstage != nil && do.Unstage.Sink == sink
	})
}

// Outcome is what came of an item so far.
func (a *Attempt) Outcome(i int) events.ItemOutcome {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.outcomes[i]
}

// NextSlot returns with a slot taken, which the caller releases. It reports why no
// more items are to be begun.
func (a *Attempt) NextSlot() error { return a.slot.next(a.starting) }

// ReleaseSlot gives a slot back.
func (a *Attempt) ReleaseSlot() { a.runner.Slots.Release() }

// Go does work of an item beside the others, in a slot that is taken and that it gives
// back. Run need not wait for it.
func (a *Attempt) Go(work func()) {
	a.running.Go(func() {
		defer a.ReleaseSlot()
		work()
	})
}

// Wait waits until all has ended that Go was given.
func (a *Attempt) Wait() { a.running.Wait() }

// Each does something with each pending item, as many at a time as there are slots.
func (a *Attempt) Each(do func(i int)) {
	for i := range a.public.Items {
		if !a.Pending(i) {
			continue
		}
		if a.NextSlot() != nil {
			return
		}
		a.Go(func() { do(i) })
	}
}

// Bound gives one attempt at an item the time that the configuration allows it.
func (a *Attempt) Bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if a.runner.Timeouts.Item == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, a.runner.Timeouts.Item, ErrTimeout)
}

// ErrNotBegun is reported where the ledger does not take that an item is begun.
var ErrNotBegun = errors.New("the item cannot be begun in the ledger")

// Start records that this attempt begins the item, before anything is asked about it:
// whatever the worker dies of then counts as a try at it. It reports ErrNotBegun, or
// the failure of an item that has been tried often enough.
func (a *Attempt) Start(i int) error {
	item := a.public.Items[i]
	if item.Code != "" { // it fails at once
		return nil
	}
	if before := a.claim.Begun()[i]; before.Tries >= MaxTries {
		return failure.New(events.StepPlan, events.CodeGaveUp,
			"the worker died %d times at %s %s; its log may say why", before.Tries, item.Kind, item.Name)
	}
	if err := a.claim.Begin(a.base, i, nil); err != nil {
		return fmt.Errorf("%w: %w", ErrNotBegun, err)
	}
	return nil
}

// Ledger is the job's ledger as the undo log of one item sees it.
func (a *Attempt) Ledger(i int) undo.Ledger { return itemLedger{a, i} }

type itemLedger struct {
	attempt *Attempt
	item    int // its place in the plan
}

// Begin implements [undo.Ledger]: it records what may be left of the item.
func (l itemLedger) Begin(ctx context.Context, r undo.Record) error {
	record, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode the undo record of %s %s: %w", r.Item.Kind, r.Item.Name, err)
	}
	if err := l.attempt.runner.Lease.Confirm(ctx); err != nil {
		return err
	}
	if err := l.attempt.claim.Begin(ctx, l.item, record); err != nil {
		return err
	}
	step.At(ctx, step.ItemBegun)
	return nil
}

// AdoptRecords hands a job's undo records to the sweeper; their worker may have run
// on another machine. A container stays locked until it has been resumed. A record
// that this program cannot undo stays in the ledger, and is reported as
// ledger.ErrNewer or ledger.ErrDamaged.
func AdoptRecords(ctx context.Context, s Sweeper, job string, begun map[int]ledger.Begun) error {
	var failure error
	for _, before := range begun {
		if before.Record == nil {
			continue
		}
		r, err := undo.Decode(before.Record)
		if err != nil && !errors.Is(err, undo.ErrNewer) {
			err = fmt.Errorf("%w: an undo record of job %s: %w", ledger.ErrDamaged, job, err)
		}
		if err == nil {
			err = s.Adopt(ctx, r, true)
		}
		if errors.Is(err, undo.ErrNewer) {
			err = fmt.Errorf("%w: an undo record of job %s: %w", ledger.ErrNewer, job, err)
		}
		failure = errors.Join(failure, err)
	}
	return failure
}

// Complete ends an item that was begun at a time, with its outcome and the data of its
// event. It reports whether the item has ended.
func (a *Attempt) Complete(i int, began time.Time, o events.ItemOutcome, data any) (ended bool) {
	item := a.public.Items[i]
	o.Item, o.Status, o.Millis = item.Item, events.OutcomeCompleted, time.Since(began).Milliseconds()
	o.Point, o.Sink = cmp.Or(o.Point, item.Point), item.Sink
	ev := a.itemEvent(i, events.ResultItemCompleted, data)
	return a.endItem(i, o, &ev)
}

// itemEvent makes a result about an item. It has an id of its own for each point of one
// thing, and for each sink.
func (a *Attempt) itemEvent(i int, result events.Result, data any) event.Event {
	item := a.public.Items[i]
	discriminator := string(item.Kind) + item.ID
	if item.Point != "" {
		discriminator += "\x00" + item.Point
	}
	if item.Sink != "" {
		discriminator += "\x00" + item.Sink
	}
	return a.event(time.Now(), result, item.Name, discriminator, data)
}

// Fail ends an item that failed, unless it is to be tried again: then the attempt
// ends. An item that is gone, or is kept, is skipped. It reports whether the item has ended.
func (a *Attempt) Fail(i int, began time.Time, err error) (ended bool) {
	item := a.public.Items[i]
	switch {
	case a.base.Err() != nil:
		a.PutOff(context.Cause(a.base))
		return false
	case dispositionOf(a.base, err) == Superseded, errors.Is(err, ErrNotBegun), errors.Is(err, ErrAway) && a.MayRetry():
		a.PutOff(err)
		return false
	}
	data := events.ItemFailed{Job: a.request.Job, Host: a.runner.Host, Item: item.Item, Point: item.Point, Sink: item.Sink,
		Step: events.StepPlan, Code: events.CodeInternal, Message: err.Error()}
	if e, ok := errors.AsType[*failure.Error](err); ok {
		data.Step, data.Code, data.Retryable, data.Findings = e.Step, e.Code, e.Retryable, e.Found
		data.NotRunningMillis = float64(e.NotRunning.Microseconds()) / 1000
	}
	o := events.ItemOutcome{
		Item: item.Item, Point: item.Point, Sink: item.Sink, Millis: time.Since(began).Milliseconds(),
		Status: events.OutcomeFailed, Code: data.Code, NotRunningMillis: data.NotRunningMillis}
	switch data.Code {
	case events.CodeGone, events.CodeKept:
		o.Status = events.OutcomeSkipped
		a.Log.Info("item skipped", zap.String("item", item.Name), zap.Error(err))
		return a.endItem(i, o, nil)
	case events.CodeCancelled:
		o.Status = events.OutcomeCancelled
	default: // it has failed
	}
	a.Log.Warn("item failed", zap.String("item", item.Name), zap.String("code", string(data.Code)), zap.Error(err),
		panics.LogStack(err))
	ev := a.itemEvent(i, events.ResultItemFailed, data)
	return a.endItem(i, o, &ev)
}

// PutOff has the job tried again later.
func (a *Attempt) PutOff(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failure = errors.Join(a.failure, err)
	a.abort()
}

// endItem stores what came of an item, and publishes what counts. ev is nil if the end
// of the job says all of it.
func (a *Attempt) endItem(i int, o events.ItemOutcome, ev *event.Event) (ended bool) {
	o, err := a.storeOutcome(i, o, ev)
	if err != nil {
		a.PutOff(err)
		return false
	}
	a.setOutcome(i, o)
	return true
}

func (a *Attempt) storeOutcome(i int, o events.ItemOutcome, ev *event.Event) (events.ItemOutcome, error) {
	raw, err := a.encodeOutcome(o, ev)
	if err != nil {
		return o, err
	}
	if err := a.runner.Lease.Confirm(a.base); err != nil {
		return o, err
	}
	counts, err := a.claim.EndItem(a.base, i, raw)
	if err != nil {
		return o, err
	}
	step.At(a.base, step.ItemEnded)
	if o, err = a.publishOutcome(counts); err == nil {
		step.At(a.base, step.ItemReported)
	}
	return o, err
}

// publishOutcome publishes an item's outcome as it lies in the ledger.
func (a *Attempt) publishOutcome(raw []byte) (events.ItemOutcome, error) {
	o, m, err := decodeOutcome(a.request.Job, raw)
	if err != nil || m.ID == "" {
		return o, err
	}
	return o, a.runner.send(a.base, m)
}

// setOutcome takes what came of an item. One that failed ends a job that is to abort.
func (a *Attempt) setOutcome(i int, o events.ItemOutcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.outcomes[i] = o
	if o.Status != events.OutcomeCompleted && !isHarmless(o) && a.options.AbortOnError {
		a.abort()
	}
}

// isHarmless reports whether an item was skipped without anybody's fault.
func isHarmless(o events.ItemOutcome) bool {
	return o.Status == events.OutcomeSkipped && (o.Code == events.CodeGone || o.Code == events.CodeKept)
}
