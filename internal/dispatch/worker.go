// Package dispatch carries requests out: a message comes in, is held against the
// contract and the host's policy, becomes a job, and every step of the job goes
// out as an event. It decides what each error means for the message: done,
// rejected, or again later.
package dispatch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/bus/consume"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/lease"
	"holdfast.io/holdfast/internal/ledger"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/plan"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/step"
	"holdfast.io/holdfast/internal/undo"
)

// Source is where requests come from. Next blocks until it has taken one
// message, or ctx ends; a message that was taken is never lost. Another error
// means that no more will come.
type Source interface {
	Next(ctx context.Context) (*consume.Message, error)
}

// Publisher sends what a worker has to say. Its methods return when the message
// is stored, and retry until ctx ends while the server is away.
type Publisher interface {
	PublishMessage(ctx context.Context, m events.Message) error
	// PublishDeadLetter stores one entry however often it is called with id.
	PublishDeadLetter(ctx context.Context, subject, id string, body []byte) error
	// PublishProgress sends without waiting, to whoever listens.
	PublishProgress(subject string, ev event.Event) error
}

// Sinks are the sinks that the host's configuration names.
type Sinks interface {
	Has(name string) bool
	Names() []string
	Open(ctx context.Context, name string) (sink.Sink, error)
}

// Lease is the right to serve the host.
type Lease interface {
	// Confirm returns when it is certain that no other worker serves the host. It
	// reports lease.ErrLost, or the cause of ctx.
	Confirm(ctx context.Context) error
}

// Sweeper undoes what an attempt left behind.
type Sweeper interface {
	// Adopt undoes what the record names. When it has returned, the record is on disk,
	// and no other attempt gets the container before that has been resumed. With whole
	// unset the container is left alone.
	Adopt(ctx context.Context, r undo.Record, whole bool) error
}

// Timeouts bound what a job may take. 0 means no bound.
type Timeouts struct {
	// Job bounds a whole job, from its first attempt on; a request may set a shorter
	// one.
	Job time.Duration
	// Item bounds one attempt at an item.
	Item time.Duration
}

// Worker serves one host while it holds the lease. Its fields are not changed once Run is
// called.
type Worker struct {
	// Host is the host's id.
	Host     string
	Runner   *backup.Runner
	Sinks    Sinks
	Policy   Policy
	Timeouts Timeouts
	// RetryFor is how long a job is put off while the Engine or the sink is away,
	// before its items fail.
	RetryFor time.Duration
	// Lifeline returns what the worker's own life hangs on at this moment, given the
	// containers on the Engine.
	Lifeline  func(ctx context.Context, containers []engine.Container) plan.Lifeline
	Publisher Publisher
	Jobs      *ledger.Jobs
	Lease     Lease
	Sweeper   Sweeper
	Slots     *Slots
	Log       *zap.Logger

	jobs sync.WaitGroup
	mu   sync.Mutex
	runs map[string]context.CancelCauseFunc // running jobs by id

	newer sync.Map // ids of jobs that are left to a newer version
}

// Delays before a message that could not be worked on is delivered again.
const (
	putOffDelay    = 10 * time.Second // the Engine is away, or an event could not be stored
	duplicateDelay = 15 * time.Second
	stoppedDelay   = time.Second
	newerDelay     = time.Minute // only a newer version can go on
)

// farewellBound is how long a worker that stops takes at most to say of a job that
// it ends with a word.
const farewellBound = 2 * time.Second

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
		stop(backup.ErrLost)
	}
	select {
	case <-ended:
	case <-time.After(grace):
		w.Log.Warn("the jobs that still run are stopped; they will be done by the next worker", zap.Duration("grace", grace))
		stop(backup.ErrStopping)
		<-ended
	}
}

// takeWork takes messages one by one, each only while a slot is free for it.
func (w *Worker) takeWork(ctx, base context.Context, from Source) {
	for ctx.Err() == nil {
		free, cancel, err := w.Slots.WhileFree(ctx)
		if err != nil {
			return
		}
		m, err := from.Next(free)
		taken := free.Err() != nil // the slots, meanwhile
		cancel()
		switch {
		case err != nil && taken:
		case err != nil:
			w.ended(err)
			return
		case ctx.Err() != nil || !w.Slots.TryAcquire(): // another source was quicker
			w.later(m, 0)
		default:
			w.jobs.Go(func() { w.handle(base, m, &heldSlot{slots: w.Slots, held: true}) })
		}
	}
}

// takeCancels needs no slot: a cancellation must get through when all are taken.
func (w *Worker) takeCancels(ctx, base context.Context, from Source) {
	for ctx.Err() == nil {
		m, err := from.Next(ctx)
		switch {
		case err == nil:
			w.handle(base, m, &heldSlot{slots: w.Slots})
		case ctx.Err() == nil:
			w.ended(err)
			return
		}
	}
}

// ended reports a source that brings nothing any more.
func (w *Worker) ended(err error) {
	w.Log.Error("no more requests come from one of their sources", zap.Error(err))
}

// handle carries one message to its end.
func (w *Worker) handle(ctx context.Context, m *consume.Message, slot *heldSlot) {
	defer slot.release()
	defer m.KeepAlive(ctx)()

	err := panics.Catch(func() error {
		w.carryOut(ctx, m, slot)
		return nil
	})
	if err != nil {
		w.Log.Error("a request could not be handled by a fault of Holdfast; it comes again", zap.String("stream", m.Stream),
			zap.Uint64("sequence", m.Sequence), zap.Error(err), zap.ByteString("stack", panics.Stack(err)))
		w.later(m, putOffDelay)
	}
}

func (w *Worker) carryOut(ctx context.Context, m *consume.Message, slot *heldSlot) {
	req, rejection := admit(m, w.Host)
	if rejection == nil && !w.Policy.allowsKind(req.kind) {
		rejection = req.rejected(events.ReasonPolicy, events.Violation{
			Message: fmt.Sprintf("host %s takes no requests of kind %s (policy.kinds in its configuration)", w.Host, req.kind)})
	}
	if rejection != nil {
		w.reject(ctx, m, rejection)
		return
	}
	switch req.kind {
	case events.Cancel:
		w.cancel(ctx, m, req)
	case events.Backup:
		w.backup(ctx, m, req, slot)
	}
}

// begin enters a job among those that run. It reports false if it runs already.
func (w *Worker) begin(job string, cancel context.CancelCauseFunc) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.runs == nil {
		w.runs = map[string]context.CancelCauseFunc{}
	}
	if _, runs := w.runs[job]; runs {
		return false
	}
	w.runs[job] = cancel
	return true
}

func (w *Worker) end(job string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.runs, job)
}

// Running returns the ids of the jobs that run, sorted.
func (w *Worker) Running() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.runs))
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

// heldSlot is the slot that a message was taken for. Its first item works in it.
type heldSlot struct {
	slots *Slots
	held  bool
}

// next returns with a slot taken: the held one first. The error is that of ctx.
func (h *heldSlot) next(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if h.held {
		h.held = false
		return nil
	}
	return h.slots.Acquire(ctx)
}

func (h *heldSlot) release() {
	if h.held {
		h.held = false
		h.slots.Release()
	}
}
