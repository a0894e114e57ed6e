package backup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/codec"
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

// turn waits until no other item moves the layers of the same base to the sinks, so that of
// several items of one base that a sink lacks, one moves it and the others find it there.
// The caller releases it once the sinks have them. How long that takes is not this item's lack
// of progress.
func (r *attempt) turn(ctx context.Context, img *engine.ImageDetail) (release func(), err error) {
	base, live := baseOf(img), r.live()
	if base == "" || !isPushable(live) {
		return func() {}, nil
	}
	var bases []undo.Resource
	for _, l := range live {
		bases = append(bases, undo.BaseLayers(l.Sink, base))
	}
	defer r.watch.Suspend()()
	release, err = r.Sweeper.Locks.AcquireAll(ctx, bases)
	return sync.OnceFunc(release), err
}

// pushLayers has the Engine push the snapshot to the sinks of the attempt, if that is the
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
	if err := r.beginLayers(ctx, img); err != nil {
		return false, err
	}
	r.weigh(ctx, img)
	if r.moved.Missing == 0 || r.moved.OnlyLast {
		release()
	}
	choice := transport.Choose(r.moved)
	if choice.Transport == events.TransportPush {
		if err = r.push(ctx, img, session); err == nil || !errors.Is(err, image.ErrNotTaken) {
			r.transported(choice)
			return err == nil, err
		}
		r.Log.Info("a snapshot is saved, as its push failed", zap.String("container", r.Item.Name), zap.Error(err))
		for _, l := range r.live() {
			l.writer = nil // some of the layers that it lacked may be there
		}
		choice = transport.Choice{Transport: events.TransportSave, Reason: err.Error()}
	}
	r.transported(choice)
	return false, nil
}

// weigh finds out what the choice of the transport rests on.
func (r *attempt) weigh(ctx context.Context, img *engine.ImageDetail) {
	f := &r.moved
	f.Streams, f.Layers, f.Size, f.New = !r.about.Stages, len(img.DiffIDs), img.Size, img.Size
	live, missing := r.live(), map[int]int{} // in how many sinks
	for _, l := range live {
		for _, place := range l.writer.Missing() {
			missing[place]++
		}
	}
	f.Missing, f.Uneven = len(missing), false
	for place, count := range missing {
		f.Uneven = f.Uneven || count < len(live) && place < f.Layers-1
	}
	base, err := r.Engine.InspectImage(ctx, r.baseID)
	if err != nil || len(base.DiffIDs) == 0 || len(base.DiffIDs) > f.Layers {
		return
	}
	r.below = base.DiffIDs
	f.Untold = r.Push.IsUntold(r.topOfBase())
	if len(base.DiffIDs) == f.Layers-1 { // what was not changed adds no layer
		f.OnlyLast = f.Missing == 1 && missing[f.Layers-1] > 0
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
func (r *attempt) push(ctx context.Context, img *engine.ImageDetail, session *registry.Session) error {
	var o image.ReceiverOptions // where the id is the manifest's, layers are asked for by digests that are known
	if !r.moved.Streams {
		o = image.ReceiverOptions{ConfigDigest: img.ID, Ask: true, Most: r.moved.New + maxUntold}
	}
	receiver := image.NewReceiver(r.targets(ctx), img.DiffIDs, o)
	to := &receiving{Receiver: receiver, ctx: ctx, size: img.Size}
	for _, l := range r.live() {
		to.outs.add(l.writer)
	}
	r.pushed.to.Store(to)
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
	info, err := receiver.Info()
	if err != nil {
		return err
	}
	err = r.inLegs(ctx, func(ctx context.Context, l *leg) error {
		l.writer.Within(ctx)
		artifacts, err := receiver.Finish(l.writer)
		if err == nil {
			l.artifacts = append(l.artifacts, artifacts...)
		}
		return failure.FromSink(err)
	})
	if err != nil {
		return err
	}
	r.Log.Debug("an image was pushed", zap.String("item", r.Item.Name), zap.Int64("bytes", receiver.Bytes()))
	r.imageIs(img, info)
	return nil
}

// targets are the sinks into which the Engine pushes an image.
func (r *attempt) targets(ctx context.Context) image.Targets {
	live := r.live()
	if len(live) == 1 {
		live[0].writer.Within(ctx) // it may have begun beside others, within what has ended
		return image.One(live[0].writer)
	}
	return &severalTargets{r, ctx}
}

// severalTargets are several sinks, each of which takes a layer at its own pace, as far as that goes.
type severalTargets struct {
	*attempt
	ctx context.Context //nolint:containedctx // of the one image
}

// Left implements [image.Targets].
func (t *severalTargets) Left() (writers []*image.Writer) {
	for _, l := range t.live() {
		writers = append(writers, l.writer)
	}
	return writers
}

// Store implements [image.Targets].
func (t *severalTargets) Store(take image.TakeLayer, write image.WriteLayer) error {
	if t.ctx.Err() != nil { // what is done in a leg may be left to itself
		return context.Cause(t.ctx)
	}
	return t.fan(t.ctx, t.live(), func(ctx context.Context, l *leg, branch *codec.Branch) error {
		l.writer.Within(ctx)
		return sinkError(take(l.writer, func(to io.Writer) error { _, err := branch.WriteTo(to); return err }))
	}, func(fan io.Writer) error {
		out := bufio.NewWriterSize(fan, fanBuffer)
		if err := write(out); err != nil {
			return err
		}
		return out.Flush()
	})
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
	ctx  context.Context //nolint:containedctx // of the one image
	size int64
	outs outs
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
	b.attempt.progress(events.StepSave, b.to.Bytes(), b.to.size, b.to.outs.StoredBytes())
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
	return len(legs) > 0 && !slices.ContainsFunc(legs, func(l *leg) bool { return !isLayered(l) })
}
