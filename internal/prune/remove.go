package prune

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"holdfast.io/holdfast/internal/blob"
	"holdfast.io/holdfast/internal/inuse"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/step"
)

// Sink is what removal needs of a sink.
type Sink interface {
	ID() string
	sink.Reader
	sink.Lister
	sink.Remover
	sink.Marker
	sink.Sharer
}

// Uses say which points are in use, and hold others off.
type Uses interface {
	// UserOf returns who uses a point, in words; empty if nobody does.
	UserOf(ctx context.Context, p inuse.Point) (string, error)
	// Alone is [inuse.Registry.Alone].
	Alone(ctx context.Context, sink string) (alone context.Context, release func(), err error)
}

// KeptError is reported for a point that must stay, contrary to what was planned.
type KeptError struct{ Why string }

func (e *KeptError) Error() string { return "it is kept: " + e.Why }

// Remover removes points for one job. It may be used by several goroutines, each for a
// point of its own.
type Remover struct {
	Sink Sink
	Uses Uses
	// Host and Job are who removes.
	Host, Job string
	// Now is when the stream stored the job's request, and Grace how long a point can
	// be taken back after that.
	Now   time.Time
	Grace time.Duration
}

// Point is a point that is to be removed.
type Point struct {
	ID string
	// Dir is its folder in the sink.
	Dir string
	// Reason says why it is not kept.
	Reason string
}

// Remove hides a point, and returns when its bytes will go; without a grace they go at
// once, and the time is zero. One that was hidden by somebody else before does not go
// earlier than that said. It reports a *KeptError, and undoes what it did, if the point is protected,
// locked or used; and the sink's errors. It is no error if the point is not there.
func (r *Remover) Remove(ctx context.Context, p Point) (goneAfter time.Time, err error) {
	marks := r.marks(ctx, p)
	if hidden := marks.Removed; hidden != nil && hidden.Job != r.Job {
		if r.Grace > 0 || r.Now.Before(hidden.GoneAfter) {
			return hidden.GoneAfter, nil
		}
		return time.Time{}, r.Erase(ctx, p)
	}
	if err := r.mayGo(ctx, p, marks); err != nil {
		return time.Time{}, err
	}
	goneAfter = r.Now.Add(r.Grace)
	if marks.Removed == nil {
		mark := point.Removed{Time: r.Now, Host: r.Host, Job: r.Job, Reason: p.Reason, GoneAfter: goneAfter}
		err := mark.Write(ctx, r.Sink, p.Dir)
		switch {
		case errors.Is(err, sink.ErrNotFound):
			return time.Time{}, r.sweep(ctx, p)
		case errors.Is(err, sink.ErrFull) && r.Grace == 0: // there is no room even for the mark
			return time.Time{}, r.Sink.RemovePoint(ctx, p.Dir)
		case errors.Is(err, sink.ErrFull):
			return time.Time{}, fmt.Errorf("%w; without a grace, points are removed without the mark that hides them first", err)
		case err != nil:
			return time.Time{}, err
		}
		step.At(ctx, step.Hidden)
	}
	// Who protected or began to use it before it was hidden did not see the mark.
	if err := r.mayGo(ctx, p, r.marks(ctx, p)); err != nil {
		return time.Time{}, errors.Join(err, r.Sink.Remove(context.WithoutCancel(ctx), path.Join(p.Dir, sink.RemovedName)))
	}
	if r.Grace > 0 {
		return goneAfter, nil
	}
	return time.Time{}, r.Erase(ctx, p)
}

// Erase removes the bytes of a point that is hidden, and whose grace has ended. It
// reports a *KeptError if the point was taken back, is protected, locked or used; and the
// sink's errors. It takes up a removal that was interrupted.
func (r *Remover) Erase(ctx context.Context, p Point) error {
	if _, err := r.Sink.Stat(ctx, path.Join(p.Dir, sink.ManifestName)); errors.Is(err, sink.ErrNotFound) {
		return r.sweep(ctx, p)
	} else if err != nil {
		return err
	}
	marks := r.marks(ctx, p)
	switch hidden := marks.Removed; {
	case hidden == nil:
		return &KeptError{Why: "it was taken back"}
	case r.Now.Before(hidden.GoneAfter):
		return &KeptError{Why: fmt.Sprintf("it can be taken back until %s", hidden.GoneAfter.UTC().Format(time.RFC3339))}
	}
	if err := r.mayGo(ctx, p, marks); err != nil {
		return err
	}
	return r.sweep(ctx, p)
}

