package restore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/helper"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/recreate"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/stall"
	"holdfast.io/holdfast/internal/undo"
	"holdfast.io/holdfast/internal/volume"
)

// Error says why a point was not restored.
type Error struct {
	Step events.Step
	Code events.Code
	// Retryable says whether the same request can succeed later.
	Retryable bool
	// NotRunning is how long the container that was to be replaced did not run. If it
	// still does not, Err says so.
	NotRunning time.Duration
	Err        error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Failed returns what the event of a failed item says beside the message.
func (e *Error) Failed() (step events.Step, code events.Code, retryable bool, notRunning time.Duration) {
	return e.Step, e.Code, e.Retryable, e.NotRunning
}

var (
	// errUnsuitable: the point does not hold what is asked for.
	errUnsuitable = errors.New("the point does not hold it")
	// errNotHealthy: the container did not pass its gate.
	errNotHealthy = errors.New("the container does not run as it should")
	// errVolumeNotEmpty: a volume that is to be filled holds data.
	errVolumeNotEmpty = errors.New(`it holds data: restore with volumes "keep" or "new"`)
	// errMeanwhile: something is there that was not when the plan was made.
	errMeanwhile = errors.New("it was made by somebody else after the plan was made: ask again")
)

// failed is the error of a step that has no other reason.
func failed(step events.Step, code events.Code, format string, args ...any) *Error {
	return &Error{Step: step, Code: code, Err: fmt.Errorf(format, args...)}
}

// stepError says at which step, and at what, err came up.
type stepError struct {
	step events.Step
	what string
	err  error
}

func (e *stepError) Error() string { return e.what + ": " + e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

// at returns err with the step and what was being done, unless it has that already.
func at(step events.Step, err error, format string, args ...any) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	if _, ok := errors.AsType[*stepError](err); ok {
		return err
	}
	return &stepError{step: step, what: fmt.Sprintf(format, args...), err: err}
}

// meanings are what errors mean for an item, and whether a retry can help. The first
// one that an error wraps counts.
var meanings = []struct {
	err       error
	code      events.Code
	retryable bool
}{
	{sink.ErrUnavailable, events.CodeSinkUnavailable, true},
	{point.ErrNewer, events.CodePointNewer, false},
	{recreate.ErrNewer, events.CodePointNewer, false},
	{codec.ErrDamaged, events.CodePointDamaged, false},
	{point.ErrDamaged, events.CodePointDamaged, false},
	{archive.ErrCorrupt, events.CodePointDamaged, false},
	{volume.ErrCorrupt, events.CodePointDamaged, false},
	{sink.ErrNotFound, events.CodePointNotFound, false},
	{volume.ErrFull, events.CodeEngineFull, true},
	{errUnsuitable, events.CodeUnsuitable, false},
	{errNotHealthy, events.CodeNotHealthy, true},
	{errVolumeNotEmpty, events.CodeVolumeNotEmpty, false},
	{errMeanwhile, events.CodeNameTaken, true},
	{helper.ErrNoProgram, events.CodeNoHelper, false},
	{engine.ErrRefused, events.CodeEngineRefused, false},
	{engine.ErrNameTaken, events.CodeNameTaken, false},
	{engine.ErrOverlap, events.CodeAddressTaken, false},
	{engine.ErrRefusedConfig, events.CodeUnsuitable, false},
	{engine.ErrEngineFull, events.CodeEngineFull, true},
	{engine.ErrEngineUnavailable, events.CodeEngineUnavailable, true},
	{engine.ErrUnsupported, events.CodeEngineUnsupported, false},
	{engine.ErrBadAnswer, events.CodeBadEngineAnswer, false},
}

// itemError makes an Error of the error that an item ends with. If ctx has ended, that
// is the reason.
func itemError(ctx context.Context, err error) *Error {
	if already, ok := errors.AsType[*Error](err); ok {
		return already
	}
	e := &Error{Step: events.StepRead, Err: err}
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
		e.Code, e.Retryable = classify(e.Step, err)
	}
	return e
}

// classify is the one place that decides what an error means for an item, and whether
// a retry can help.
func classify(step events.Step, err error) (code events.Code, retryable bool) {
	if errors.Is(err, undo.ErrBlocked) && !errors.Is(err, engine.ErrEngineUnavailable) {
		return events.CodeNotRestored, true
	}
	for _, m := range meanings {
		if errors.Is(err, m.err) {
			return m.code, m.retryable
		}
	}
	if _, ok := errors.AsType[sinkErr](err); ok {
		return events.CodeSinkError, true
	}
	if step == events.StepStart {
		return events.CodeNotStarted, true
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

// SinkFailed makes an Error of a sink that could not be opened.
func SinkFailed(ctx context.Context, err error) *Error {
	return itemError(ctx, at(events.StepRead, sinkError(err), "restore the point"))
}
