package image_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"sync"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/blob"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

var asked = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

func collect(t *testing.T, s sink.Sink, at time.Duration, want blob.Collected) {
	t.Helper()
	got, err := blob.Collect(t.Context(), s, asked.Add(at), time.Hour)
	if want.Blobs > 0 {
		want.Bytes = got.Bytes
	}
	if err != nil || got != want || (got.Bytes > 0) != (got.Blobs > 0) {
		t.Errorf("after %s it collected %+v, %v, want %+v", at, got, err, want)
	}
}

// Blobs that no point refers to go after the grace, and only those; what is needed again
// meanwhile stays.
func TestCollect(t *testing.T) {
	inBoth(t, func(t *testing.T, s box) {
		collect(t, s, 0, blob.Collected{})
		first, second := mustStore(t, s, 1, web), mustStore(t, s, 2, changed)
		collect(t, s, 0, blob.Collected{})
		remove := func(m *point.Manifest) {
			if err := s.RemovePoint(t.Context(), point.Dir(m.Host, m.Item.Kind, m.Item.Name, m.ID)); err != nil {
				t.Fatal(err)
			}
		}
		remove(first) // its own are a layer, and in clear the configuration and the manifest
		collect(t, s, 0, blob.Collected{Marked: s.of(3, 1)})
		collect(t, s, time.Hour-1, blob.Collected{Marked: s.of(3, 1)})
		third := mustStore(t, s, 3, web) // it is needed again
		collect(t, s, 2*time.Hour, blob.Collected{})
		mustLoad(t, s, third, web)
		remove(third)
		collect(t, s, 3*time.Hour, blob.Collected{Marked: s.of(3, 1)})
		collect(t, s, 4*time.Hour, blob.Collected{Blobs: s.of(3, 1)})
		mustLoad(t, s, second, changed)
		remove(second)
		collect(t, s, 5*time.Hour, blob.Collected{Marked: s.of(5, 3)})
		collect(t, s, 6*time.Hour, blob.Collected{Blobs: s.of(5, 3)})
		if left := s.memory.Contents(); len(left) > 0 {
			t.Errorf("left is %v", left)
		}
	})
}

// Of a point that cannot be read nothing is known, so nothing is removed.
func TestCollectWithADamagedPoint(t *testing.T) {
	s := sinktest.NewMemory()
	m := mustStore(t, s, 1, web)
	dir := point.Dir(m.Host, m.Item.Kind, m.Item.Name, m.ID)
	before := s.Contents()
	s.Corrupt(path.Join(dir, sink.ManifestName), func([]byte) []byte { return []byte("{") })
	for at := range 3 {
		if _, err := blob.Collect(t.Context(), s, asked.Add(time.Duration(at)*24*time.Hour), 0); !errors.Is(err, point.ErrDamaged) {
			t.Errorf("the error is %v", err)
		}
	}
	if len(s.Contents()) != len(before) {
		t.Error("something was removed")
	}
}

// A death at any moment of collecting is taken up by the next run.
func TestCollectInterrupted(t *testing.T) {
	broken := errors.New("killed")
	for _, op := range []sinktest.Op{sinktest.OpPutShared, sinktest.OpRemove, sinktest.OpOpen, sinktest.OpShared, sinktest.OpPoints} {
		for n := 1; n < 12; n++ {
			s := sinktest.NewMemory()
			gone, kept := mustStore(t, s, 1, web), mustStore(t, s, 2, changed)
			if err := s.RemovePoint(t.Context(), point.Dir(gone.Host, gone.Item.Kind, gone.Item.Name, gone.ID)); err != nil {
				t.Fatal(err)
			}
			collect(t, s, 0, blob.Collected{Marked: 3})
			s.FailMaybe(op, n, broken)
			_, err := blob.Collect(t.Context(), s, asked.Add(2*time.Hour), time.Hour)
			if err == nil {
				break // it makes fewer calls than that
			}
			mustLoad(t, s, kept, changed)
			for at := 2; at < 5; at++ {
				if _, err := blob.Collect(t.Context(), s, asked.Add(time.Duration(at)*time.Hour), time.Hour); err != nil {
					t.Fatal(err)
				}
			}
			mustLoad(t, s, kept, changed)
			for key := range s.Contents() {
				if path.Dir(key) == sink.GarbageName || path.Dir(key) == sink.BlobsName && !slices.ContainsFunc(kept.Artifacts, func(a events.Artifact) bool { return a.Key == key }) {
					t.Errorf("%s %d: %s is left", op, n, key)
				}
			}
		}
	}
}

