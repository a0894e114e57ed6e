package backup

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/image"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/step"
	"holdfast.io/holdfast/internal/transport"
)

// reachDirect finds out whether the Engine pushes to the registry in which a sink lies, if that
// matters.
func (b *Runner) reachDirect(ctx context.Context, f *transport.Facts, to sink.Sink) (in sink.Repository) {
	if b.Direct == nil || !f.Container || !f.Layered {
		return nil
	}
	in, ok := sink.RepositoryOf(to)
	if !ok {
		return nil
	}
	if err := b.Direct.Reached(ctx, in); err != nil {
		f.NotDirect = err.Error()
		return nil
	}
	f.Direct = true
	return in
}

// openDirect has the container's snapshot committed under the name by which the Engine pushes it
// to the registry of the sink, if it does.
func (r *attempt) openDirect(ctx context.Context) {
	live := r.live()
	if len(live) != 1 || !r.moved.Layered {
		return
	}
	in := r.reachDirect(ctx, &r.moved, live[0].sink)
	if in == nil {
		return
	}
	ref := in.Reference(r.dir, stagingName(r.Attempt))
	if !engine.IsTemporary(ref) { // it could be taken for a user's
		r.moved.Direct, r.moved.NotDirect = false, "the snapshot cannot have the name "+ref
		return
	}
	r.shared.mu.Lock()
	defer r.shared.mu.Unlock()
	r.direct, r.ref = in, ref
}

// pushDirect has the Engine push the snapshot to the registry of the sink, and reports whether it
// did. It is saved else.
func (r *attempt) pushDirect(ctx context.Context, img *engine.ImageDetail) (done bool, err error) {
	r.moved.Layers = len(img.DiffIDs)
	choice := transport.Choose(r.moved)
	if choice.Transport == events.TransportDirect {
		err := r.adoptPushed(ctx, img)
		if err == nil {
			r.transported(choice)
			return true, nil
		}
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		if !errors.Is(err, transport.ErrNotDirect) && !errors.Is(err, image.ErrNotTaken) {
			return false, err
		}
		r.Log.Info("a snapshot is saved, as the Engine did not push it", zap.String("container", r.Item.Name), zap.Error(err))
		choice = transport.Choice{Transport: events.TransportSave, Reason: err.Error()}
	}
	r.transported(choice)
	return false, nil
}

// adoptPushed has the Engine push the snapshot, and makes what came that of the point. Until the
// end of the attempt it is in the registry under the attempt's own name too.
func (r *attempt) adoptPushed(ctx context.Context, img *engine.ImageDetail) error {
	l := r.live()[0]
	l.staging = withdrawn{l.staging, r, r.direct}
	r.progress(events.StepSave, 0, img.Size, 0)
	if err := r.Direct.Run(ctx, r.direct, r.ref, r.watch.Kick); err != nil {
		return err
	}
	step.At(ctx, step.PushedDirect)
	r.watch.Kick()
	manifest, err := r.direct.Manifest(ctx, r.dir, stagingName(r.Attempt))
	if errors.Is(err, sink.ErrNotFound) {
		return fmt.Errorf("%w: it did not come there", transport.ErrNotDirect)
	}
	if err != nil {
		return failure.FromSink(err)
	}
	w, err := r.layerWriter(ctx, l, img, r.Transport.Compression)
	if err != nil {
		return err
	}
	info, artifacts, err := w.Adopt(watched{r.direct, r}, manifest, img.ID)
	if err != nil {
		return sinkError(err)
	}
	l.artifacts = append(l.artifacts, artifacts...)
	r.imageIs(img, info)
	return nil
}

// withdrawn is the staging of an attempt whose end removes what the Engine has pushed under its name.
type withdrawn struct {
	sink.Staging
	attempt *attempt
	from    sink.Repository
}

// Discard implements [sink.Staging].
func (w withdrawn) Discard(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoBound)
	defer cancel()
	err := w.from.Withdraw(ctx, w.attempt.dir, stagingName(w.attempt.Attempt))
	if sink.IsKept(err) {
		err = nil // a prune that may removes it
	}
	return errors.Join(w.Staging.Discard(ctx), err)
}

// watched is a repository of which each blob is progress.
type watched struct {
	sink.Repository
	attempt *attempt
}

// KeepBlob implements [sink.Repository].
func (w watched) KeepBlob(ctx context.Context, digest string, size int64) (was bool, err error) {
	was, err = w.Repository.KeepBlob(ctx, digest, size)
	w.attempt.watch.Kick()
	return was, err
}
