package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/image"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/prime"
	"holdfast.io/holdfast/internal/registry"
	"holdfast.io/holdfast/internal/step"
	"holdfast.io/holdfast/internal/transport"
	"holdfast.io/holdfast/internal/undo"
)

// maxUntold is how many bytes an Engine may send of layers that the sink has. It does not
// know them by the digest of a push the first time, unless their base was pulled, or primed
// while the worker was idle, and compresses them for that, for a minute at this size; it does
// from then on, and sends what is new alone.
const maxUntold = 2 << 30

// openPush begins the push of a container's snapshot, if there may be one: what is committed
// has the name that it is pushed by.
func (r *attempt) openPush(ctx context.Context) error {
	r.moved = transport.Facts{Container: true, Layered: isPushable(r.live())}
	if r.openDirect(ctx); r.direct != nil {
		return nil
	}
	if r.reach(ctx, &r.moved); r.moved.CanPush() != "" {
		return nil
	}
	receiver := &pushed{attempt: r}
	session := r.Push.Server.Open(r.id, receiver)
	r.shared.mu.Lock()
	defer r.shared.mu.Unlock()
	r.shared.session, r.pushed, r.ref = session, receiver, session.Reference()
	return nil
}

// takeSession returns the session of the push, which whoever takes it closes; nil if there
// is none, or it is taken.
func (r *attempt) takeSession() *registry.Session {
	r.shared.mu.Lock()
	defer r.shared.mu.Unlock()
	session := r.shared.session
	r.shared.session = nil
	return session
}

// closePush ends a push that was not begun.
func (r *attempt) closePush() {
	if session := r.takeSession(); session != nil {
		session.Close()
	}
}

// transported keeps how the image was moved.
func (r *attempt) transported(c transport.Choice) {
	r.Log.Debug("an image is moved", zap.String("item", r.Item.Name), zap.String("transport", string(c.Transport)),
		zap.String("reason", c.Reason))
	r.manifest.Image.Transport, r.manifest.Image.TransportReason = c.Transport, events.Cut(c.Reason, point.MaxReason)
}

// turn waits until no other item moves the layers of the same base to the sink, so that of
// several items of one base that the sink lacks, one moves it and the others find it there.
// The caller releases it once the sink has them. How long that takes is not this item's lack
// of progress.
func (r *attempt) turn(ctx context.Context, img *engine.ImageDetail) (release func(), err error) {
	base, live := baseOf(img), r.live()
	if base == "" || !isPushable(live) {
		return func() {}, nil
	}
	defer r.watch.Suspend()()
	release, err = r.Sweeper.Locks.Acquire(ctx, undo.BaseLayers(live[0].Sink, base))
	return sync.OnceFunc(release), err
}

// pushLayers has the Engine push the snapshot to the one sink of the attempt, if that is the
// better way, and reports whether it was. It calls release as soon as no layer of the base is to
// be moved.
func (r *attempt) pushLayers(ctx context.Context, img *engine.ImageDetail, release func()) (done bool, err error) {
	if r.direct != nil {
		release() // of what an Engine is to push several times at the same time, it sends each layer once
		return r.pushDirect(ctx, img)
	}
	session := r.takeSession()
	if session == nil {
		r.transported(transport.Choose(r.moved))
		return false, nil
	}
	defer session.Close()
	l := r.live()[0]
	w := r.layerWriter(l, img)
	if err := w.Begin(ctx, img.DiffIDs); err != nil {
		return false, failure.FromSink(err)
	}
	r.weigh(ctx, img, w)
	if r.moved.Missing == 0 || r.moved.OnlyLast {
		release()
	}
	choice := transport.Choose(r.moved)
	if choice.Transport == events.TransportPush {
		if err = r.push(ctx, img, l, session, w); err == nil || !errors.Is(err, image.ErrNotTaken) {
			r.transported(choice)
			return err == nil, err
		}
		r.Log.Info("a snapshot is saved, as its push failed", zap.String("container", r.Item.Name), zap.Error(err))
		choice = transport.Choice{Transport: events.TransportSave, Reason: err.Error()}
	}
	r.transported(choice)
	return false, nil
}

// weigh finds out what the choice of the transport rests on.
func (r *attempt) weigh(ctx context.Context, img *engine.ImageDetail, w *image.Writer) {
	f := &r.moved
	f.Streams, f.Layers, f.Size, f.New = !r.about.Stages, len(img.DiffIDs), img.Size, img.Size
	missing := w.Missing()
	f.Missing = len(missing)
	base, err := r.Engine.InspectImage(ctx, r.baseID)
	if err != nil || len(base.DiffIDs) == 0 || len(base.DiffIDs) > f.Layers {
		return
	}
	r.below = base.DiffIDs
	f.Untold = r.Push.IsUntold(r.topOfBase())
	if len(base.DiffIDs) == f.Layers-1 { // what was not changed adds no layer
		f.OnlyLast = f.Missing == 1 && missing[0] == f.Layers-1
		f.New = max(img.Size-base.Size, 0)
	}
}

// baseOf returns the diff id of the layer below the last one, which is the highest of what an
// image is based on unless nothing was added; empty if there is none.
func baseOf(img *engine.ImageDetail) string {
	if len(img.DiffIDs) < 2 {
		return ""
	}
	return img.DiffIDs[len(img.DiffIDs)-2]
}

