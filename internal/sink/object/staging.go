package object

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"strings"
	"sync"
	"time"

	"holdfast.io/holdfast/internal/sink"
)

// fenceName is the object that says that an attempt was taken for dead. It lies among the
// attempt's artifacts while these are removed.
const fenceName = ".unstaged"

// staging is one attempt at a point.
type staging struct {
	sink   *Sink
	dir    string // of the point
	prefix string // of the keys of its artifacts

	mu        sync.Mutex
	artifacts map[string]*artifact // by name, without those that were aborted
	blobs     int                  // that were neither committed nor aborted
	ended     bool                 // by Publish or Discard
	published bool
	unclear   bool // whether the manifest is there: the store did not say
}

var (
	errEnded      = errors.New("the attempt has ended; stage another one")
	errUnfinished = errors.New("an artifact of this attempt was neither committed nor aborted; discard the attempt")
)

// Stage implements [sink.Stager].
func (s *Sink) Stage(ctx context.Context, dir, attempt string) (sink.Staging, error) {
	prefix, err := attemptPrefix(dir, attempt)
	if err := errors.Join(ctx.Err(), err); err != nil {
		return nil, err
	}
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	if err := s.clear(ctx, dir, prefix); err != nil {
		return nil, err
	}
	return &staging{sink: s, dir: dir, prefix: prefix, artifacts: map[string]*artifact{}}, nil
}

// clear removes all that an attempt stored, and what it began to store, unless that has
// become the point at dir.
func (s *Sink) clear(ctx context.Context, dir, prefix string) error {
	if err := s.store.Sweep(ctx, prefix); err != nil {
		return err
	}
	var keys, fence []string // listing and removing at a time is more than some stores can do
	for entry, err := range s.store.List(ctx, prefix) {
		if err != nil {
			return err
		}
		if entry.Key == prefix+fenceName {
			fence = []string{entry.Key}
		} else {
			keys = append(keys, entry.Key)
		}
	}
	if len(keys) > 0 {
		published, err := s.names(ctx, dir, prefix)
		if err != nil {
			return err
		}
		if published {
			return fmt.Errorf("%s: %w", s.store.Place(dir), sink.ErrExists)
		}
	}
	var kept error
	for _, key := range keys {
		err := s.store.Delete(ctx, key)
		if err != nil && !sink.IsKept(err) {
			return err
		}
		kept = cmp.Or(kept, err)
	}
	for _, key := range fence { // last: see Unstage; and it says that something is left
		if kept == nil {
			kept = s.store.Delete(ctx, key)
		}
	}
	return kept
}

// Unstage implements [sink.Stager]. The attempt may still be in the hands of a process
// that was taken for dead. So it puts up a fence first and looks for the manifest then,
// while Publish creates the manifest first and looks for the fence then: one of them sees
// the other. When the fence is gone the artifacts are, for which Publish looks too.
func (s *Sink) Unstage(ctx context.Context, dir, attempt string) error {
	prefix, err := attemptPrefix(dir, attempt)
	if err := errors.Join(ctx.Err(), err); err != nil {
		return err
	}
	if err := s.check(ctx); err != nil {
		return err
	}
	if err := s.store.Put(ctx, prefix+fenceName, nil); err != nil {
		return err
	}
	return s.clearFenced(ctx, dir, prefix+fenceName)
}

// maxManifest bounds what is read of a manifest, in bytes.
const maxManifest = 64 << 20

// names reports whether the point at dir is there, and its manifest names keys below prefix.
func (s *Sink) names(ctx context.Context, dir, prefix string) (bool, error) {
	manifest, err := readSmall(ctx, s.store, path.Join(dir, sink.ManifestName), maxManifest)
	if errors.Is(err, sink.ErrNotFound) {
		return false, nil
	}
	return bytes.Contains(manifest, []byte(prefix)), err
}