// sweep removes a point, or what is left of one.
func (r *Remover) sweep(ctx context.Context, p Point) error {
	err := r.Sink.RemovePoint(ctx, p.Dir)
	if locked, ok := errors.AsType[*sink.LockedError](err); ok {
		return keptBy(locked.Until)
	}
	if err != nil {
		return err
	}
	step.At(ctx, step.Erased)
	return nil
}

// TakeUp removes what removals have left that were interrupted, and what is left of attempts
// that ended, below the folders of these hosts; without hosts everywhere. What is locked
// stays. Several may do so at a time.
func (r *Remover) TakeUp(ctx context.Context, hosts []string) error {
	below := []string{sink.PointsName}
	if len(hosts) > 0 {
		below = nil
	}
	for _, host := range hosts {
		below = append(below, path.Join(sink.PointsName, point.EncodeName(host)))
	}
	for _, folder := range below {
		for dir, err := range r.Sink.Leftovers(ctx, folder) {
			if err != nil {
				return fmt.Errorf("look for what interrupted removals left: %w", err)
			}
			if err := r.sweep(ctx, Point{Dir: dir}); err != nil && !isKept(err) {
				return err
			}
		}
		if sweeper, ok := sink.As[sink.Sweeper](r.Sink); ok {
			if err := sweeper.Sweep(ctx, folder); err != nil {
				return fmt.Errorf("remove what attempts left that ended: %w", err)
			}
		}
	}
	return nil
}

func isKept(err error) bool {
	_, kept := errors.AsType[*KeptError](err)
	return kept
}

// LockedUntil returns until when the sink has locked the point at dir; the zero time if it
// has not.
func LockedUntil(ctx context.Context, from sink.Reader, dir string) (time.Time, error) {
	locker, ok := sink.As[sink.Locker](from)
	if !ok {
		return time.Time{}, nil
	}
	return locker.LockedUntil(ctx, dir)
}

// keptBy is the error of a point that the sink has locked.
func keptBy(until time.Time) error {
	return &KeptError{Why: "locked until " + until.UTC().Format(time.RFC3339)}
}

// Collect removes what points shared that are gone, as [blob.Collect] does, by the time of
// the job's request. It reports [inuse.ErrTaken] if another host does that in the sink.
func (r *Remover) Collect(ctx context.Context, grace time.Duration) (blob.Collected, error) {
	alone, release, err := r.Uses.Alone(ctx, r.Sink.ID())
	if err != nil {
		return blob.Collected{}, err
	}
	defer release()
	c, err := blob.Collect(alone, r.Sink, r.Now, grace)
	if err != nil && ctx.Err() == nil && alone.Err() != nil {
		err = context.Cause(alone)
	}
	return c, err
}

func (r *Remover) marks(ctx context.Context, p Point) point.Marks {
	return point.ReadMarks(ctx, r.Sink, p.Dir, sink.ProtectedName, sink.RemovedName)
}

// mayGo reports a *KeptError if the point must stay.
func (r *Remover) mayGo(ctx context.Context, p Point, marks point.Marks) error {
	if marks.Protected != nil {
		return &KeptError{Why: "protected " + protection(marks.Protected)}
	}
	for name, err := range marks.Unread {
		if errors.Is(err, sink.ErrUnavailable) || ctx.Err() != nil {
			return err
		}
		return &KeptError{Why: fmt.Sprintf("%s cannot be read: %s", name, err)}
	}
	until, err := LockedUntil(ctx, r.Sink, p.Dir)
	if err != nil {
		return err
	}
	if !until.IsZero() {
		return keptBy(until)
	}
	user, err := r.Uses.UserOf(ctx, inuse.Point{Sink: r.Sink.ID(), ID: p.ID})
	if err == nil && user != "" {
		err = &KeptError{Why: "in use by " + user}
	}
	return err
}
