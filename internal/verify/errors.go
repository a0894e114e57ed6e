package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/stall"
)

// Error says why a point did not pass, or could not be verified.
type Error struct {
	Step events.Step
	Code events.Code
	// Retryable says whether the same request can succeed later.
	Retryable bool
	// Found is what was found of the point and its artifacts, those that are good too;
	// empty if it could not be verified.
	Found []events.Finding
	Err   error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Failed returns what the event of a failed item says beside the message.
func (e *Error) Failed() (step events.Step, code events.Code, retryable bool, notRunning time.Duration) {
	return e.Step, e.Code, e.Retryable, 0
}

// Findings returns what the event of a failed item says of the point.
func (e *Error) Findings() []events.Finding { return e.Found }

// stepError says at which step, and at what, err came up. It becomes an [Error] when
// the verification ends.
type stepError struct {
	step events.Step
	what string
	err  error
}

func (e *stepError) Error() string { return e.what + ": " + e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

func at(step events.Step, err error, format string, args ...any) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	return &stepError{step: step, what: fmt.Sprintf(format, args...), err: err}
}

// meanings are what errors mean for a point, and whether a retry can help. The first
// one that an error wraps counts. None of them says anything of what is stored.
var meanings = []struct {
	err       error
	code      events.Code
	retryable bool
}{
	{sink.ErrFull, events.CodeSinkFull, true},
	{sink.ErrUnavailable, events.CodeSinkUnavailable, true},
	{engine.ErrRefused, events.CodeEngineRefused, false},
	{engine.ErrEngineFull, events.CodeEngineFull, true},
	{engine.ErrEngineUnavailable, events.CodeEngineUnavailable, true},
	{engine.ErrUnsupported, events.CodeEngineUnsupported, false},
	{engine.ErrBadAnswer, events.CodeBadEngineAnswer, false},
}

// errorOf makes an Error of err. If ctx has ended, that is the reason.
func errorOf(ctx context.Context, step events.Step, err error) *Error {
	if already, ok := errors.AsType[*Error](err); ok {
		return already
	}
	e := &Error{Step: step, Err: err}
	what := ""
	if s, ok := errors.AsType[*stepError](err); ok {
		e.Step, what = s.step, s.what+": "
	}
	cause := context.Cause(ctx)
	switch {
	case panics.Stack(err) != nil:
		e.Code = events.CodeInternal
	case cause != nil:
		e.Code, e.Retryable, e.Err = events.CodeCancelled, true, fmt.Errorf("%s%w", what, cause)
		if errors.Is(cause, context.DeadlineExceeded) || errors.Is(cause, stall.ErrStalled) {
			e.Code = events.CodeTimeout
		}
	default:
		e.Code, e.Retryable = classify(err)
	}
	return e
}

// classify is the one place that decides what an error means for a point, and whether
// a retry can help.
func classify(err error) (code events.Code, retryable bool) {
	for _, m := range meanings {
		if errors.Is(err, m.err) {
			return m.code, m.retryable
		}
	}
	if _, ok := errors.AsType[sinkErr](err); ok {
		return events.CodeSinkError, true
	}
	return events.CodeEngine, true
}

// sinkErr marks what came from the sink.
type sinkErr struct{ error }

func (e sinkErr) Unwrap() error { return e.error }

// SinkFailed makes an Error of a sink that could not be opened.
func SinkFailed(ctx context.Context, err error) *Error {
	return errorOf(ctx, events.StepRead, at(events.StepRead, sinkErr{err}, "verify the point"))
}
