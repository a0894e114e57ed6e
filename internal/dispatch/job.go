package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/consume"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/ledger"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/plan"
	"holdfast.io/holdfast/internal/step"
)

// job is one attempt at a backup request on this host.
type job struct {
	*Worker
	*request
	claim *ledger.Claim
	slot  *heldSlot
	sink  string
	// base is the context of all jobs; what a job has to say is said under it.
	base context.Context
	log  *zap.Logger
}

// backup carries a backup request out, and acknowledges its message when the
// terminal event is stored.
func (w *Worker) backup(base context.Context, m *consume.Message, req *request, slot *heldSlot) {
	base = w.logSteps(base, req.job)
	ctx, cancel := context.WithCancelCause(base)
	defer cancel(nil)
	if !w.begin(req.job, cancel) {
		w.again(base, m, req)
		return
	}
	defer w.end(req.job)

	claim, err := w.claim(ctx, m, req)
	if errors.Is(err, ledger.ErrReused) {
		w.reject(base, m, req.reused())
		return
	}
	j := &job{Worker: w, request: req, claim: claim, slot: slot, base: base,
		sink: cmp.Or(req.backupData.Sink, events.DefaultSink), log: w.Log.With(zap.String("job", req.job))}
	if err == nil {
		if rejection := j.refuse(time.Now()); rejection != nil {
			w.reject(base, m, rejection)
			return
		}
		err = j.attempt(ctx)
	}
	j.settle(m, err)
}

// logSteps has the steps that a job passes logged, for those who look closer.
func (w *Worker) logSteps(ctx context.Context, job string) context.Context {
	log := w.Log.With(zap.String("job", job))
	return step.Observe(ctx, func(_ context.Context, passed step.Name) {
		log.Debug("step passed", zap.String("step", string(passed)))
	})
}

// again is for a request whose job runs already. When it is delivered later, the
// job has ended, and is repeated.
func (w *Worker) again(ctx context.Context, m *consume.Message, req *request) {
	known, err := w.Jobs.Look(ctx, req.job)
	if err == nil && known.Digest != "" && known.Digest != req.digest {
		w.reject(ctx, m, req.reused())
		return
	}
	w.later(m, duplicateDelay)
}

func (r *request) reused() *rejection {
	return r.rejected(events.ReasonIDReused, events.Violation{Pointer: "/id",
		Message: "the same source and id came before with another type or other data; give every request an id of its own"})
}

// claim makes the job this worker's.
func (w *Worker) claim(ctx context.Context, m *consume.Message, req *request) (*ledger.Claim, error) {
	if err := w.Lease.Confirm(ctx); err != nil {
		return nil, err
	}
	claim, err := w.Jobs.Claim(ctx, ledger.Request{Job: req.job, Digest: req.digest, Reply: m.Reply, Stored: m.Time})
	if err == nil {
		step.At(ctx, step.Claimed)
	}
	return claim, err
}

// settle does with the message what the attempt's end asks for.
func (j *job) settle(m *consume.Message, err error) {
	switch f := fateOf(j.base, err); f {
	case told:
		j.done(j.base, m)
		j.log.Info("job ended", zap.Uint64("attempt", j.claim.Attempt()), zap.Duration("after", time.Since(j.claim.Began()).Round(time.Millisecond)))
	case lost:
		j.log.Warn("the job is another worker's now; it is left", zap.Error(err))
	case handedOn:
		j.farewell(false)
		j.log.Info("job stopped; it will be done by the next worker")
		j.later(m, stoppedDelay)
	case postponed:
		if errors.Is(err, ledger.ErrNewer) {
			j.leaveToNewer(m, err)
			return
		}
		j.farewell(errors.Is(err, backup.ErrAway))
		j.log.Warn("job put off", zap.Error(err))
		j.later(m, putOffDelay)
	}
}

// leaveToNewer leaves a job to a worker of the version that wrote what the ledger has
// of it. That is logged once.
func (j *job) leaveToNewer(m *consume.Message, err error) {
	if _, logged := j.newer.LoadOrStore(j.job, true); !logged {
		j.log.Error("the job is left to a newer version of Holdfast", zap.Error(err))
	}
	j.later(m, newerDelay)
}

