package sinktest

import (
	"errors"
	"maps"
	"path"
	"slices"
	"sync"
	"testing"
	"time"

	"holdfast.io/holdfast/internal/sink"
)

// LockingPlace is a Place whose sinks lock points for some days.
type LockingPlace interface {
	Place
	// EndLocks ends all locks, as time does.
	EndLocks(t *testing.T)
}

// RunLocking holds sinks that lock points to [sink.Locker], and to what a [sink.Sink] says of
// locked ones. place makes a place of its own for every test.
func RunLocking(t *testing.T, place func(t *testing.T) LockingPlace) {
	for _, name := range slices.Sorted(maps.Keys(lockTests)) {
		t.Run(name, func(t *testing.T) {
			p := place(t)
			lockTests[name](&fixture{T: t, Place: p, sink: p.Open(t)}, p)
		})
	}
}

var lockTests = map[string]func(*fixture, LockingPlace){
	"a point is locked from when it is there, until that ends": func(f *fixture, p LockingPlace) {
		before := f.Contents(f.T)
		if until := f.lockedUntil(f.sink, aPoint); !until.IsZero() {
			f.Errorf("a point that is not there is locked until %s", until)
		}
		key := f.store(aPoint, "1", "{}", "image")
		stored := f.Contents(f.T)
		for _, s := range []sink.Sink{f.sink, f.Open(f.T)} {
			if until := f.lockedUntil(s, aPoint); until.Before(time.Now().Add(24 * time.Hour)) {
				f.Errorf("it is locked until %s", until)
			}
			err := s.RemovePoint(f.Context(), aPoint)
			locked, ok := errors.AsType[*sink.LockedError](err)
			if !ok || !locked.Until.After(time.Now()) || !sink.IsKept(err) {
				f.Errorf("it is removed: %v", err)
			}
			f.unchanged(stored)
			f.holds(s, key, "image")
		}
		if dirs := f.points(f.sink); !slices.Equal(dirs, []string{aPoint}) {
			f.Errorf("there are %q", dirs)
		}
		p.EndLocks(f.T)
		if until := f.lockedUntil(f.sink, aPoint); !until.IsZero() {
			f.Errorf("it is still locked until %s", until)
		}
		f.must(f.sink.RemovePoint(f.Context(), aPoint))
		f.unchanged(before)
	},
	"marks of a locked point come and go": func(f *fixture, _ LockingPlace) {
		f.store(aPoint, "1", "{}", "image")
		before := f.Contents(f.T)
		for _, name := range sink.MarkNames {
			f.putMark(aPoint, name, "first")
			f.putMark(aPoint, name, "second")
			f.holds(f.sink, path.Join(aPoint, name), "second")
			f.must(f.sink.Remove(f.Context(), path.Join(aPoint, name)))
			f.unchanged(before)
		}
	},
	"what is not published is not locked": func(f *fixture, _ LockingPlace) {
		before := f.Contents(f.T)
		staging := f.stage(f.sink, aPoint, "1")
		f.write(staging, "image.tar.zst", "discarded")
		f.must(staging.Discard(f.Context()))
		f.unchanged(before)
		f.write(f.stage(f.Open(f.T), aPoint, "2"), "image.tar.zst", "of the dead")
		f.must(f.sink.Unstage(f.Context(), aPoint, "2"))
		f.unchanged(before)
	},
	"the loser of two attempts leaves nothing": func(f *fixture, _ LockingPlace) {
		f.store(aPoint, "1", "{}", "image")
		before := f.Contents(f.T)
		staging := f.stage(f.sink, aPoint, "2")
		key := f.write(staging, "image.tar.zst", "later")
		f.reports("publish", staging.Publish(f.Context(), naming(key)), sink.ErrExists)
		f.must(staging.Discard(f.Context()))
		f.unchanged(before)
	},
	"a blob that is extended is locked for longer than a point is, and nothing else is": func(f *fixture, p LockingPlace) {
		before := f.Contents(f.T)
		staging := f.stage(f.sink, aPoint, "1")
		var keys []string
		for _, content := range blobContents {
			keys = append(keys, f.writeBlob(staging, content))
		}
		free := f.writeBlob(staging, "of nobody")
		extender := f.extender(f.sink)
		f.must(extender.Extend(f.Context(), keys))
		f.must(extender.Extend(f.Context(), nil))
		f.must(staging.Publish(f.Context(), []byte("{}")))
		f.must(staging.Discard(f.Context()))
		for i, key := range keys {
			for _, s := range []sink.Sink{f.sink, f.Open(f.T)} {
				if until := f.blobLockedUntil(s, key); until.Before(f.lockedUntil(s, aPoint)) {
					f.Errorf("%s is locked until %s, and the point that needs it for longer", key, until)
				}
				f.isLocked(s.RemoveShared(f.Context(), key))
				f.holds(s, key, blobContents[i])
			}
		}
		for _, key := range []string{"layers/1.json", "garbage/1.json"} {
			f.must(f.sink.PutShared(f.Context(), key, []byte("{}")))
			f.must(f.sink.PutShared(f.Context(), key, []byte("{ }")))
			f.must(f.sink.RemoveShared(f.Context(), key))
		}
		f.must(f.sink.RemoveShared(f.Context(), free))
		p.EndLocks(f.T)
		for _, key := range keys {
			if until := f.blobLockedUntil(f.sink, key); !until.IsZero() {
				f.Errorf("%s is still locked until %s", key, until)
			}
			f.must(f.sink.RemoveShared(f.Context(), key))
		}
		f.must(f.sink.RemovePoint(f.Context(), aPoint))
		f.unchanged(before)
	},
	"a blob is not extended that is not there": func(f *fixture, _ LockingPlace) {
		key := f.writeBlob(f.stage(f.sink, aPoint, "1"), "a layer")
		f.reports("extend", f.extender(f.sink).Extend(f.Context(), []string{key, sink.BlobKey(digestOf("another"))}), sink.ErrNotFound)
		if until := f.blobLockedUntil(f.sink, sink.BlobKey(digestOf("another"))); !until.IsZero() {
			f.Errorf("what is not there is locked until %s", until)
		}
		if err := f.extender(f.sink).Extend(f.Context(), []string{"points/x"}); err == nil {
			f.Error("what is no blob is extended")
		}
	},
	"what takes the place of a locked blob is locked as long": func(f *fixture, _ LockingPlace) {
		for _, content := range blobContents {
			staging := f.stage(f.sink, aPoint, "1")
			key := f.writeBlob(staging, content)
			f.must(f.extender(f.sink).Extend(f.Context(), []string{key}))
			until := f.blobLockedUntil(f.sink, key)
			f.writeBlob(staging, content)
			if now := f.blobLockedUntil(f.sink, key); now.Before(until) {
				f.Errorf("it is locked until %s, and was until %s", now, until)
			}
			f.isLocked(f.sink.RemoveShared(f.Context(), key))
		}
	},
	"several extend one blob at a time": func(f *fixture, _ LockingPlace) {
		key := f.writeBlob(f.stage(f.sink, aPoint, "1"), "a layer")
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if err := f.extender(f.sink).Extend(f.Context(), []string{key}); err != nil {
					f.Error(err)
				}
			})
		}
		all.Wait()
		f.isLocked(f.sink.RemoveShared(f.Context(), key))
	},
}

func (f *fixture) extender(s sink.Sink) sink.Extender {
	f.Helper()
	extender, ok := sink.As[sink.Extender](s)
	if !ok {
		f.Fatalf("%T is no sink.Extender", s)
	}
	return extender
}

func (f *fixture) blobLockedUntil(s sink.Sink, key string) time.Time {
	f.Helper()
	until, err := f.extender(s).BlobLockedUntil(f.Context(), key)
	f.must(err)
	return until
}

// isLocked fails the test unless an error says that something is locked.
func (f *fixture) isLocked(err error) {
	f.Helper()
	if locked, ok := errors.AsType[*sink.LockedError](err); !ok || !locked.Until.After(time.Now()) {
		f.Errorf("the error is %v, want that it is locked", err)
	}
}

func (f *fixture) lockedUntil(s sink.Sink, dir string) time.Time {
	f.Helper()
	locker, ok := sink.As[sink.Locker](s)
	if !ok {
		f.Fatalf("%T is no sink.Locker", s)
	}
	until, err := locker.LockedUntil(f.Context(), dir)
	f.must(err)
	return until
}
