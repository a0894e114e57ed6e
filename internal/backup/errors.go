package backup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/helper"
	"holdfast.io/holdfast/internal/hook"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/quiesce"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/stall"
	"holdfast.io/holdfast/internal/undo"
	"holdfast.io/holdfast/internal/volume"
)

// ErrAway is what an [ItemError] is, for [errors.Is], if the Engine or the sink
// was away: the same item is worth trying again when they are back.
var ErrAway = errors.New("the Engine or the sink is away")

// ItemError says why an item failed.
type ItemError struct {
	Step events.Step
	Code events.Code
	// Retryable says whether the same request can succeed later.
	Retryable bool
	// NotRunning is how long the container was paused or stopped by this backup. If it
	// still is, Err says so.
	NotRunning time.Duration
	Err        error
}

func (e *ItemError) Error() string { return e.Err.Error() }
func (e *ItemError) Unwrap() error { return e.Err }

// Failed returns what the event of a failed item says beside the message.
func (e *ItemError) Failed() (step events.Step, code events.Code, retryable bool, notRunning time.Duration) {
	return e.Step, e.Code, e.Retryable, e.NotRunning
}

// Is makes an ItemError ErrAway by its code.
func (e *ItemError) Is(target error) bool {
	return target == ErrAway && (e.Code == events.CodeEngineUnavailable || e.Code == events.CodeSinkUnavailable)
}

// stepError says at which step, and at what, err came up. It becomes an [ItemError]
// when the item ends.
type stepError struct {
	step events.Step
	what string
	err  error
}

func (e *stepError) Error() string { return e.what + ": " + e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

// at returns err with the step and what was being done, unless it has that already.
func at(step events.Step, err error, format string, args ...any) error {
	if _, ok := errors.AsType[*ItemError](err); ok {
		return err
	}
	if _, ok := errors.AsType[*stepError](err); ok {
		return err
	}
	return &stepError{step: step, what: fmt.Sprintf(format, args...), err: err}
}

// itemError makes an ItemError of err. If ctx has ended, that is the reason.
func itemError(ctx context.Context, err error) *ItemError {
	if already, ok := errors.AsType[*ItemError](err); ok {
		return already
	}
	e := &ItemError{Step: events.StepInspect, Err: err}
	s, ok := errors.AsType[*stepError](err)
	if ok {
		e.Step = s.step
	}
	if panics.Stack(err) != nil {
		return faultOf(e.Step, err)
	}
	e.Code, e.Retryable = classify(ctx, err)
	if !ok {
		return e
	}
	if cause := context.Cause(ctx); cause != nil && (e.Code == events.CodeCancelled || e.Code == events.CodeTimeout) {
		e.Err = fmt.Errorf("%s: %w", s.what, cause)
	}
	return e
}

// SinkFailed makes an ItemError of a sink that could not be opened.
func SinkFailed(ctx context.Context, err error) *ItemError {
	return itemError(ctx, at(events.StepSave, sinkError(err), "store the item"))
}

// pingBound is how long an Engine has to show that it is there.
const pingBound = 5 * time.Second

// itemError makes an ItemError of the error that an item ends with. An Engine that was
// killed breaks off what it was doing in ways that look like its own or the archive's
// fault, so one that seems to have failed is asked whether it is there.
func (r *attempt) itemError(ctx context.Context, err error) *ItemError {
	e := itemError(ctx, err)
	switch e.Code {
	case events.CodeEngine, events.CodeCorruptArchive, events.CodeNotQuiesced:
	default:
		return e
	}
	bounded, cancel := context.WithTimeout(ctx, pingBound)
	defer cancel()
	away := r.Engine.Ping(bounded)
	if away == nil || ctx.Err() != nil {
		return e
	}
	e.Code, e.Retryable = classify(ctx, away)
	e.Err = fmt.Errorf("%w: %w", e.Err, away)
	return e
}

// meanings are what errors mean for an item, and whether a retry can help. The first
// one that an error wraps counts.
var meanings = []struct {
	err       error
	code      events.Code
	retryable bool
}{
	{quiesce.ErrNotResumed, events.CodeNotRestored, true}, // whatever the reason
	{sink.ErrFull, events.CodeSinkFull, true},
	{sink.ErrUnavailable, events.CodeSinkUnavailable, true},
	{archive.ErrCorrupt, events.CodeCorruptArchive, true},
	{engine.ErrRefused, events.CodeEngineRefused, false}, // before what the Engine says: it was not asked
	{engine.ErrNotFound, events.CodeNotFound, false},
	{engine.ErrEngineFull, events.CodeEngineFull, true},
	{hook.ErrBadLabel, events.CodeBadLabel, false},
	{hook.ErrFailed, events.CodeHookFailed, true},
	{engine.ErrEngineUnavailable, events.CodeEngineUnavailable, true},
	{quiesce.ErrNotQuiesced, events.CodeNotQuiesced, true},
	{engine.ErrUnsupported, events.CodeEngineUnsupported, false},
	{engine.ErrBadAnswer, events.CodeBadEngineAnswer, false},
	{engine.ErrBaseMissing, events.CodeBaseImageMissing, false},
	{engine.ErrUncommittable, events.CodeUncommittableContent, false},
	{engine.ErrIncomplete, events.CodeImageIncomplete, false},
	{archive.ErrTooLarge, events.CodeConfigTooLarge, false},
	{helper.ErrUnreadable, events.CodeUnreadable, false},
	{volume.ErrCorrupt, events.CodeCorruptArchive, true},
	{helper.ErrNoProgram, events.CodeNoHelper, false},
	{errReplaced, events.CodeReplaced, true},
}

// classify is the one place that decides what an error means for an item, and
// whether a retry can help.
func classify(ctx context.Context, err error) (code events.Code, retryable bool) {
	if cause := context.Cause(ctx); cause != nil {
		if errors.Is(cause, context.DeadlineExceeded) || errors.Is(cause, stall.ErrStalled) {
			return events.CodeTimeout, true
		}
		return events.CodeCancelled, true
	}
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
