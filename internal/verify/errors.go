package verify

import (
	"context"
	"errors"
	"slices"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/sink"
)

// meanings are what errors mean for a point. None of them says anything of what is
// stored.
var meanings = slices.Concat(failure.Sink, failure.Engine)

// SinkFailed makes a failure.Error of a sink that could not be opened.
func SinkFailed(ctx context.Context, err error) *failure.Error {
	return meanings.Of(ctx, events.StepRead, failure.At(events.StepRead, failure.FromSink(err), "verify the point"))
}

// sinkError marks an error as the sink's, but for sink.ErrNotFound: that an object is
// not there says something of the point.
func sinkError(err error) error {
	if errors.Is(err, sink.ErrNotFound) {
		return err
	}
	return failure.FromSink(err)
}
