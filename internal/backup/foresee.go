package backup

import (
	"context"
	"fmt"
	"slices"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/blob"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/layered"
	"holdfast.io/holdfast/internal/transport"
)

// Foresee returns how the image of an item of this kind would come to these sinks. imageID is that
// of the image that a container was made from. Nothing is changed. How much the container has
// written is not known before its snapshot.
func (b *Runner) Foresee(ctx context.Context, kind events.ItemKind, imageID string, to []sink.Sink) (transport.Choice, error) {
	layers := !slices.ContainsFunc(to, func(s sink.Sink) bool { return !layered.Is(s) })
	f := transport.Facts{Container: kind == events.ItemContainer, Layered: layers, Ahead: true}
	if len(to) == 1 {
		if b.reachDirect(ctx, &f, to[0]); f.Direct {
			return transport.Choose(f), nil
		}
	}
	if b.reach(ctx, &f); f.CanPush() != "" {
		return transport.Choose(f), nil
	}
	about, err := b.Engine.About(ctx)
	if err != nil {
		return transport.Choice{}, err
	}
	base, err := b.Engine.InspectImage(ctx, imageID)
	if err != nil {
		return transport.Choice{}, fmt.Errorf("inspect image %s: %w", imageID, err)
	}
	lacking := 0 // in the sink that lacks most
	for i, s := range to {
		n, err := blob.Lacking(ctx, s, base.DiffIDs)
		if err != nil {
			return transport.Choice{}, err
		}
		f.Uneven = f.Uneven || i > 0 && n != lacking
		lacking = max(lacking, n)
	}
	f.Streams, f.Size = !about.Stages, base.Size
	f.Layers, f.Missing, f.OnlyLast = len(base.DiffIDs)+1, lacking+1, lacking == 0
	if n := len(base.DiffIDs); n > 0 {
		f.Untold = b.Push.IsUntold(base.DiffIDs[n-1])
	}
	return transport.Choose(f), nil
}

// reach finds out whether the Engine reaches the worker's registry, if that matters.
func (b *Runner) reach(ctx context.Context, f *transport.Facts) {
	if f.CanPush() != "" {
		return
	}
	if b.Push == nil {
		f.NotReached = "the worker has no registry for the Engine"
		return
	}
	if err := b.Push.Reached(ctx); err != nil {
		f.NotReached = err.Error()
	}
}
