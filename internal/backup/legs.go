package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/blob"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/image"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/pieces"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
)

const (
	// patience is how long the others wait altogether for a sink that does not take what
	// they take.
	patience = time.Second
	// behind is how long the others wait altogether for a sink that has not ended what they
	// have: that takes time also where nothing is wrong, and the container may be quiesced.
	behind = 10 * time.Second
)

// errSlow: the others would have to wait for a sink.
var errSlow = fmt.Errorf("%w: it is slower than the other sinks, which do not wait for it any longer", sink.ErrUnavailable)

// leg is one of the sinks of an attempt. What is done in it is done by one goroutine at a
// time, which the attempt can leave behind; then nothing more is done in it.
type leg struct {
	Leg
	sink      sink.Sink
	staging   sink.Staging // nil if nothing is staged
	staged    bool         // something may lie staged
	artifacts []events.Artifact
	before    *point.Manifest // of the point before this one, once it was looked for
	looked    bool            // for that
	known     *pieces.Known   // of the volume that is stored next
	writer    *image.Writer   // of the image, if that is stored in layers here

	waited, behind time.Duration // for how long the others have waited for it
	away           clock         // how long was waited for the sink itself

	// What is below is guarded by the attempt's mutex.

	busy     bool               // something is done in it
	cancel   context.CancelFunc // ends that
	dropped  bool               // nothing more is stored in it
	failure  *failure.Error     // why it was dropped, of several
	manifest *point.Manifest    // of the point that is stored in it; nil for none
	// unchanged is set if that point's image has the layers of the point before, and none of
	// them was stored.
	unchanged bool
}

// live returns the legs that are left.
func (r *attempt) live() (live []*leg) {
	r.shared.mu.Lock()
	defer r.shared.mu.Unlock()
	for _, l := range r.legs {
		if !l.dropped {
			live = append(live, l)
		}
	}
	return live
}

// drop has the others go on without a leg. What was said first of it stands.
func (r *attempt) drop(ctx context.Context, l *leg, why error) {
	e := r.legError(ctx, l, why)
	r.shared.mu.Lock()
	defer r.shared.mu.Unlock()
	if l.dropped {
		return
	}
	r.Log.Warn("a sink is left out", zap.String("item", r.Item.Name), zap.String("sink", l.Sink), zap.Error(e), panics.LogStack(e))
	l.dropped, l.failure = true, e
	if r.shared.firstFailure == nil {
		r.shared.firstFailure = e
	}
	if l.cancel != nil {
		l.cancel()
	}
}

// inLegs does something in all legs that are left, beside each other. A leg in which it fails is
// dropped, and so is one that is behind the others for too long, and what is done in it is left
// to itself. It returns why no leg is left.
func (r *attempt) inLegs(ctx context.Context, do func(ctx context.Context, l *leg) error) error {
	return r.inSome(ctx, r.live(), do, nil)
}

// legEnd is the end of what was done in a leg.
type legEnd struct {
	leg *leg
	err error
}

// inSome is inLegs for some of the legs, while work, which may be nil, is done here. It returns
// the error of that, too.
func (r *attempt) inSome(ctx context.Context, legs []*leg, do func(ctx context.Context, l *leg) error, work func() error) error {
	if len(r.live()) == 1 && len(legs) == 1 && work == nil { // nobody else waits for it
		return r.inOne(ctx, legs[0], do)
	}
	ended := make(chan legEnd, len(legs))
	for _, l := range legs {
		r.beginIn(ctx, l, do, ended)
	}
	var err error
	if work != nil {
		err = work()
	}
	r.wait(ctx, legs, ended, err == nil || errors.Is(err, codec.ErrNobody))
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case len(r.live()) == 0:
		return r.noLeg()
	}
	return err
}

// inOne does something in one leg, for which the others wait however long it takes.
func (r *attempt) inOne(ctx context.Context, l *leg, do func(ctx context.Context, l *leg) error) error {
	err := do(ctx, l)
	if err == nil || ctx.Err() != nil || len(r.legs) == 1 {
		return err
	}
	r.drop(ctx, l, err)
	if len(r.live()) == 0 {
		return r.noLeg()
	}
	return nil
}

// beginIn does something in a leg in a goroutine of its own.
func (r *attempt) beginIn(ctx context.Context, l *leg, do func(ctx context.Context, l *leg) error, ended chan<- legEnd) {
	ctx, cancel := context.WithCancel(ctx)
	r.shared.mu.Lock()
	l.busy, l.cancel = true, cancel
	r.shared.mu.Unlock()
	r.busy.Go(func() {
		defer cancel()
		err := panics.Catch(func() error { return do(ctx, l) })
		r.shared.mu.Lock()
		l.busy = false
		r.shared.mu.Unlock()
		ended <- legEnd{l, err}
	})
}

