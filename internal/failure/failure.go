// Package failure decides what an error means for an item: at which step it came up,
// its code, and whether a retry can help. What the Engine, a sink, a stall and an end of
// the context mean is decided here, once for all kinds of jobs; each adds its own cases.
package failure

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/stall"
	"holdfast.io/holdfast/internal/undo"
)

// ErrAway is reported where the Engine or the sink is away: the same is worth trying
// again when they are back.
var ErrAway = errors.New("the Engine or the sink is away")

// Error says why an item failed.
type Error struct {
	Step events.Step
	Code events.Code
	// Retryable says whether the same request can succeed later.
	Retryable bool
	// NotRunning is how long the item's container did not run. If it still does not, Err
	// says so.
	NotRunning time.Duration
	// Found is what was found of a point that was verified and its artifacts, those that
	// are good too; empty if nothing can be said of it.
	Found []events.Finding
	Err   error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Is makes an Error ErrAway by its code.
func (e *Error) Is(target error) bool {
	return target == ErrAway && (e.Code == events.CodeEngineUnavailable || e.Code == events.CodeSinkUnavailable)
}

// New is the error of a step whose code is known, and that no retry helps.
func New(step events.Step, code events.Code, format string, args ...any) *Error {
	return &Error{Step: step, Code: code, Err: fmt.Errorf(format, args...)}
}

// stepError says at which step, and at what, err came up. It becomes an [Error] when
// the item ends.
type stepError struct {
	step events.Step
	what string
	err  error
}

func (e *stepError) Error() string { return e.what + ": " + e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

// At returns err with the step and what was being done, unless it has that already.
func At(step events.Step, err error, format string, args ...any) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	if _, ok := errors.AsType[*stepError](err); ok {
		return err
	}
	return &stepError{step: step, what: fmt.Sprintf(format, args...), err: err}
}

// fromSink marks what came from the sink.
type fromSink struct{ error }

func (e fromSink) Unwrap() error { return e.error }

// FromSink marks an error as the sink's. It returns nil for nil.
func FromSink(err error) error {
	if err == nil {
		return nil
	}
	return fromSink{err}
}

// IsFromSink reports whether an error came from the sink.
func IsFromSink(err error) bool {
	_, ok := errors.AsType[fromSink](err)
	return ok
}

// Meaning is what an error means for an item, and whether a retry can help.
type Meaning struct {
	Err       error
	Code      events.Code
	Retryable bool
}

// Meanings are all that a kind of job knows. The first one that an error wraps counts.
type Meanings []Meaning

// Sink is what a sink's errors mean.
var Sink = Meanings{
	{sink.ErrFull, events.CodeSinkFull, true},
	{sink.ErrUnavailable, events.CodeSinkUnavailable, true},
	{sink.ErrTooLarge, events.CodeSinkFull, false},
	{sink.ErrMayNotRemove, events.CodeMayNotRemove, false},
	{seal.ErrNoIdentity, events.CodeNoIdentity, false},
}

// Engine is what an Engine's errors mean.
var Engine = Meanings{
	{engine.ErrRefused, events.CodeEngineRefused, false}, // before what the Engine says: it was not asked
	{engine.ErrEngineFull, events.CodeEngineFull, true},
	{engine.ErrEngineUnavailable, events.CodeEngineUnavailable, true},
	{engine.ErrUnsupported, events.CodeEngineUnsupported, false},
	{engine.ErrBadAnswer, events.CodeBadEngineAnswer, false},
}

// Classify decides what an error means, and whether a retry can help. One that nothing
// is known of is the sink's if it came from there, and the Engine's otherwise.
func (m Meanings) Classify(err error) (code events.Code, retryable bool) {
	if errors.Is(err, undo.ErrBlocked) && !errors.Is(err, engine.ErrEngineUnavailable) {
		return events.CodeNotRestored, true
	}
	for _, one := range m {
		if errors.Is(err, one.Err) {
			return one.Code, one.Retryable
		}
	}
	if IsFromSink(err) {
		return events.CodeSinkError, true
	}
	return events.CodeEngine, true
}

// Of makes an Error of the error that an item ends with; step counts if the error does
// not say one. If ctx has ended, that is the reason.
func (m Meanings) Of(ctx context.Context, step events.Step, err error) *Error {
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
		e.Code, e.Retryable = m.Classify(err)
	}
	return e
}

// Unregistered is the error of a point that could not be registered as in use. If ctx has
// ended, that is the reason.
func Unregistered(ctx context.Context, err error) *Error {
	return Meanings{{Err: err, Code: events.CodeInternal, Retryable: true}}.Of(ctx, events.StepRead, err)
}
