package backup

import (
	"context"
	"errors"
	"fmt"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
)

// Causes that a job's context is cancelled with.
var (
	// ErrCancelled: somebody asked for the job to be cancelled.
	ErrCancelled = errors.New("the job was cancelled")
	// ErrTimeout: the job took longer than its request allows.
	ErrTimeout = errors.New("the job's timeout has passed")
	// ErrStopping: the worker stops, and the job will be done by the next one.
	ErrStopping = errors.New("the worker stops")
)

// ItemError says why an item failed.
type ItemError struct {
	Step events.Step
	Code events.Code
	// Retryable says whether the same request can succeed later.
	Retryable bool
	Err       error
}

func (e *ItemError) Error() string { return e.Err.Error() }
func (e *ItemError) Unwrap() error { return e.Err }

// failed makes an ItemError of err, with a message of what was being done. The
// code is found from what err wraps.
func failed(ctx context.Context, step events.Step, err error, format string, args ...any) *ItemError {
	if already, ok := errors.AsType[*ItemError](err); ok {
		return already
	}
	e := &ItemError{Step: step, Err: fmt.Errorf(format+": %w", append(args, err)...)}
	e.Code, e.Retryable = classify(ctx, err)
	if cause := context.Cause(ctx); cause != nil && (e.Code == events.CodeCancelled || e.Code == events.CodeTimeout) {
		e.Err = fmt.Errorf(format+": %w", append(args, cause)...)
	}
	return e
}

// SinkFailed makes an ItemError of a sink that could not be opened.
func SinkFailed(ctx context.Context, err error) *ItemError {
	return failed(ctx, events.StepSave, sinkError(err), "store the item")
}

// classify is the one place that decides what an error means for an item, and
// whether a retry can help.
func classify(ctx context.Context, err error) (code events.Code, retryable bool) {
	if cause := context.Cause(ctx); cause != nil {
		switch {
		case errors.Is(cause, ErrTimeout):
			return events.CodeTimeout, true
		default:
			return events.CodeCancelled, true
		}
	}
	switch {
	case errors.Is(err, sink.ErrFull):
		return events.CodeSinkFull, true
	case errors.Is(err, sink.ErrUnavailable):
		return events.CodeSinkUnavailable, true
	case errors.Is(err, point.ErrCorrupt):
		return events.CodeCorruptArchive, true
	case errors.Is(err, ErrNotFound):
		return events.CodeNotFound, false
	case errors.Is(err, ErrEngineFull):
		return events.CodeEngineFull, true
	}
	if _, ok := errors.AsType[sinkErr](err); ok {
		return events.CodeSinkError, true
	}
	return events.CodeEngine, true
}

// sinkErr marks what came from the sink.
type sinkErr struct{ error }

func (e sinkErr) Unwrap() error { return e.error }

func sinkError(err error) error {
	if err == nil {
		return nil
	}
	return sinkErr{err}
}
