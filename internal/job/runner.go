package job

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/ledger"
	"holdfast.io/holdfast/internal/step"
	"holdfast.io/holdfast/internal/undo"
)

// Publisher sends what a job has to say. PublishMessage returns when the message is
// stored, and retries until ctx ends while the server is away.
type Publisher interface {
	PublishMessage(ctx context.Context, m events.Message) error
	// PublishProgress sends without waiting, to whoever listens.
	PublishProgress(subject string, ev event.Event) error
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

// Runner runs the jobs of a host while its worker holds the lease. Its fields are not
// changed once Run is called. It may be used by several goroutines.
type Runner struct {
	// Host is the host's id.
	Host     string
	Timeouts Timeouts
	// RetryFor is how long a job is put off while the Engine or the sink is away,
	// before its items fail.
	RetryFor  time.Duration
	Publisher Publisher
	Jobs      *ledger.Jobs
	Lease     Lease
	Sweeper   Sweeper
	Slots     *Slots
	Log       *zap.Logger

	mu   sync.Mutex
	runs map[string]context.CancelCauseFunc // running jobs by id

	newer sync.Map // ids of jobs that are left to a newer version
}

// recordBound bounds the write that marks a job as interrupted when the worker stops.
const recordBound = 2 * time.Second

// Run carries out a request of a kind, as far as it gets before base ends, and says
// what is to be done with its message. What a job has to say is said under base.
func (r *Runner) Run(base context.Context, req Request, kind events.Kind, spec Spec, slot *Slot) Verdict {
	base = r.logSteps(base, req.Job)
	ctx, cancel := context.WithCancelCause(base)
	defer cancel(nil)
	if !r.register(req.Job, cancel) {
		return r.duplicate(base, req)
	}
	defer r.unregister(req.Job)

	claim, err := r.claim(ctx, req)
	if errors.Is(err, ledger.ErrReused) {
		return reused()
	}
	a := &Attempt{
		runner: r, request: req, kind: kind, spec: spec, options: spec.Options(),
		claim: claim, slot: slot, base: base, Log: r.Log.With(zap.String("job", req.Job)),
	}
	if err == nil {
		if refusal := a.refuse(time.Now()); refusal != nil {
			return Verdict{Disposition: Refused, Refusal: refusal, Claim: claim}
		}
		err = a.run(ctx)
	}
	return a.settle(err)
}

// Cancel ends a job, whether it runs, waits, or has not come yet. It is in the ledger
// before the job hears of it, so that a worker that dies now does not forget it. For
// a job that has ended otherwise than cancelled ended is true.
func (r *Runner) Cancel(ctx context.Context, id string) (ended bool, err error) {
	end, err := r.Jobs.Cancel(ctx, id)
	switch {
	case errors.Is(err, ledger.ErrEnded):
		return !endedCancelled(end), nil
	case err != nil:
		return false, err
	}
	r.mu.Lock()
	cancel := r.runs[id]
	r.mu.Unlock()
	if cancel != nil {
		cancel(ErrCancelled)
	}
	return false, nil
}

// Running returns the ids of the jobs that run, sorted.
func (r *Runner) Running() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.runs))
}

// register reports false if the job runs already.
func (r *Runner) register(id string, cancel context.CancelCauseFunc) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.runs == nil {
		r.runs = map[string]context.CancelCauseFunc{}
	}
	if _, runs := r.runs[id]; runs {
		return false
	}
	r.runs[id] = cancel
	return true
}

func (r *Runner) unregister(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.runs, id)
}

// duplicate is for a request whose job runs already. When it is delivered later, the
// job has ended, and is repeated.
func (r *Runner) duplicate(ctx context.Context, req Request) Verdict {
	known, err := r.Jobs.Of(req.Host).Get(ctx, req.Job)
	if err == nil && known.Digest != "" && known.Digest != req.Digest {
		return reused()
	}
	return Verdict{Disposition: RetryLater, After: DuplicateDelay}
}

func reused() Verdict {
	return Verdict{Disposition: Refused, Refusal: Refuse(events.ReasonIDReused, "/id",
		"the same source and id came before with another type or other data; give every request an id of its own")}
}

// claim makes the job this worker's.
func (r *Runner) claim(ctx context.Context, req Request) (*ledger.Claim, error) {
	if err := r.Lease.Confirm(ctx); err != nil {
		return nil, err
	}
	claim, err := r.Jobs.Of(req.Host).Claim(ctx, ledger.Request{Job: req.Job, Digest: req.Digest, Reply: req.Reply, Stored: req.Stored})
	if err == nil {
		step.At(ctx, step.Claimed)
	}
	return claim, err
}

// logSteps has the steps that a job passes logged, for those who look closer.
func (r *Runner) logSteps(ctx context.Context, id string) context.Context {
	log := r.Log.With(zap.String("job", id))
	return step.Observe(ctx, func(_ context.Context, passed step.Name) {
		log.Debug("step passed", zap.String("step", string(passed)))
	})
}

func (r *Runner) send(ctx context.Context, m events.Message) error {
	if err := r.Publisher.PublishMessage(ctx, m); err != nil {
		return fmt.Errorf("publish on %s: %w", m.Subject, err)
	}
	return nil
}
