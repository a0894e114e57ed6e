package job

import (
	"context"
	"errors"
	"time"

	"holdfast.io/holdfast/internal/lease"
	"holdfast.io/holdfast/internal/ledger"
)

// Disposition is what becomes of a request when an attempt at its job has ended.
type Disposition string

const (
	// Done: the terminal event is stored, and the request is acknowledged.
	Done Disposition = "done"
	// RetryLater: something that the job needs is away, or it runs already; the
	// request comes again.
	RetryLater Disposition = "retry later"
	// Interrupted: the worker stops; the request comes again, to the next one.
	Interrupted Disposition = "interrupted"
	// Superseded: another worker has the job; nothing is published or acknowledged.
	Superseded Disposition = "superseded"
	// Refused: the request is rejected.
	Refused Disposition = "refused"
)

// Verdict is what is to be done with the message of a request.
type Verdict struct {
	Disposition Disposition
	// After is the delay before the message comes again.
	After time.Duration
	// Refusal says why the request is rejected, and Claim is of the job that ends with
	// that; nil if the rejection stands beside a job of the same id.
	Refusal *Refusal
	Claim   *ledger.Claim
}

// Delays before a request is delivered again.
const (
	RetryDelay     = 10 * time.Second // the Engine is away, or an event could not be stored
	DuplicateDelay = 15 * time.Second
	StoppedDelay   = time.Second
	NewerDelay     = time.Minute // only a newer version can go on
)

// dispositionOf decides by the error with which an attempt ended; base is the context
// of all jobs. An item's error does not fail the attempt: it has been published,
// unless the item will be retried.
func dispositionOf(base context.Context, err error) Disposition {
	cause := context.Cause(base)
	switch {
	case err == nil:
		return Done
	case isAny(err, ledger.ErrLost, lease.ErrLost), errors.Is(cause, lease.ErrLost):
		return Superseded
	case cause != nil:
		return Interrupted
	}
	return RetryLater
}

func isAny(err error, targets ...error) bool {
	for _, t := range targets {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}