// end ends the attempt for publishing it, and returns the keys of its artifacts. What was written
// of a blob and could not be removed, as the credentials may not, is no part of the point.
func (t *staging) end() (keys []string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return nil, errEnded
	}
	for name, a := range t.artifacts {
		if !a.committed {
			return nil, fmt.Errorf("%s: %w", t.sink.store.Place(t.prefix+name), errUnfinished)
		}
		if !strings.HasPrefix(name, blobPrefix) {
			keys = append(keys, t.prefix+name)
		}
	}
	if t.blobs > 0 {
		return nil, fmt.Errorf("%s: %w", t.sink.store.Place(t.prefix), errUnfinished)
	}
	t.ended = true
	return keys, nil
}

// Publish implements [sink.Staging].
func (t *staging) Publish(ctx context.Context, manifest []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	keys, err := t.end()
	if err != nil {
		return err
	}
	if err := t.sink.check(ctx); err != nil {
		return err
	}
	if err := t.checkThere(ctx, keys); err != nil {
		return err
	}
	if t.sink.locker != nil {
		err = t.publishLocked(ctx, keys, manifest)
	} else if err = t.create(ctx, manifest, t.sink.store.PutNew); err == nil {
		err = t.checkFence(ctx, keys)
	}
	t.published = err == nil
	return err
}

// create creates the manifest. If it is there, it may be this attempt's own, as the answer
// to a try of the store's may have been lost.
func (t *staging) create(ctx context.Context, manifest []byte, putNew func(ctx context.Context, key string, content []byte) error) error {
	store, key := t.sink.store, path.Join(t.dir, sink.ManifestName)
	err := putNew(ctx, key, manifest)
	if err == nil {
		return nil
	}
	t.unclear = true
	there, rerr := readSmall(ctx, store, key, maxManifest)
	switch {
	case rerr == nil && bytes.Equal(there, manifest):
		return nil
	case rerr == nil, errors.Is(rerr, sink.ErrNotFound):
		t.unclear = false
	}
	if errors.Is(err, sink.ErrExists) {
		return fmt.Errorf("%s: %w", store.Place(t.dir), sink.ErrExists)
	}
	return err
}

// checkThere reports ErrUnavailable unless every artifact is there, as it was written.
func (t *staging) checkThere(ctx context.Context, keys []string) error {
	for _, key := range keys {
		info, err := t.sink.store.Stat(ctx, key)
		if errors.Is(err, sink.ErrNotFound) {
			return t.removed()
		}
		if err != nil {
			return err
		}
		if want := t.artifacts[key[len(t.prefix):]].size; info.Size != want {
			return fmt.Errorf("%s: %w: it has %d bytes, and %d were written", t.sink.store.Place(key), sink.ErrUnavailable, info.Size, want)
		}
	}
	return nil
}

func (t *staging) removed() error {
	return fmt.Errorf("%s: %w: the attempt was removed, or replaced by another process; retry",
		t.sink.store.Place(t.prefix), sink.ErrUnavailable)
}

// checkFence takes the manifest back if another process took the attempt for dead.
func (t *staging) checkFence(ctx context.Context, keys []string) error {
	t.unclear = true
	_, err := t.sink.store.Stat(ctx, t.prefix+fenceName)
	switch {
	case err == nil:
		err = t.removed()
	case !errors.Is(err, sink.ErrNotFound):
		return err
	default:
		err = t.checkThere(ctx, keys[:min(1, len(keys))])
	}
	if err != nil {
		return errors.Join(err, t.sink.store.Delete(context.WithoutCancel(ctx), path.Join(t.dir, sink.ManifestName)))
	}
	t.unclear = false
	return nil
}

// discardTime bounds a Discard, which does not end with its caller's ctx.
const discardTime = 2 * time.Minute

// Discard implements [sink.Staging].
func (t *staging) Discard(ctx context.Context) error {
	t.mu.Lock()
	t.ended = true
	left := maps.Clone(t.artifacts)
	t.mu.Unlock()
	if t.published {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discardTime)
	defer cancel()
	if t.unclear {
		published, err := t.sink.names(ctx, t.dir, t.prefix)
		if err != nil || published {
			return err
		}
	}
	var kept error
	for _, a := range left {
		err := a.remove(ctx)
		if err != nil && !sink.IsKept(err) {
			return err
		}
		kept = cmp.Or(kept, err)
	}
	return kept
}
