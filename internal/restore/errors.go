package restore

import (
	"context"
	"errors"
	"slices"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/helper"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/recreate"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/volume"
)

var (
	// errUnsuitable: the point does not hold what is asked for.
	errUnsuitable = errors.New("the point does not hold it")
	// errNotHealthy: the container did not pass its gate.
	errNotHealthy = errors.New("the container does not run as it should")
	// errVolumeNotEmpty: a volume that is to be filled holds data.
	errVolumeNotEmpty = errors.New(`it holds data: restore with volumes "keep", "new" or "replace"`)
	// errMeanwhile: something is there that was not when the plan was made.
	errMeanwhile = errors.New("it was made by somebody else after the plan was made: ask again")
)

// meanings are what errors mean for an item.
var meanings = slices.Concat(failure.Sink, failure.Meanings{
	{Err: point.ErrNewer, Code: events.CodePointNewer},
	{Err: recreate.ErrNewer, Code: events.CodePointNewer},
	{Err: codec.ErrDamaged, Code: events.CodePointDamaged},
	{Err: point.ErrDamaged, Code: events.CodePointDamaged},
	{Err: archive.ErrCorrupt, Code: events.CodePointDamaged},
	{Err: volume.ErrCorrupt, Code: events.CodePointDamaged},
	{Err: sink.ErrNotFound, Code: events.CodePointNotFound},
	{Err: volume.ErrFull, Code: events.CodeEngineFull, Retryable: true},
	{Err: errUnsuitable, Code: events.CodeUnsuitable},
	{Err: errNotHealthy, Code: events.CodeNotHealthy, Retryable: true},
	{Err: errVolumeNotEmpty, Code: events.CodeVolumeNotEmpty},
	{Err: errMeanwhile, Code: events.CodeNameTaken, Retryable: true},
	{Err: helper.ErrNoProgram, Code: events.CodeNoHelper},
}, failure.Engine, failure.Meanings{
	{Err: engine.ErrBaseMissing, Code: events.CodeBaseImageMissing},
	{Err: engine.ErrUncommittable, Code: events.CodeUncommittableContent},
	{Err: engine.ErrNameTaken, Code: events.CodeNameTaken},
	{Err: engine.ErrOverlap, Code: events.CodeAddressTaken},
	{Err: engine.ErrRefusedConfig, Code: events.CodeUnsuitable},
})

// itemError makes a failure.Error of the error that an item ends with. An Engine that
// does not say why it did not start a container is a container that did not start.
func itemError(ctx context.Context, err error) *failure.Error {
	e := meanings.Of(ctx, events.StepRead, err)
	if e.Code == events.CodeEngine && e.Step == events.StepStart {
		e.Code = events.CodeNotStarted
	}
	return e
}

// SinkFailed makes a failure.Error of a sink that could not be opened.
func SinkFailed(ctx context.Context, err error) *failure.Error {
	return itemError(ctx, failure.At(events.StepRead, failure.FromSink(err), "restore the point"))
}
