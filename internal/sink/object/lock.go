package object

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast.io/holdfast/internal/sink"
)

// LockedUntil implements [sink.Locker]. The manifest is what is locked last.
func (s *Sink) LockedUntil(ctx context.Context, dir string) (time.Time, error) {
	if err := errors.Join(ctx.Err(), sink.CheckPoint(dir)); err != nil {
		return time.Time{}, err
	}
	if err := s.check(ctx); err != nil || s.locker == nil {
		return time.Time{}, err
	}
	return s.lockOf(ctx, path.Join(dir, sink.ManifestName))
}

// BlobLockedUntil implements [sink.Extender].
func (s *Sink) BlobLockedUntil(ctx context.Context, key string) (time.Time, error) {
	if err := errors.Join(ctx.Err(), sink.CheckShared(key)); err != nil || s.locker == nil {
		return time.Time{}, err
	}
	return s.lockOf(ctx, key)
}

// locksAtOnce is how many objects are locked at a time.
const locksAtOnce = 8

// Extend implements [sink.Extender].
func (s *Sink) Extend(ctx context.Context, keys []string) error {
	err := ctx.Err()
	for _, key := range keys {
		err = errors.Join(err, sink.CheckShared(key))
	}
	if err != nil || s.locker == nil || len(keys) == 0 {
		return err
	}
	if err := s.check(ctx); err != nil {
		return err
	}
	until := time.Now().Add(s.locker.LockFor() + sink.ExtendedFor)
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(locksAtOnce)
	for _, key := range keys {
		work.Go(func() error { return s.locker.Lock(ctx, key, until) })
	}
	return work.Wait()
}

// lockOf returns until when the object at key is locked; zero if it is not any longer.
func (s *Sink) lockOf(ctx context.Context, key string) (time.Time, error) {
	until, err := s.locker.LockedUntil(ctx, key)
	if err != nil || !until.After(time.Now()) {
		return time.Time{}, err
	}
	return until, nil
}

// checkUnlocked reports a *sink.LockedError if an object of the point at dir is locked.
func (s *Sink) checkUnlocked(ctx context.Context, dir string) error {
	if s.locker == nil {
		return nil
	}
	for entry, err := range s.store.List(ctx, dir+"/") {
		if err != nil {
			return err
		}
		until, err := s.lockOf(ctx, entry.Key)
		if err != nil {
			return err
		}
		if !until.IsZero() {
			return &sink.LockedError{Place: s.store.Place(entry.Key), Until: until}
		}
	}
	return nil
}

// publishLocked locks the artifacts, and then creates the manifest, which is locked too.
func (t *staging) publishLocked(ctx context.Context, keys []string, manifest []byte) error {
	until := time.Now().Add(t.sink.locker.LockFor())
	if err := t.lock(ctx, keys, until); err != nil {
		return err
	}
	return t.create(ctx, manifest, func(ctx context.Context, key string, content []byte) error {
		return t.sink.locker.PutNewLocked(ctx, key, content, until)
	})
}

// lock locks the artifacts of the attempt. From then on nobody can remove one, also who has
// taken the attempt for dead; so it need not look for a fence once its manifest is there.
func (t *staging) lock(ctx context.Context, keys []string, until time.Time) error {
	switch err := t.sink.isThere(ctx, t.dir); { // what would be locked would be left
	case err == nil:
		return fmt.Errorf("%s: %w", t.sink.store.Place(t.dir), sink.ErrExists)
	case !errors.Is(err, sink.ErrNotFound):
		return err
	}
	for _, key := range keys {
		err := t.sink.locker.Lock(ctx, key, until)
		if errors.Is(err, sink.ErrNotFound) {
			return t.removed()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// pushedFor is for how long what an Engine has pushed of an attempt is that attempt's, from the time
// of the point on. One that still runs then has its image come in another way.
const pushedFor = 24 * time.Hour

// Sweep implements [sink.Sweeper]: what Unstage could not remove lies beside its fence, but for what
// an Engine has pushed, which has the time of its point.
func (s *Sink) Sweep(ctx context.Context, below string) error {
	fences := map[string]string{} // the folder of the point by the fence's key
	for f, err := range s.folders(ctx, below) {
		if err != nil {
			return err
		}
		for _, key := range f.keys {
			if strings.HasSuffix(key, "/"+fenceName) {
				fences[key] = f.dir
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(fences)) {
		if err := s.clearFenced(ctx, fences[key], key); err != nil && !sink.IsKept(err) {
			return err
		}
	}
	if in, ok := s.Repository(); ok {
		if err := in.WithdrawBefore(ctx, time.Now().Add(-pushedFor)); err != nil && !sink.IsKept(err) {
			return err
		}
	}
	return nil
}

// clearFenced removes what is left of the attempt at the point at dir that has this fence.
func (s *Sink) clearFenced(ctx context.Context, dir, fence string) error {
	err := s.clear(ctx, dir, strings.TrimSuffix(fence, fenceName))
	if errors.Is(err, sink.ErrExists) { // it is the point
		return s.store.Delete(ctx, fence)
	}
	return err
}