// Two hosts store points of the same layers, while another one removes points and collects
// without a grace: every point that was reported stored can be read.
func TestStoreWhileCollecting(t *testing.T) {
	inBoth(t, func(t *testing.T, s box) {
		ctx, stop := context.WithTimeout(t.Context(), 3*time.Second)
		defer stop()
		pictures := []picture{newPicture("base", "a"), newPicture("base", "b"), newPicture("a"), newPicture("a", "b")}
		var all sync.WaitGroup
		var mu sync.Mutex
		kept := map[string]*point.Manifest{}
		of := map[string]picture{}
		stored, refused := 0, 0
		for host := range 2 {
			all.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					p, id := pictures[rand.N(len(pictures))], idOf(host<<20+n)
					m, err := store(t.Context(), s, fmt.Sprintf("c%d", host), id, p)
					mu.Lock()
					switch {
					case err == nil:
						kept[id], of[id] = m, p
						stored++
					case errors.Is(err, blob.ErrRemoved):
						refused++
					default:
						t.Errorf("%v", err)
					}
					mu.Unlock()
				}
			})
		}
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				mu.Lock()
				for id, m := range kept {
					if rand.N(6) == 0 {
						delete(kept, id)
						if err := s.RemovePoint(t.Context(), point.Dir(m.Host, m.Item.Kind, m.Item.Name, m.ID)); err != nil {
							t.Error(err)
						}
					}
				}
				mu.Unlock()
				if _, err := blob.Collect(t.Context(), s, asked.Add(time.Duration(n)), 0); err != nil {
					t.Error(err)
				}
				time.Sleep(rand.N(60 * time.Millisecond)) // a blob must not be garbage at every moment
			}
		})
		all.Wait()
		for id, m := range kept {
			mustLoad(t, s, m, of[id])
		}
		t.Logf("%d points were stored, %d of them stand, %d were refused", stored, len(kept), refused)
		if stored == 0 {
			t.Error("no point was stored")
		}
	})
}

// Two hosts store points of the same layers, while bits flip in these and another host sees it,
// now sooner and now later: when it has looked once more, and the layers were stored once more,
// every point can be read.
func TestStoreWhileBitsFlip(t *testing.T) {
	s := sinktest.NewMemory()
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
	defer stop()
	pictures := []picture{newPicture("base", "a"), newPicture("base", "bb"), newPicture("a", "bb")} // each size is of one layer
	var all sync.WaitGroup
	var mu sync.Mutex
	of := map[*point.Manifest]picture{}
	for host := range 2 {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				p := pictures[rand.N(len(pictures))]
				m, err := store(t.Context(), s, fmt.Sprintf("c%d", host), idOf(host<<20+n), p)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				of[m] = p
				mu.Unlock()
				time.Sleep(rand.N(10 * time.Millisecond))
			}
		})
	}
	layers := func() (all []events.Artifact) {
		mu.Lock()
		defer mu.Unlock()
		for m := range of {
			for _, a := range m.Artifacts {
				if a.MediaType == point.MediaTypeLayer && !slices.ContainsFunc(all, func(b events.Artifact) bool { return a.Key == b.Key }) {
					all = append(all, a)
				}
			}
		}
		return all
	}
	look := func() (damaged int) {
		for _, a := range layers() {
			if digestOf([]byte(s.Contents()[a.Key])) == a.Digest {
				continue
			}
			damaged++
			if instead, err := blob.Forget(t.Context(), s, &a); instead != "" || err != nil {
				t.Errorf("instead is %q, %v", instead, err)
			}
		}
		return damaged
	}
	flipped, seen := 0, 0
	all.Go(func() {
		for ; ctx.Err() == nil; time.Sleep(rand.N(10 * time.Millisecond)) {
			if known := layers(); len(known) > 0 {
				s.Corrupt(known[rand.N(len(known))].Key, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
				flipped++
			}
			if rand.N(2) == 0 {
				seen += look()
			}
		}
	})
	all.Wait()
	look()
	for i, p := range pictures {
		if _, err := store(t.Context(), s, "last", idOf(1<<22+i), p); err != nil {
			t.Error(err)
		}
	}
	for m, p := range of {
		mustLoad(t, s, m, p)
	}
	t.Logf("%d points were stored; %d times a bit flipped, and %d times that was seen meanwhile", len(of), flipped, seen)
	if seen == 0 {
		t.Error("no damage was seen")
	}
}