// farewell enters that the attempt ended with a word.
func (j *job) farewell(away bool) {
	if j.claim == nil || len(j.claim.Terminal()) > 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(j.base), farewellBound)
	defer cancel()
	if err := j.claim.PutOff(ctx, away); err != nil {
		j.log.Warn("that the job is put off could not be entered in the ledger", zap.Error(err))
	}
}

// attempt carries the job on from where the ledger has it, up to the terminal
// event. An error means that it is not there yet.
func (j *job) attempt(ctx context.Context) error {
	if terminal := j.claim.Terminal(); len(terminal) > 0 {
		err := j.repeatAll(terminal)
		if final(err) { // what cannot be read cannot be repeated
			err = j.republish(j.base, terminal)
		}
		return err
	}
	if j.claim.Cancelled() {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		cancel(backup.ErrCancelled)
	}
	ctx, cancel := j.bounded(ctx)
	defer cancel()
	var terminal event.Event
	err := panics.Catch(func() (err error) {
		terminal, err = j.run(ctx)
		return err
	})
	if stack := panics.Stack(err); stack != nil {
		j.log.Error("the job ends by a fault of Holdfast", zap.Error(err), zap.ByteString("stack", stack))
	}
	if final(err) {
		terminal, err = j.ended(nil, nil, cmp.Or(context.Cause(ctx), err)), nil
	}
	if err != nil {
		return err
	}
	err = j.conclude(terminal)
	if final(err) { // the server takes less than it should
		err = j.conclude(j.ended(nil, nil, err))
	}
	return err
}

// errGaveUp is why a job ends at whose planning the worker has died too often.
var errGaveUp = fmt.Errorf("the worker died %d times before the job had a plan; its log may say why", maxTries)

// final reports whether trying again cannot help, so that the job is to end.
func final(err error) bool {
	return isAny(err, ledger.ErrDamaged, ledger.ErrTooLarge, bus.ErrTooLarge, errGaveUp) || panics.Stack(err) != nil
}

// bounded gives the job the time that its request and the configuration allow it,
// counted from its first attempt.
func (j *job) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	bound := j.Timeouts.Job
	if own, err := time.ParseDuration(j.backupData.Timeout); err == nil && (bound == 0 || own < bound) {
		bound = own
	}
	if bound == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithDeadlineCause(ctx, j.claim.Began().Add(bound), backup.ErrTimeout)
}

// run does what is left of the job, and returns its terminal event.
func (j *job) run(ctx context.Context) (event.Event, error) {
	if err := errors.Join(j.claim.Damaged(), AdoptRecords(ctx, j.Sweeper, j.job, j.claim.Begun())); err != nil {
		return event.Event{}, err
	}
	p, err := j.plan(ctx)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && j.base.Err() == nil {
			return j.ended(nil, nil, cause), nil
		}
		if engine.IsLasting(err) || errors.Is(err, backup.ErrAway) && !j.mayWait() {
			j.Log.Warn("the job cannot be planned", zap.String("job", j.job), zap.Error(err))
			return j.ended(nil, nil, err), nil
		}
		return event.Event{}, err
	}
	if j.backupData.DryRun {
		data := events.Planned{Job: j.job, Host: j.Host, Plan: p.Public()}
		return j.terminal(events.Backup.ResultType(events.ResultPlanned), data), nil
	}
	if err := j.announce(p); err != nil {
		return event.Event{}, err
	}
	step.At(ctx, step.Accepted)
	outcomes, err := j.items(ctx, p)
	if err != nil {
		return event.Event{}, err
	}
	return j.ended(p, outcomes, context.Cause(ctx)), nil
}

// announce publishes the plan, and the names that lead to nothing.
func (j *job) announce(p *plan.Plan) error {
	data := events.Accepted{Job: j.job, Host: j.Host, Sink: j.sink, Plan: p.Public()}
	if err := j.publish(j.base, j.job, j.event(p.Time, events.Backup.ResultType(events.ResultAccepted), j.job, "", data)); err != nil {
		return err
	}
	for _, m := range p.Missing {
		data := events.ItemFailed{Job: j.job, Host: j.Host, Item: events.Item{Kind: m.Kind, Name: m.Name},
			Step: events.StepPlan, Code: m.Code, Message: m.Message}
		ev := j.event(p.Time, events.Backup.ResultType(events.ResultItemFailed), m.Name, string(m.Kind)+"\x00"+m.Name, data)
		if err := j.publish(j.base, j.job, ev); err != nil {
			return err
		}
	}
	return nil
}

