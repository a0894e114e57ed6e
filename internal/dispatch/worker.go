// Package dispatch turns messages into verdicts: a request is held against the
// contract and carried out as a job of its kind, and what comes of it says whether its
// message is done, comes again, or is rejected.
package dispatch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus/consume"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/lease"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/step"
)

// Source is where requests come from. Next blocks until it has taken one
// message, or ctx ends; a message that was taken is never lost. Another error
// means that no more will come.
type Source interface {
	Next(ctx context.Context) (*consume.Message, error)
}

// Publisher stores dead letters.
type Publisher interface {
	// PublishMessage stores a rejection. It returns when it is stored, and retries until
	// ctx ends while the server is away.
	PublishMessage(ctx context.Context, m events.Message) error
	// PublishDeadLetter stores one entry however often it is called with id, as
	// PublishMessage does.
	PublishDeadLetter(ctx context.Context, subject, id string, body []byte) error
}

// Worker serves one host while it holds the lease. Its fields are not changed once Run is
// called.
type Worker struct {
	// Host is the host's id.
	Host string
	// Kinds carry out requests, and Allowed are the kinds that the host's configuration
	// allows, cancel among them.
	Kinds   []job.Kind
	Allowed []events.Kind
	// Runner runs the jobs, and has the slots that messages are taken for.
	Runner    *job.Runner
	Publisher Publisher
	// Busy is told that a request is taken, and ended that it is settled; nil for nobody.
	Busy func() (ended func())
	Log  *zap.Logger

	jobs sync.WaitGroup
}

// Running returns the ids of the jobs that run, sorted.
func (w *Worker) Running() []string { return w.Runner.Running() }

// Run takes messages until ctx ends. Then it takes no more, gives running jobs
// grace to end, and after that stops them: what is unfinished is undone and its
// message is delivered again. If ctx ends because the host is served by another worker,
// they are stopped at once, and nothing is said of them any more. It returns when
// nothing runs any more.
func (w *Worker) Run(ctx context.Context, work, cancels []Source, grace time.Duration) {
	base, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)

	var taking sync.WaitGroup
	for _, from := range work {
		taking.Go(func() { w.takeWork(ctx, base, from) })
	}
	for _, from := range cancels {
		taking.Go(func() { w.takeCancels(ctx, base, from) })
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		taking.Wait()
		w.jobs.Wait()
	}()
	<-ctx.Done()
	if errors.Is(context.Cause(ctx), lease.ErrLost) {
		stop(lease.ErrLost)
	}
	select {
	case <-ended:
	case <-time.After(grace):
		w.Log.Warn("the jobs that still run are stopped; they will be done by the next worker", zap.Duration("grace", grace))
		stop(job.ErrStopping)
		<-ended
	}
}

// takeWork takes messages one by one, each only while a slot is free for it.
func (w *Worker) takeWork(ctx, base context.Context, from Source) {
	for ctx.Err() == nil {
		free, cancel, err := w.Runner.Slots.WhileFree(ctx)
		if err != nil {
			return
		}
		m, err := from.Next(free)
		taken := free.Err() != nil // the slots, meanwhile
		cancel()
		switch {
		case err != nil && taken:
		case err != nil:
			w.sourceEnded(err)
			return
		case ctx.Err() != nil || !w.Runner.Slots.TryAcquire(): // another source was quicker
			w.later(m, 0)
		default:
			w.jobs.Go(func() {
				if w.Busy != nil {
					defer w.Busy()()
				}
				w.handle(base, m, w.Runner.Slots.Slot(true))
			})
		}
	}
}

// takeCancels needs no slot: a cancellation must get through when all are taken.
func (w *Worker) takeCancels(ctx, base context.Context, from Source) {
	for ctx.Err() == nil {
		m, err := from.Next(ctx)
		switch {
		case err == nil:
			w.handle(base, m, w.Runner.Slots.Slot(false))
		case ctx.Err() == nil:
			w.sourceEnded(err)
			return
		}
	}
}

// sourceEnded logs a source that brings nothing any more.
func (w *Worker) sourceEnded(err error) {
	w.Log.Error("no more requests come from one of their sources", zap.Error(err))
}

// handle carries one message to its end.
func (w *Worker) handle(ctx context.Context, m *consume.Message, slot *job.Slot) {
	defer slot.Release()
	defer m.KeepAlive(ctx)()

	v := again(job.RetryDelay)
	err := panics.Catch(func() error {
		v = w.carryOut(ctx, m, slot)
		return nil
	})
	if err != nil {
		w.Log.Error("a request could not be handled by a fault of Holdfast; it comes again", zap.String("stream", m.Stream),
			zap.Uint64("sequence", m.Sequence), zap.Error(err), panics.LogStack(err))
	}
	w.apply(ctx, m, v)
}

// carryOut decides what is to be done with a message.
func (w *Worker) carryOut(ctx context.Context, m *consume.Message, slot *job.Slot) verdict {
	req, rejection := admit(m, w.Host, w.Kinds)
	switch {
	case rejection != nil:
		return rejected(rejection)
	case !slices.Contains(w.Allowed, req.kind):
		return rejected(req.rejected(events.ReasonPolicy, events.Violation{
			Message: fmt.Sprintf("host %s takes no requests of kind %s (policy.kinds in its configuration)", w.Host, req.kind)}))
	case req.cancels != nil:
		return w.cancel(ctx, req)
	}
	v := w.Runner.Run(ctx, req.Request, req.kind, req.spec, slot)
	switch v.Disposition {
	case job.Done:
		return done
	case job.Superseded:
		return left
	case job.Refused:
		r := req.rejected(v.Refusal.Reason, v.Refusal.Violations...)
		r.claim = v.Claim
		return rejected(r)
	default:
		return again(v.After)
	}
}

// done acknowledges a message whose terminal event is stored.
func (w *Worker) done(ctx context.Context, m *consume.Message) {
	if err := m.Done(ctx); err != nil {
		// It comes again, and ends the same way.
		w.Log.Warn("a finished request could not be acknowledged", zap.Uint64("sequence", m.Sequence), zap.Error(err))
		return
	}
	step.At(ctx, step.Acknowledged)
}

// later has a message delivered again after the delay, jittered so that many
// hosts do not come back at the same moment.
func (w *Worker) later(m *consume.Message, delay time.Duration) {
	if delay > 0 {
		delay += rand.N(delay)
	}
	if err := m.Later(delay); err != nil && !errors.Is(err, context.Canceled) {
		w.Log.Warn("a request could not be put back; it comes again by itself", zap.Uint64("sequence", m.Sequence), zap.Error(err))
	}
}
