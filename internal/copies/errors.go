package copies

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
)

// meanings are what errors mean for a point.
var meanings = slices.Concat(failure.Sink, failure.Meanings{
	{Err: point.ErrNewer, Code: events.CodePointNewer},
	{Err: point.ErrDamaged, Code: events.CodePointDamaged},
	{Err: codec.ErrDamaged, Code: events.CodePointDamaged},
	{Err: errMissing, Code: events.CodePointDamaged},
	{Err: errRecord, Code: events.CodeInternal, Retryable: true},
})

var (
	// errMissing: an artifact of a point that is there is not.
	errMissing = errors.New("it is not there")
	// errRecord: what is begun cannot be recorded.
	errRecord = errors.New("record what is begun")
)

// SinkFailed makes a failure.Error of a sink that could not be opened.
func SinkFailed(ctx context.Context, err error) *failure.Error {
	return meanings.Of(ctx, events.StepRead, failure.At(events.StepRead, failure.FromSink(err), "copy the point"))
}

// gone is the error of a point that was removed after the plan was made.
func (a *attempt) gone() *failure.Error {
	e := &failure.Error{Step: events.StepRead, Code: events.CodeGone,
		Err: fmt.Errorf("point %s of %s %s was removed from sink %s after the plan was made", a.Point, a.Kind, a.Name, a.From.Name)}
	if a.Named {
		e.Code = events.CodePointNotFound
	}
	return e
}

// missing is the error of an artifact that is not there: the point is damaged, unless it
// is being removed, where the manifest goes first.
func (a *attempt) missing(ctx context.Context) error {
	_, err := a.From.Stat(ctx, path.Join(a.Dir, sink.ManifestName))
	switch {
	case errors.Is(err, sink.ErrNotFound):
		return a.gone()
	case err != nil:
		return failure.FromSink(err)
	}
	return errMissing
}