// plan returns the plan that is in the ledger. If there is none yet, it asks the
// Engine what there is, decides what the request means, and enters it.
func (j *job) plan(ctx context.Context) (*plan.Plan, error) {
	if raw := j.claim.Plan(); raw != nil {
		return j.decodePlan(raw)
	}
	if j.claim.Failed() >= maxTries {
		return nil, errGaveUp
	}
	p, err := j.makePlan(ctx)
	if err != nil {
		return nil, err
	}
	raw, err := p.Encode()
	if err != nil {
		return nil, err
	}
	if err := j.claim.SetPlan(j.base, raw); err != nil {
		return nil, err
	}
	step.At(ctx, step.Planned)
	return p, nil
}

// decodePlan reads a plan in the ledger.
func (j *job) decodePlan(raw []byte) (*plan.Plan, error) {
	p, err := plan.Decode(raw)
	switch {
	case errors.Is(err, plan.ErrNewer):
		return nil, fmt.Errorf("%w (%w)", ledger.ErrNewer, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ledger.ErrDamaged, err)
	}
	return p, nil
}

func (j *job) makePlan(ctx context.Context) (*plan.Plan, error) {
	var containers []engine.Container
	var images []engine.Image
	var err error
	if j.backupData.Containers != nil {
		if containers, err = j.Runner.Engine.Containers(ctx); err != nil {
			return nil, planError(err, "list the containers")
		}
	}
	if j.backupData.Images != nil {
		if images, err = j.Runner.Engine.Images(ctx); err != nil {
			return nil, planError(err, "list the images")
		}
	}
	labels, err := j.imageLabels(ctx, containers)
	if err != nil {
		return nil, err
	}
	namespaces, err := j.namespaces(ctx, containers)
	if err != nil {
		return nil, err
	}
	about, err := j.Runner.Engine.About(ctx)
	if err != nil {
		return nil, planError(err, "ask the Engine what it is")
	}
	return plan.Make(time.Now(), j.backupData, containers, images, plan.Rules{
		Quiesce:      j.Policy.Quiesce,
		Allowed:      j.Policy.Containers,
		HooksAllowed: j.Runner.HooksAllowed,
		ImageLabels:  labels,
		Namespaces:   namespaces,
		Warnings:     plan.EngineWarnings(about),
		Protected:    plan.Protected(containers, j.Lifeline(ctx, containers)),
		SkipMissing:  j.target == events.TargetAll,
		Explain:      j.backupData.DryRun,
	}), nil
}

// mayWait reports whether the job may be put off because the Engine or the sink is
// away.
func (j *job) mayWait() bool {
	since := j.claim.AwaySince()
	if since.IsZero() {
		return j.RetryFor > 0
	}
	return time.Since(since) < j.RetryFor
}

// conclude enters the terminal event, and publishes the one that stands.
func (j *job) conclude(terminal event.Event) error {
	raw, err := j.encodeEnd(j.job, terminal)
	if err != nil {
		return err
	}
	if err := j.Lease.Confirm(j.base); err != nil {
		return err
	}
	stands, err := j.claim.End(j.base, raw)
	if err != nil {
		return err
	}
	step.At(j.base, step.Ended)
	if err := j.republish(j.base, stands); err != nil {
		return err
	}
	step.At(j.base, step.EndReported)
	return nil
}

// repeatAll publishes again, word for word, what was said of a job that has ended.
func (j *job) repeatAll(terminal []byte) error {
	if raw := j.claim.Plan(); raw != nil && !j.backupData.DryRun {
		p, err := j.decodePlan(raw)
		if err != nil {
			return err
		}
		if err := j.announce(p); err != nil {
			return err
		}
		for i := range p.Items {
			stands, ok := j.claim.Outcomes()[i]
			if !ok {
				continue
			}
			if _, err := j.tell(stands); err != nil {
				return err
			}
		}
	}
	return j.republish(j.base, terminal)
}

func (j *job) event(at time.Time, eventType, subject, discriminator string, data any) event.Event {
	return j.result(at, j.job, j.request.event, eventType, subject, discriminator, data)
}
