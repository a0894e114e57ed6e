package blob

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
)

// Publish makes the point of an attempt appear, as [point.Publish] does. In a sink that locks
// points, its blobs are locked before for at least as long as the point will be, whoever has
// stored them. A death between the two leaves blobs that are locked for longer than anybody
// needs, and nothing else.
func Publish(ctx context.Context, to sink.Sink, staging sink.Staging, m *point.Manifest) error {
	within, err := Lock(ctx, to, m)
	if err != nil {
		return err
	}
	if !within.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, within, errTooSlow)
		defer cancel()
	}
	return point.Publish(ctx, to, staging, m)
}

var errTooSlow = fmt.Errorf("%w: it took more than %s to publish the point, for which its layers were locked; retry",
	sink.ErrUnavailable, sink.ExtendedFor)

// Lock keeps the blobs of a point from being removed for as long as the point is locked, if that
// is published until within; that is zero in a sink that does not lock them. It reports
// ErrRemoved if one of them is gone: an attempt that comes after stores it anew.
func Lock(ctx context.Context, in sink.Reader, m *point.Manifest) (within time.Time, err error) {
	extender, ok := sink.As[sink.Extender](in)
	if !ok {
		return within, nil
	}
	var keys []string
	for _, a := range m.Shared() {
		keys = append(keys, a.Key)
	}
	if len(keys) == 0 {
		return within, nil
	}
	within = time.Now().Add(sink.ExtendedFor)
	slices.Sort(keys)
	err = extender.Extend(ctx, slices.Compact(keys))
	if errors.Is(err, sink.ErrNotFound) {
		err = fmt.Errorf("%w; ask again (%v)", ErrRemoved, err) //nolint:errorlint // the point is not what is not there
	}
	if err != nil {
		return within, fmt.Errorf("lock the layers of point %s: %w", m.ID, err)
	}
	return within, nil
}

// isLocked reports whether a sink keeps a blob from being removed.
func isLocked(ctx context.Context, in sink.Reader, digest string) (bool, error) {
	extender, ok := sink.As[sink.Extender](in)
	if !ok {
		return false, nil
	}
	until, err := extender.BlobLockedUntil(ctx, sink.BlobKey(digest))
	return !until.IsZero(), err
}
