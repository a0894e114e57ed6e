package backup

import (
	"context"
	"fmt"
	"slices"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/helper"
	"holdfast.io/holdfast/internal/hook"
	"holdfast.io/holdfast/internal/quiesce"
	"holdfast.io/holdfast/internal/volume"
)

// meanings are what errors mean for an item.
var meanings = slices.Concat(failure.Meanings{
	{Err: quiesce.ErrNotResumed, Code: events.CodeNotRestored, Retryable: true}, // whatever the reason
}, failure.Sink, failure.Meanings{
	{Err: archive.ErrCorrupt, Code: events.CodeCorruptArchive, Retryable: true},
}, failure.Engine, failure.Meanings{
	{Err: engine.ErrNotFound, Code: events.CodeNotFound},
	{Err: hook.ErrBadLabel, Code: events.CodeBadLabel},
	{Err: hook.ErrFailed, Code: events.CodeHookFailed, Retryable: true},
	{Err: quiesce.ErrNotQuiesced, Code: events.CodeNotQuiesced, Retryable: true},
	{Err: engine.ErrBaseMissing, Code: events.CodeBaseImageMissing},
	{Err: engine.ErrUncommittable, Code: events.CodeUncommittableContent},
	{Err: engine.ErrIncomplete, Code: events.CodeImageIncomplete},
	{Err: archive.ErrTooLarge, Code: events.CodeConfigTooLarge},
	{Err: helper.ErrUnreadable, Code: events.CodeUnreadable},
	{Err: volume.ErrCorrupt, Code: events.CodeCorruptArchive, Retryable: true},
	{Err: helper.ErrNoProgram, Code: events.CodeNoHelper},
	{Err: errReplaced, Code: events.CodeReplaced, Retryable: true},
})

// itemError makes a failure.Error of the error that an item ends with.
func itemError(ctx context.Context, err error) *failure.Error {
	return meanings.Of(ctx, events.StepInspect, err)
}

// pingBound is how long an Engine has to show that it is there.
const pingBound = 5 * time.Second

// itemError makes a failure.Error of the error that an item ends with. An Engine that was
// killed breaks off what it was doing in ways that look like its own or the archive's
// fault, so one that seems to have failed is asked whether it is there.
func (r *attempt) itemError(ctx context.Context, err error) *failure.Error {
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
	e.Code, e.Retryable = meanings.Classify(away)
	e.Err = fmt.Errorf("%w: %w", e.Err, away)
	return e
}
