package dispatch

import (
	"context"
	"errors"

	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/lease"
	"holdfast.io/holdfast/internal/ledger"
)

// fate is what becomes of a request when an attempt at its job has ended.
type fate string

const (
	// told: the terminal event is stored, and the request is acknowledged.
	told fate = "told"
	// postponed: something that the job needs is away; the request comes again.
	postponed fate = "postponed"
	// handedOn: the worker stops; the request comes again, to the next one.
	handedOn fate = "handed on"
	// lost: another worker has the job; nothing is said, nothing acknowledged.
	lost fate = "lost"
)

// fateOf decides by the error with which an attempt ended; base is the context of
// all jobs. An error of an item is none of the attempt's: it was told, unless the
// item is to be tried again.
func fateOf(base context.Context, err error) fate {
	cause := context.Cause(base)
	switch {
	case err == nil:
		return told
	case isAny(err, ledger.ErrLost, lease.ErrLost, backup.ErrLost), isAny(cause, lease.ErrLost, backup.ErrLost):
		return lost
	case cause != nil:
		return handedOn
	}
	return postponed
}

func isAny(err error, targets ...error) bool {
	for _, t := range targets {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}