// wait waits for what is done in legs, and drops those in which it fails, if that counts,
// and those that are behind the others for too long.
func (r *attempt) wait(ctx context.Context, legs []*leg, ended <-chan legEnd, counts bool) {
	w := &waiting{attempt: r, legs: slices.Clone(legs), counts: counts}
	if len(r.live()) > len(legs) {
		w.since = time.Now()
	}
	for {
		w.legs = slices.DeleteFunc(w.legs, r.isDropped)
		if len(w.legs) == 0 {
			return
		}
		select {
		case e := <-ended:
			w.ended(ctx, e)
		case <-w.late():
			w.leave(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// waiting is the waiting for what is done in legs.
type waiting struct {
	*attempt
	legs   []*leg
	since  time.Time // when the first of the others had ended
	counts bool      // whether it counts that something fails
}

// late comes when one of the legs is behind the others for too long. Where there are no
// others it does not come.
func (w *waiting) late() <-chan time.Time {
	if w.since.IsZero() || len(w.live()) == 1 {
		return nil
	}
	last := slices.MaxFunc(w.legs, func(a, b *leg) int { return cmp.Compare(a.behind, b.behind) })
	return time.After(behind - last.behind - time.Since(w.since))
}

// ended takes the end of what was done in a leg.
func (w *waiting) ended(ctx context.Context, e legEnd) {
	w.legs = slices.DeleteFunc(w.legs, func(l *leg) bool { return l == e.leg })
	if w.since.IsZero() && (e.err == nil || !w.counts) {
		w.since = time.Now()
	}
	if !w.since.IsZero() {
		e.leg.behind += time.Since(w.since)
	}
	if e.err != nil && w.counts && ctx.Err() == nil {
		w.drop(ctx, e.leg, e.err)
	}
}

// leave has the others go on without the legs that are behind for too long.
func (w *waiting) leave(ctx context.Context) {
	for _, l := range w.legs {
		if l.behind+time.Since(w.since) >= behind {
			w.drop(ctx, l, errSlow)
		}
	}
}

func (r *attempt) isDropped(l *leg) bool {
	r.shared.mu.Lock()
	defer r.shared.mu.Unlock()
	return l.dropped
}

// noLeg is the error of an item none of whose several legs is left: that of the first that
// was dropped.
func (r *attempt) noLeg() error {
	r.shared.mu.Lock()
	defer r.shared.mu.Unlock()
	return r.shared.firstFailure
}

// legError makes the error of one of several legs.
func (r *attempt) legError(ctx context.Context, l *leg, err error) *failure.Error {
	e := *r.itemError(ctx, failure.At(events.StepSave, err, "store %s %s", r.Item.Kind, r.Item.Name))
	e.Err = fmt.Errorf("sink %s: %w", l.Sink, e.Err)
	return &e
}

// look opens a sink, and looks whether an earlier attempt has stored the point in it.
func (r *attempt) look(ctx context.Context, l *leg) error {
	opened, err := l.Open(ctx)
	if err != nil {
		return failure.At(events.StepSave, failure.FromSink(err), "store the item")
	}
	l.sink = opened
	m, err := point.ReadUnsealed(ctx, opened, r.dir)
	switch {
	case err == nil:
		err = blob.Settle(ctx, l.sink, r.dir, m) // the earlier attempt may have died before it did
		switch {
		case err == nil:
			r.stored(ctx, l, m)
		case !errors.Is(err, blob.ErrRemoved):
			return failure.At(events.StepInspect, failure.FromSink(err), "look whether point %s is whole", r.Point)
		}
	case !errors.Is(err, sink.ErrNotFound):
		return failure.At(events.StepInspect, failure.FromSink(err), "look for point %s of %s %s", r.Point, r.Item.Kind, r.Item.Name)
	}
	return nil
}

// doubt is why nothing is captured where an earlier attempt may have stored the point in a
// sink that cannot be asked; nil if there is none.
func (r *attempt) doubt() error {
	r.shared.mu.Lock()
	defer r.shared.mu.Unlock()
	for _, l := range r.legs {
		if l.MayHave && l.failure != nil {
			return &failure.Error{Step: events.StepInspect, Code: events.CodeSinkUnavailable, Retryable: true,
				Err: fmt.Errorf("an earlier attempt may have stored point %s in sink %s, which cannot be asked: %w", r.Point, l.Sink, l.failure)}
		}
	}
	return nil
}

// stored makes m the result of the item in a leg, whatever happens after.
func (r *attempt) stored(ctx context.Context, l *leg, m *point.Manifest) {
	r.shared.mu.Lock()
	l.manifest = m
	r.shared.mu.Unlock()
	unchanged, err := image.Unchanged(ctx, l.sink, r.dir, m)
	if err != nil {
		r.Log.Info("it is not known whether an item has changed", zap.String("item", r.Item.Name), zap.String("sink", l.Sink), zap.Error(err))
	}
	r.shared.mu.Lock()
	defer r.shared.mu.Unlock()
	l.unchanged = unchanged
}

// manifestIn is the manifest of the point in a leg; nil if it is not stored there.
func (r *attempt) manifestIn(l *leg) *point.Manifest {
	r.shared.mu.Lock()
	defer r.shared.mu.Unlock()
	return l.manifest
}

// leaveLegs does something in all legs in which nothing is done any more, and reports
// whether something may be left staged in one. It waits for a bounded time.
func (r *attempt) leaveLegs(ctx context.Context, do func(l *leg)) (left bool) {
	if len(r.legs) == 1 {
		do(r.legs[0])
		return r.legs[0].staged
	}
	idle := slices.DeleteFunc(slices.Clone(r.legs), r.isBusy)
	ended := make(chan legEnd, len(idle))
	for _, l := range idle {
		r.beginIn(ctx, l, func(context.Context, *leg) error { do(l); return nil }, ended)
	}
	late := time.After(undoBound)
	for range idle {
		select {
		case <-ended:
		case <-late:
			return true
		}
	}
	return slices.ContainsFunc(r.legs, func(l *leg) bool { return r.isBusy(l) || l.staged })
}

func (r *attempt) isBusy(l *leg) bool {
	r.shared.mu.Lock()
	defer r.shared.mu.Unlock()
	return l.busy
}

// idle returns a channel that is closed when ended is, and nothing is done in legs.
func (r *attempt) idle(ended <-chan struct{}) <-chan struct{} {
	if !slices.ContainsFunc(r.legs, r.isBusy) {
		return ended
	}
	all := make(chan struct{})
	go func() {
		defer close(all)
		<-ended
		r.busy.Wait()
	}()
	return all
}
