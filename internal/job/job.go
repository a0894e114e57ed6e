// Package job carries out any request from the ledger, whatever its kind: it claims
// the job, plans it once, works off its items, repeats what was said before, and ends
// it. What a kind does is behind the ports Kind and Spec.
package job

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/failure"
)

// Kind carries out the requests of one kind.
type Kind interface {
	Name() events.Kind
	// Parse reads the data of a request. It is pure. An error is an
	// *events.InvalidError.
	Parse(r Request) (Spec, error)
}

// Spec is one request as its kind carries it out. Its methods are called by one
// goroutine, in their order, and by each attempt at the job anew.
type Spec interface {
	Options() Options
	// Refuse holds the request against the host's configuration. It returns nil if it
	// is allowed.
	Refuse() *Refusal
	// Plan decides what the request means now. It looks, and touches nothing. Its
	// error is ErrAway if the same can be tried again later; any other ends the job.
	Plan(ctx context.Context) (Plan, error)
	// DecodePlan reads the stored form of a plan. It reports ledger.ErrNewer or
	// ledger.ErrDamaged.
	DecodePlan(raw []byte) (Plan, error)
	// Run works off the items of the attempt that are pending, and returns when all
	// that it began has ended. What came of each it tells the attempt.
	Run(ctx context.Context, a *Attempt)
}

// Plan is what a job will do. It is in the ledger from the first attempt on, so that
// later changes do not alter it. It is stored as its JSON, with its form as the member
// version.
type Plan interface {
	// Public is what is published of it, with all items in their places.
	Public() events.Plan
	// Made is when it was made.
	Made() time.Time
}

// Request is what a job is for.
type Request struct {
	// Job is the job's id, and Host whose job it is: the host, or events.HostAny.
	Job, Host string
	Target    events.Target
	Event     event.Event
	// Digest is of the type and the data.
	Digest string
	// Reply is where the message is settled, and Stored when its stream stored it.
	Reply  string
	Stored time.Time
	// Expires is when the request is no good any more; zero for never.
	Expires time.Time
}

// Expired is the refusal of a request that comes too late; nil for one in time.
func (r Request) Expired(now time.Time) *Refusal {
	if r.Expires.IsZero() || now.Before(r.Expires) {
		return nil
	}
	return Refuse(events.ReasonExpired, "/"+events.ExtExpiryTime,
		fmt.Sprintf("the request expired at %s", r.Expires.UTC().Format(time.RFC3339)))
}

// Options are what a request may ask for, whatever its kind.
type Options struct {
	Timeout      time.Duration // 0 means none
	AbortOnError bool
	DryRun       bool
	Sink         string
	// Sinks are all sinks of a request that names several; Sink is the first of them.
	Sinks []string
}

// Refusal is why a request is rejected.
type Refusal struct {
	Reason     events.Reason
	Violations []events.Violation
}

// Refuse makes a refusal for one violation.
func Refuse(reason events.Reason, pointer, message string) *Refusal {
	return &Refusal{Reason: reason, Violations: []events.Violation{{Pointer: pointer, Message: message}}}
}

// ErrAway is reported where the Engine or the sink is away: the same is worth trying
// again when they are back.
var ErrAway = failure.ErrAway

// Causes that a job's context is cancelled with.
var (
	// ErrCancelled: somebody asked for the job to be cancelled.
	ErrCancelled = errors.New("the job was cancelled")
	// ErrTimeout: the job, or the item, took longer than it may. It is
	// context.DeadlineExceeded, too.
	ErrTimeout error = timeoutError{}
	// ErrStopping: the worker stops, and the job will be done by the next one.
	ErrStopping = errors.New("the worker stops")
)

type timeoutError struct{}

func (timeoutError) Error() string        { return "the timeout has passed" }
func (timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }
