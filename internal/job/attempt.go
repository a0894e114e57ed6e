package job

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/ledger"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/step"
)

// Attempt is one attempt at a job. Kinds work off its items by it, several at a time
// or not.
type Attempt struct {
	// Log names the job.
	Log *zap.Logger

	runner  *Runner
	request Request
	kind    events.Kind
	spec    Spec
	options Options
	claim   *ledger.Claim
	slot    *Slot
	base    context.Context //nolint:containedctx // the lifetime of all jobs

	plan   Plan
	public events.Plan
	items
}

// items are what came of the items of a job in an attempt.
type items struct {
	starting context.Context //nolint:containedctx // a lifetime: it ends when no more items are begun
	abort    context.CancelFunc
	running  sync.WaitGroup

	mu       sync.Mutex
	outcomes []events.ItemOutcome
	failure  error // why the job cannot go on now
}

// refuse holds a job without a plan against the time and the host's configuration.
// What was accepted before is carried to its end.
func (a *Attempt) refuse(now time.Time) *Refusal {
	if a.claim.Plan() != nil || len(a.claim.Terminal()) > 0 || a.claim.Cancelled() {
		return nil
	}
	if refusal := a.request.Expired(now); refusal != nil {
		return refusal
	}
	return a.spec.Refuse()
}

// settle decides what the attempt's end means for the message.
func (a *Attempt) settle(err error) Verdict {
	d := dispositionOf(a.base, err)
	switch d {
	case Done:
		a.Log.Info("job ended", zap.Uint64("attempt", a.claim.Attempt()),
			zap.Duration("after", time.Since(a.claim.Began()).Round(time.Millisecond)))
	case Superseded:
		a.Log.Warn("the job is another worker's now; it is left", zap.Error(err))
	case Interrupted:
		a.recordInterruption(false)
		a.Log.Info("job stopped; it will be done by the next worker")
		return Verdict{Disposition: d, After: StoppedDelay}
	default:
		if errors.Is(err, ledger.ErrNewer) {
			return a.leaveToNewer(err)
		}
		a.recordInterruption(errors.Is(err, ErrAway))
		a.Log.Warn("job put off", zap.Error(err))
		return Verdict{Disposition: d, After: RetryDelay}
	}
	return Verdict{Disposition: d}
}

// leaveToNewer leaves a job to a worker of the version that wrote what the ledger has
// of it. That is logged once.
func (a *Attempt) leaveToNewer(err error) Verdict {
	if _, logged := a.runner.newer.LoadOrStore(a.request.Job, true); !logged {
		a.Log.Error("the job is left to a newer version of Holdfast", zap.Error(err))
	}
	return Verdict{Disposition: RetryLater, After: NewerDelay}
}

// recordInterruption records in the ledger that the attempt ended in order.
func (a *Attempt) recordInterruption(away bool) {
	if a.claim == nil || len(a.claim.Terminal()) > 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.base), recordBound)
	defer cancel()
	if err := a.claim.PutOff(ctx, away); err != nil {
		a.Log.Warn("the ledger does not know that the job is put off", zap.Error(err))
	}
}

// run carries the job on from where the ledger has it, up to the terminal event. An
// error means that it is not there yet.
func (a *Attempt) run(ctx context.Context) error {
	if terminal := a.claim.Terminal(); len(terminal) > 0 {
		err := a.repeat(terminal)
		if final(err) { // what cannot be read cannot be repeated
			err = a.republish(terminal)
		}
		return cmp.Or(err, a.follow())
	}
	if a.claim.Cancelled() {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		cancel(ErrCancelled)
	}
	ctx, cancel := a.boundJob(ctx)
	defer cancel()
	var terminal event.Event
	err := panics.Catch(func() (err error) {
		terminal, err = a.work(ctx)
		return err
	})
	if panics.Stack(err) != nil {
		a.Log.Error("the job ends by a fault of Holdfast", zap.Error(err), panics.LogStack(err))
	}
	if final(err) && a.base.Err() == nil {
		terminal, err = a.ended(nil, cause(ctx, err)), nil
	}
	if err != nil {
		return err
	}
	err = a.end(terminal)
	if final(err) { // the server takes less than it should
		err = a.end(a.ended(nil, err))
	}
	return cmp.Or(err, a.follow())
}

// cause is why ctx ended, or else err.
func cause(ctx context.Context, err error) error {
	if why := context.Cause(ctx); why != nil {
		return why
	}
	return err
}

// errGaveUp is why a job ends at whose planning the worker has died too often.
var errGaveUp = fmt.Errorf("the worker died %d times before the job had a plan; its log may say why", MaxTries)

// planFailure is why a job cannot be planned, now or later.
type planFailure struct{ error }

func (f planFailure) Unwrap() error { return f.error }

// final reports whether trying again cannot help, so that the job is to end.
func final(err error) bool {
	if errors.Is(err, ledger.ErrNewer) {
		return false // a newer version can go on
	}
	_, unplannable := errors.AsType[planFailure](err)
	return unplannable || isAny(err, ledger.ErrDamaged, ledger.ErrTooLarge, bus.ErrTooLarge, errGaveUp) || panics.Stack(err) != nil
}

// boundJob gives the job the time that its request and the configuration allow it,
// counted from its first attempt.
func (a *Attempt) boundJob(ctx context.Context) (context.Context, context.CancelFunc) {
	bound := a.runner.Timeouts.Job
	if own := a.options.Timeout; own > 0 && (bound == 0 || own < bound) {
		bound = own
	}
	if bound == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithDeadlineCause(ctx, a.claim.Began().Add(bound), ErrTimeout)
}