// topOfBase is the highest layer of the image that the container was made from; empty if that
// is not known.
func (r *attempt) topOfBase() string {
	if len(r.below) == 0 {
		return ""
	}
	return r.below[len(r.below)-1]
}

// push stores what the Engine pushes. It reports image.ErrNotTaken if the image is to be
// saved instead.
func (r *attempt) push(ctx context.Context, img *engine.ImageDetail, l *leg, session *registry.Session, w *image.Writer) error {
	var o image.ReceiverOptions // where the id is the manifest's, layers are asked for by digests that are known
	if !r.moved.Streams {
		o = image.ReceiverOptions{ConfigDigest: img.ID, Ask: true, Most: r.moved.New + maxUntold}
	}
	receiver := image.NewReceiver(w, img.DiffIDs, o)
	r.pushed.begin(ctx, img.Size, receiver, w)
	r.progress(events.StepSave, 0, img.Size, 0)
	err := r.Push.Run(ctx, session, receiver.Again)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if refused := session.Err(); refused != nil {
		if errors.Is(refused, image.ErrTooMuch) {
			r.Push.Untold(r.topOfBase())
		}
		return refused
	}
	if err != nil {
		return fmt.Errorf("%w: %w", image.ErrNotTaken, err)
	}
	info, artifacts, err := receiver.Finish()
	if err != nil {
		return failure.FromSink(err)
	}
	r.Log.Debug("an image was pushed", zap.String("item", r.Item.Name), zap.Int64("bytes", receiver.Bytes()))
	l.artifacts = append(l.artifacts, artifacts...)
	r.imageIs(img, info)
	return nil
}

// tellBase says whether the Engine knows the layers on which the snapshot is based, which are
// stored in a leg now.
func (r *attempt) tellBase(l *leg) {
	if r.Bases == nil || r.moved.CanPush() != "" || !r.about.Stages || r.below == nil {
		return
	}
	if r.manifest.Image.Transport == events.TransportPush {
		r.Bases.Pushed(r.below)
		return
	}
	r.Bases.Saved(prime.Base{Image: r.baseID, DiffIDs: r.below, Sink: l.Sink, Dir: r.dir})
}

// pushed takes what an Engine pushes.
type pushed struct {
	attempt *attempt
	to      atomic.Pointer[receiving]
}

var _ registry.Receiver = (*pushed)(nil)

// receiving is an image that is being pushed.
type receiving struct {
	*image.Receiver
	ctx    context.Context //nolint:containedctx // of the one image
	size   int64
	writer *image.Writer
}

func (p *pushed) begin(ctx context.Context, size int64, r *image.Receiver, w *image.Writer) {
	p.to.Store(&receiving{r, ctx, size, w})
}

// errEarly: the Engine pushes what it was not told to.
var errEarly = fmt.Errorf("%w: nobody asked for it yet", image.ErrNotTaken)

// Known implements [registry.Receiver].
func (p *pushed) Known(_ context.Context, digest string) (int64, bool, error) {
	to := p.to.Load()
	if to == nil {
		return 0, false, errEarly
	}
	p.attempt.watch.Kick()
	size, known := to.Receiver.Known(digest)
	return size, known, nil
}

// Begin implements [registry.Receiver].
func (p *pushed) Begin(ctx context.Context) (registry.Blob, error) {
	to := p.to.Load()
	if to == nil {
		return nil, errEarly
	}
	return &pushedBlob{to.Receiver.Begin(ctx), p.attempt, to}, nil
}

// Manifest implements [registry.Receiver].
func (p *pushed) Manifest(_ context.Context, m registry.Manifest) error {
	to := p.to.Load()
	switch {
	case to == nil:
		return errEarly
	case m.Tag == "":
		return nil // of an index, which is refused itself
	}
	err := to.Receiver.Manifest(m.Raw)
	if errors.Is(err, image.ErrLacks) {
		return fmt.Errorf("%w: %w", registry.ErrBlobUnknown, err)
	}
	return err
}

// pushedBlob is a blob that the Engine pushes.
type pushedBlob struct {
	*image.Received
	attempt *attempt
	to      *receiving
}

// Write implements [io.Writer].
func (b *pushedBlob) Write(p []byte) (int, error) {
	n, err := b.Received.Write(p)
	b.attempt.progress(events.StepSave, b.to.Bytes(), b.to.size, b.to.writer.StoredBytes())
	return n, sinkError(err)
}

// Commit implements [registry.Blob].
func (b *pushedBlob) Commit(_ context.Context, digest string, _ int64) error {
	layer, err := b.Received.Commit(digest)
	if err != nil {
		return sinkError(err)
	}
	b.attempt.watch.Kick()
	if layer {
		step.At(b.to.ctx, step.LayerStored)
	}
	return nil
}

// sinkError is the error of a blob that is not taken: that of the sink, if it is not the
// fault of what was pushed.
func sinkError(err error) error {
	if errors.Is(err, image.ErrNotTaken) {
		return err
	}
	return failure.FromSink(err)
}

// isPushable reports whether what is stored in these legs may be pushed.
func isPushable(legs []*leg) bool {
	return len(legs) == 1 && !slices.ContainsFunc(legs, func(l *leg) bool { return !isLayered(l) })
}
