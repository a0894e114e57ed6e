package sinktest

import (
	"errors"
	"maps"
	"path"
	"slices"
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