// work does what is left of the job, and returns its terminal event.
func (a *Attempt) work(ctx context.Context) (event.Event, error) {
	// Under base: a job that was cancelled undoes what it began, too.
	if err := errors.Join(a.claim.Damaged(), AdoptRecords(a.base, a.runner.Sweeper, a.request.Job, a.claim.Begun())); err != nil {
		return event.Event{}, err
	}
	if err := a.makePlan(ctx); err != nil {
		if why := context.Cause(ctx); why != nil && a.base.Err() == nil {
			return a.ended(nil, why), nil
		}
		if errors.Is(err, ErrAway) && !a.MayRetry() {
			return a.ended(nil, err), nil
		}
		return event.Event{}, err
	}
	if a.options.DryRun {
		data := events.Planned{Job: a.request.Job, Host: a.runner.Host, Plan: a.public}
		return a.terminal(events.ResultPlanned, data), nil
	}
	if err := a.announce(); err != nil {
		return event.Event{}, err
	}
	step.At(ctx, step.Accepted)
	if err := a.runItems(ctx); err != nil {
		return event.Event{}, err
	}
	return a.ended(a.outcomes, context.Cause(ctx)), nil
}

// makePlan takes the plan that is in the ledger. If there is none yet, the kind makes
// it.
func (a *Attempt) makePlan(ctx context.Context) error {
	if raw := a.claim.Plan(); raw != nil {
		p, err := a.spec.DecodePlan(raw)
		if err == nil {
			a.setPlan(p)
		}
		return err
	}
	if a.claim.Failed() >= MaxTries {
		return errGaveUp
	}
	p, err := a.spec.Plan(ctx)
	switch {
	case err != nil && (errors.Is(err, ErrAway) || ctx.Err() != nil):
		return err
	case err != nil:
		a.Log.Warn("the job cannot be planned", zap.Error(err))
		return planFailure{err}
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode the plan: %w", err)
	}
	if err := a.claim.SetPlan(a.base, raw); err != nil {
		return err
	}
	step.At(ctx, step.Planned)
	a.setPlan(p)
	return nil
}

func (a *Attempt) setPlan(p Plan) { a.plan, a.public = p, p.Public() }

// announce publishes the plan, and the names that lead to nothing.
func (a *Attempt) announce() error {
	data := events.Accepted{Job: a.request.Job, Host: a.runner.Host, Sink: a.options.Sink, Sinks: a.options.Sinks, Plan: a.public}
	if err := a.publish(a.event(a.plan.Made(), events.ResultAccepted, a.request.Job, "", data)); err != nil {
		return err
	}
	for _, m := range a.public.Missing {
		data := events.ItemFailed{Job: a.request.Job, Host: a.runner.Host, Item: events.Item{Kind: m.Kind, Name: m.Name},
			Step: events.StepPlan, Code: m.Code, Message: m.Message}
		if err := a.publish(a.event(a.plan.Made(), events.ResultItemFailed, m.Name, string(m.Kind)+"\x00"+m.Name, data)); err != nil {
			return err
		}
	}
	return nil
}

// MayRetry reports whether the job may be put off because the Engine or the sink is
// away.
func (a *Attempt) MayRetry() bool {
	since := a.claim.AwaySince()
	if since.IsZero() {
		return a.runner.RetryFor > 0
	}
	return time.Since(since) < a.runner.RetryFor
}

// end stores the terminal event, and publishes the one that counts.
func (a *Attempt) end(terminal event.Event) error {
	raw, err := EncodeEnd(a.runner.Host, a.request.Job, terminal)
	if err != nil {
		return err
	}
	if err := a.runner.Lease.Confirm(a.base); err != nil {
		return err
	}
	counts, err := a.claim.End(a.base, raw)
	if err != nil {
		return err
	}
	step.At(a.base, step.Ended)
	if err := a.republish(counts); err != nil {
		return err
	}
	step.At(a.base, step.EndReported)
	return nil
}

// repeat publishes again, word for word, what was said of a job that has ended.
func (a *Attempt) repeat(terminal []byte) error {
	if raw := a.claim.Plan(); raw != nil && !a.options.DryRun {
		p, err := a.spec.DecodePlan(raw)
		if err != nil {
			return err
		}
		a.setPlan(p)
		if err := a.announce(); err != nil {
			return err
		}
		for i := range a.public.Items {
			raw, ok := a.claim.Outcomes()[i]
			if !ok {
				continue
			}
			if _, err := a.publishOutcome(raw); err != nil {
				return err
			}
		}
	}
	return a.republish(terminal)
}

// republish publishes the terminal event as it lies in the ledger.
func (a *Attempt) republish(terminal []byte) error {
	m, err := DecodeEnd(terminal)
	if err != nil {
		return err
	}
	return a.runner.send(a.base, m)
}

func (a *Attempt) publish(ev event.Event) error {
	m, err := events.NewMessage(events.EventSubject(a.runner.Host, a.request.Job, ev.Type()), ev)
	if err != nil {
		return err
	}
	return a.runner.send(a.base, m)
}

// event makes a result of the job, of the time at.
func (a *Attempt) event(at time.Time, result events.Result, subject, discriminator string, data any) event.Event {
	return events.NewResult(at, a.runner.Host, a.request.Job, a.request.Event, a.kind.ResultType(result), subject, discriminator, data)
}
