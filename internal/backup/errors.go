package backup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/stall"
	"holdfast.io/holdfast/internal/undo"
)

// Causes that a job's context is cancelled with.
var (
	// ErrCancelled: somebody asked for the job to be cancelled.
	ErrCancelled = errors.New("the job was cancelled")
	// ErrTimeout: the job, or the item, took longer than it may.
	ErrTimeout = errors.New("the timeout has passed")
	// ErrStopping: the worker stops, and the job will be done by the next one.
	ErrStopping = errors.New("the worker stops")
	// ErrLost: another worker serves the host by now. Nothing more may be published
	// for the job.
	ErrLost = errors.New("another worker serves the host")
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
	Err       error
}

func (e *ItemError) Error() string { return e.Err.Error() }
func (e *ItemError) Unwrap() error { return e.Err }

// Is makes an ItemError ErrAway by its code.
func (e *ItemError) Is(target error) bool {
	return target == ErrAway && (e.Code == events.CodeEngineUnavailable || e.Code == events.CodeSinkUnavailable)
}

// failed makes an ItemError of err, with a message of what was being done. The
// code is found from what err wraps.
func failed(ctx context.Context, step events.Step, err error, format string, args ...any) *ItemError {
	if already, ok := errors.AsType[*ItemError](err); ok {
		return already
	}
	if panics.Stack(err) != nil {
		return faultOf(step, err)
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

// pingBound is how long an Engine has to show that it is there.
const pingBound = 5 * time.Second

// failed makes an ItemError of err. An Engine that was killed breaks off what it
// was doing in ways that look like its own or the archive's fault, so one that
// seems to have failed is asked whether it is there.
func (r *itemRun) failed(ctx context.Context, step events.Step, err error, format string, args ...any) *ItemError {
	e := failed(ctx, step, err, format, args...)
	if e.Code != events.CodeEngine && e.Code != events.CodeCorruptArchive {
		return e
	}
	bounded, cancel := context.WithTimeout(ctx, pingBound)
	defer cancel()
	away := r.Engine.Ping(bounded)
	if away == nil || ctx.Err() != nil {
		return e
	}
	e.Code = events.CodeEngineUnavailable
	e.Err = fmt.Errorf("%w: %w", e.Err, away)
	return e
}

// final are errors of the Engine that asking again does not mend.
var final = map[error]events.Code{
	engine.ErrUnsupported:   events.CodeEngineUnsupported,
	engine.ErrBadAnswer:     events.CodeBadEngineAnswer,
	engine.ErrBaseMissing:   events.CodeBaseImageMissing,
	engine.ErrUncommittable: events.CodeUncommittableContent,
	engine.ErrIncomplete:    events.CodeImageIncomplete,
	archive.ErrTooLarge:     events.CodeConfigTooLarge,
}

// classify is the one place that decides what an error means for an item, and
// whether a retry can help.
func classify(ctx context.Context, err error) (code events.Code, retryable bool) {
	if cause := context.Cause(ctx); cause != nil {
		if errors.Is(cause, ErrTimeout) || errors.Is(cause, stall.ErrStalled) {
			return events.CodeTimeout, true
		}
		return events.CodeCancelled, true
	}
	switch {
	case errors.Is(err, sink.ErrFull):
		return events.CodeSinkFull, true
	case errors.Is(err, sink.ErrUnavailable):
		return events.CodeSinkUnavailable, true
	case errors.Is(err, archive.ErrCorrupt):
		return events.CodeCorruptArchive, true
	case errors.Is(err, undo.ErrBlocked) && !errors.Is(err, engine.ErrEngineUnavailable):
		return events.CodeNotRestored, true
	case errors.Is(err, engine.ErrRefused): // before what the Engine says: it was not asked
		return events.CodeEngineRefused, false
	case errors.Is(err, engine.ErrNotFound):
		return events.CodeNotFound, false
	case errors.Is(err, engine.ErrEngineFull):
		return events.CodeEngineFull, true
	case errors.Is(err, engine.ErrEngineUnavailable):
		return events.CodeEngineUnavailable, true
	}
	for sentinel, code := range final {
		if errors.Is(err, sentinel) {
			return code, false
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
