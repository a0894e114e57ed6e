package blob

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
)

// ErrRemoved is wrapped by the error of a point whose blobs are not all there.
var ErrRemoved = fmt.Errorf("%w: it was removed as garbage meanwhile, or is damaged", sink.ErrUnavailable)

// removalBound is how long Intact waits for a removal to end.
const removalBound = 10 * time.Second

// Intact reports ErrRemoved unless all blobs of a point that was just published are there,
// and none is being removed.
func Intact(ctx context.Context, in Sink, m *point.Manifest) error {
	shared := m.Shared()
	if len(shared) == 0 {
		return nil
	}
	garbage, err := garbageIn(ctx, in)
	if err != nil {
		return err
	}
	for _, a := range shared {
		if garbage.marks[a.Digest] || garbage.removals[a.Digest] {
			err = settled(ctx, in, a.Digest, garbage.removals[a.Digest])
		}
		if err != nil {
			return err
		}
		info, err := in.Stat(ctx, a.Key)
		if errors.Is(err, sink.ErrNotFound) || err == nil && info.Size != a.Size {
			return fmt.Errorf("%s: %w; ask again", a.Key, ErrRemoved)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// settled returns when a blob that a point needs is no garbage, and is not being removed.
func settled(ctx context.Context, in Sink, digest string, removing bool) error {
	locked, err := isLocked(ctx, in, digest)
	if err != nil || locked {
		return err
	}
	if removing {
		return awaitRemoval(ctx, in, digest)
	}
	if kept, err := keep(ctx, in, digest); err != nil || kept {
		return err
	}
	return awaitRemoval(ctx, in, digest)
}

// garbage are the digests of the blobs that are marked, and of those that are being removed.
type garbage struct{ marks, removals map[string]bool }

func garbageIn(ctx context.Context, in Sink) (g garbage, err error) {
	g = garbage{map[string]bool{}, map[string]bool{}}
	for o, err := range in.Shared(ctx, sink.GarbageName) {
		if err != nil {
			return g, err
		}
		if hex, ok := strings.CutSuffix(path.Base(o.Key), removalSuffix); ok {
			g.removals["sha256:"+hex] = true
		} else {
			g.marks[digestOf(o.Key)] = true
		}
	}
	return g, nil
}

// Settle is what follows the publishing of a point, before it is reported: it reports
// ErrRemoved unless the point is Intact, and removes it then from its folder dir, also when
// ctx ends. Any other error says nothing of the point, which stays as it is: whoever meets it
// there looks again.
func Settle(ctx context.Context, in sink.Sink, dir string, m *point.Manifest) error {
	err := Intact(ctx, in, m)
	if !errors.Is(err, ErrRemoved) {
		return err
	}
	if failed := in.RemovePoint(context.WithoutCancel(ctx), dir); failed != nil {
		return fmt.Errorf("remove point %s, which was not reported: %w; %v", m.ID, failed, err) //nolint:errorlint // hides ErrRemoved
	}
	return err
}

// awaitRemoval returns when a blob is not being removed.
func awaitRemoval(ctx context.Context, in Sink, digest string) error {
	ctx, cancel := context.WithTimeout(ctx, removalBound)
	defer cancel()
	for {
		_, err := readSmall(ctx, in.Open, garbageKey(digest, removalSuffix))
		if errors.Is(err, sink.ErrNotFound) {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: a prune is removing it, or has died while it did; prune again in an hour, and ask again",
				sink.BlobKey(digest), ErrRemoved)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
