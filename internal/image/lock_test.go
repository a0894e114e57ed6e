package image_test

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/internal/blob"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
)

func dirOf(m *point.Manifest) string { return point.Dir(m.Host, m.Item.Kind, m.Item.Name, m.ID) }

// mustBeLocked fails the test unless each blob of a point is locked for as long as the point.
func mustBeLocked(t *testing.T, s box, m *point.Manifest) {
	t.Helper()
	until, err := s.memory.LockedUntil(t.Context(), dirOf(m))
	if err != nil || until.IsZero() {
		t.Fatalf("the point is locked until %s, %v", until, err)
	}
	for _, a := range m.Artifacts {
		if !point.IsShared(&a) {
			continue
		}
		if blobUntil, err := s.memory.BlobLockedUntil(t.Context(), a.Key); err != nil || blobUntil.Before(until) {
			t.Errorf("%s, a %s, is locked until %s, %v, and its point until %s", a.Key, a.MediaType, blobUntil, err, until)
		}
		if _, locked := errors.AsType[*sink.LockedError](s.RemoveShared(t.Context(), a.Key)); !locked {
			t.Errorf("%s is removed", a.Key)
		}
	}
}

// What a point needs is locked for as long as the point is, also what lay there before it and
// was locked for less, and what is stored anew.
func TestLockedLayers(t *testing.T) {
	inBoth(t, func(t *testing.T, s box) {
		s.memory.LockFor(time.Hour)
		first := mustStore(t, s, 1, web)
		mustBeLocked(t, s, first)
		s.memory.LockFor(30 * 24 * time.Hour) // what is there is locked no longer
		mustBeLocked(t, s, mustStore(t, s, 2, changed))
		s.memory.Corrupt(first.Artifacts[0].Key, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		if _, err := blob.Forget(t.Context(), s, &first.Artifacts[0]); err != nil {
			t.Fatal(err)
		}
		third := mustStore(t, s, 3, web)
		mustBeLocked(t, s, third)
		mustLoad(t, s, third, web)
	})
}

// A point is not published of which a blob is gone, or cannot be locked: then nothing is there
// of it that is.
func TestLayersThatCannotBeLocked(t *testing.T) {
	inBoth(t, func(t *testing.T, s box) {
		s.memory.LockFor(time.Hour)
		denied := fmt.Errorf("%w: these credentials may not do that", sink.ErrUnavailable)
		for fault, want := range map[error]error{sink.ErrNotFound: blob.ErrRemoved, denied: denied} {
			s.memory.Fail(t, "extend", 1, fault)
			if _, err := store(t.Context(), s, "web-1", idOf(1), web); !errors.Is(err, want) || errors.Is(err, sink.ErrNotFound) {
				t.Errorf("the error is %v, want %v", err, want)
			}
			for key := range s.memory.Contents() {
				if strings.HasPrefix(key, sink.PointsName) {
					t.Errorf("%s is there", key)
				}
			}
		}
		mustBeLocked(t, s, mustStore(t, s, 1, web))
	})
}

// Blobs of an attempt that died before its point appeared are garbage that is locked: they stay
// quietly, are found by who needs them, and go when their lock has ended.
func TestCollectWhatIsLocked(t *testing.T) {
	inBoth(t, func(t *testing.T, s box) {
		s.memory.LockFor(time.Hour)
		s.memory.Fail(t, "publish", 1, errors.New("killed"))
		if _, err := store(t.Context(), s, "web-1", idOf(1), web); err == nil {
			t.Fatal("it was not killed")
		}
		n := s.of(5, 3)
		collect(t, s, 0, blob.Collected{Marked: n})
		before := s.memory.Contents()
		for at := range 2 {
			collect(t, s, time.Duration(1+at)*time.Hour, blob.Collected{Locked: n})
		}
		if after := s.memory.Contents(); len(after) != len(before) {
			t.Errorf("there were %d objects, and are %d", len(before), len(after))
		}
		if _, found, err := blob.Find(t.Context(), s, web.diffIDs[0]); err != nil || !found {
			t.Errorf("a layer is found: %t, %v", found, err)
		}
		s.memory.LockFor(0)
		collect(t, s, 3*time.Hour, blob.Collected{Blobs: n - 1, Marked: 1}) // one was found
		collect(t, s, 4*time.Hour, blob.Collected{Blobs: 1})
		if left := s.memory.Contents(); len(left) > 0 {
			t.Errorf("left is %v", left)
		}
	})
}

// meanwhile is a sink in which something happens just before the first blob is removed.
type meanwhile struct {
	box
	do func(key string)
}

func (s *meanwhile) RemoveShared(ctx context.Context, key string) error {
	if do := s.do; path.Dir(key) == sink.BlobsName && do != nil {
		s.do = nil
		do(key)
	}
	return s.box.RemoveShared(ctx, key)
}

// Who locks a blob just before it is removed has it.
func TestLockedWhileCollecting(t *testing.T) {
	inBoth(t, func(t *testing.T, s box) {
		if err := s.RemovePoint(t.Context(), dirOf(mustStore(t, s, 1, web))); err != nil {
			t.Fatal(err)
		}
		s.memory.LockFor(time.Hour)
		n := s.of(5, 3)
		collect(t, s, 0, blob.Collected{Marked: n})
		var locked string
		during := &meanwhile{s, func(key string) {
			locked = key
			if err := s.memory.Extend(t.Context(), []string{key}); err != nil {
				t.Error(err)
			}
		}}
		collect(t, during, 2*time.Hour, blob.Collected{Blobs: n - 1, Locked: 1})
		if all := s.memory.Contents(); all[locked] == "" || len(all) != 1 {
			t.Errorf("there are %d objects, want %s alone", len(all), locked)
		}
	})
}

// mayNotRemove is a sink as with credentials that may not remove.
type mayNotRemove struct{ box }

func (mayNotRemove) RemoveShared(context.Context, string) error { return sink.ErrMayNotRemove }

// Who may not remove a mark says that the blob is needed again, all the same.
func TestStoreWithoutTheRightToRemove(t *testing.T) {
	inBoth(t, func(t *testing.T, s box) {
		first := mustStore(t, s, 1, web)
		if err := s.RemovePoint(t.Context(), dirOf(first)); err != nil {
			t.Fatal(err)
		}
		n := s.of(5, 3)
		collect(t, s, 0, blob.Collected{Marked: n})
		second := mustStore(t, mayNotRemove{s}, 2, web)
		stored := 0
		for _, a := range second.Artifacts {
			if point.IsShared(&a) && !a.Reused {
				stored++
			}
		}
		if stored > 0 {
			t.Errorf("%d blobs were stored anew", stored)
		}
		collect(t, s, 2*time.Hour, blob.Collected{})
		for key := range s.memory.Contents() {
			if path.Dir(key) == sink.GarbageName {
				t.Errorf("%s is left", key)
			}
		}
		mustLoad(t, s, second, web)
		if err := s.RemovePoint(t.Context(), dirOf(second)); err != nil {
			t.Fatal(err)
		}
		collect(t, s, 3*time.Hour, blob.Collected{Marked: n})
		if _, found, err := blob.Find(t.Context(), mayNotRemove{s}, web.diffIDs[0]); err != nil || !found {
			t.Errorf("a layer is found: %t, %v", found, err)
		}
		collect(t, s, 4*time.Hour, blob.Collected{Blobs: n - 1, Marked: 1}) // one is needed, somebody said
		collect(t, s, 5*time.Hour, blob.Collected{Blobs: 1})
	})
}
