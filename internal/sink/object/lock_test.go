package object_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object/objecttest"
)

// An attempt is taken for dead while its process publishes it in a store that locks: the
// point is there, whole and locked, or Publish fails and it is not there. What cannot be
// removed is told, and goes when its lock ends.
func TestUnstageDuringLockedPublish(t *testing.T) {
	for n := 1; ; n++ {
		m := objecttest.NewLocking()
		empty := open(t, m)
		before := m.Contents(t)
		staging, manifest := staged(t, empty)
		other := open(t, m)
		var unstaged error
		reached := interruptNth(m, n, func() error { unstaged = other.Unstage(context.Background(), dir, "1"); return nil })
		err := staging.Publish(t.Context(), manifest)
		last := !reached()
		if there := whole(t, m); there != (err == nil) {
			t.Errorf("unstaged before operation %d: published %t, and Publish reports %v", n, there, err)
		}
		if unstaged != nil && !sink.IsKept(unstaged) {
			t.Errorf("unstaged before operation %d: %v", n, unstaged)
		}
		if err == nil {
			checkLocked(t, other)
		}
		_ = staging.Discard(t.Context())
		swept(t, m, other, err == nil, before)
		if last {
			return
		}
	}
}

// A process dies before any operation of Publish: there is no point, or one that is whole and
// locked. What is left goes when its lock ends.
func TestDeathDuringLockedPublish(t *testing.T) {
	died := errors.New("died")
	for n := 1; ; n++ {
		m := objecttest.NewLocking()
		s := open(t, m)
		before := m.Contents(t)
		staging, manifest := staged(t, s)
		count := 0
		m.Interrupt(func(string, string) error {
			if count++; count >= n {
				return died
			}
			return nil
		})
		err := staging.Publish(t.Context(), manifest)
		m.Interrupt(nil)
		there := whole(t, m)
		if there {
			checkLocked(t, s)
		}
		if err := s.Unstage(t.Context(), dir, "1"); err != nil && !sink.IsKept(err) {
			t.Errorf("dead before operation %d: unstage: %v", n, err)
		}
		swept(t, m, s, there, before)
		if err == nil {
			return
		}
	}
}

func checkLocked(t *testing.T, s interface {
	sink.Locker
	sink.Remover
}) {
	t.Helper()
	until, err := s.LockedUntil(t.Context(), dir)
	if err != nil || !until.After(time.Now()) {
		t.Errorf("the point is locked until %s, %v", until, err)
	}
	if err := s.RemovePoint(t.Context(), dir); !sink.IsKept(err) {
		t.Errorf("the point is removed: %v", err)
	}
}

// swept fails the test unless, once the locks have ended, nothing is there but the point.
func swept(t *testing.T, m *objecttest.Memory, s interface {
	sink.Sweeper
	sink.Remover
}, there bool, before map[string]string) {
	t.Helper()
	must(t, s.Sweep(t.Context(), sink.PointsName)) // while it is locked, that is no error
	if whole(t, m) != there {
		t.Error("the point came or went")
	}
	m.EndLocks(t)
	must(t, s.Sweep(t.Context(), sink.PointsName))
	want := len(before)
	if there {
		want += 3
	}
	if after := m.Contents(t); len(after) != want || whole(t, m) != there {
		t.Errorf("there are %q", after)
	}
}

// What an attempt has left that may not be removed stays, is told, and keeps no other attempt
// from making the point; whoever may sweeps it.
func TestWithoutTheRightToRemove(t *testing.T) {
	m := objecttest.NewMemory()
	s := open(t, m)
	deny := func(op, _ string) error {
		if op == "Delete" {
			return sink.ErrMayNotRemove
		}
		return nil
	}
	m.Interrupt(deny)
	staging, _ := staged(t, s)
	if err := staging.Discard(t.Context()); !errors.Is(err, sink.ErrMayNotRemove) {
		t.Errorf("discard: %v", err)
	}
	for range 2 {
		if err := s.Unstage(t.Context(), dir, "1"); !errors.Is(err, sink.ErrMayNotRemove) {
			t.Errorf("unstage: %v", err)
		}
	}
	if err := s.MayRemove(t.Context()); !errors.Is(err, sink.ErrMayNotRemove) {
		t.Errorf("it may remove: %v", err)
	}
	must(t, s.Sweep(t.Context(), sink.PointsName))
	second, err := s.Stage(t.Context(), dir, "2")
	must(t, err)
	w, key, err := second.Create(t.Context(), "image.tar.zst", 0)
	must(t, err)
	must(t, w.Commit())
	must(t, second.Publish(t.Context(), []byte(key)))
	must(t, second.Discard(t.Context()))

	m.Interrupt(nil)
	must(t, s.Sweep(t.Context(), sink.PointsName))
	must(t, s.MayRemove(t.Context()))
	if all := m.Contents(t); len(all) != 3 { // the identity, the manifest and its artifact
		t.Errorf("there are %q", all)
	}
}
