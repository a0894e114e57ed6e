package image_test

import (
	"context"
	"errors"
	"path"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast.io/holdfast/internal/blob"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

// before is a sink that does something before it removes what points share.
type before struct {
	*sinktest.Memory
	remove func(key string)
}

func (b before) RemoveShared(ctx context.Context, key string) error {
	b.remove(key)
	return b.Memory.RemoveShared(ctx, key)
}

// Who stores a point has read that a blob is garbage, and is about to say that it is not. Just then
// a prune begins to remove it, and is slow. The point is not reported stored without the blob.
func TestABlobIsRemovedWhileItIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sinktest.NewMemory()
		m := mustStore(t, s, 1, web)
		if err := s.RemovePoint(t.Context(), point.Dir(m.Host, m.Item.Kind, m.Item.Name, m.ID)); err != nil {
			t.Fatal(err)
		}
		collect(t, s, 0, blob.Collected{Marked: 5})
		for _, a := range m.Artifacts[1:] { // one blob is enough
			if point.IsShared(&a) {
				key := path.Join(sink.GarbageName, path.Base(a.Key)+".json")
				if err := s.RemoveShared(t.Context(), key); err != nil {
					t.Fatal(err)
				}
			}
		}
		var collecting sync.WaitGroup
		erasing := make(chan struct{})
		slow := before{s, func() func(string) {
			once := sync.OnceFunc(func() { close(erasing); time.Sleep(time.Second) })
			return func(key string) {
				if path.Dir(key) == sink.BlobsName {
					once()
				}
			}
		}()}
		begin := sync.OnceFunc(func() {
			collecting.Go(func() {
				if _, err := blob.Collect(t.Context(), slow, asked.Add(2*time.Hour), time.Hour); err != nil {
					t.Error(err)
				}
			})
			<-erasing
		})
		again, err := store(t.Context(), before{s, func(key string) {
			if strings.HasPrefix(key, sink.GarbageName) {
				begin()
			}
		}}, "web-1", idOf(2), web)
		collecting.Wait()
		if err == nil {
			mustLoad(t, s, again, web)
		} else if !errors.Is(err, blob.ErrRemoved) {
			t.Error(err)
		}
		mustLoad(t, s, mustStore(t, s, 3, web), web)
	})
}

// What another process removes by now is left to it, until it must have died.
func TestARemovalOfAnotherIsLeftToIt(t *testing.T) {
	s := sinktest.NewMemory()
	m := mustStore(t, s, 1, web)
	if err := s.RemovePoint(t.Context(), point.Dir(m.Host, m.Item.Kind, m.Item.Name, m.ID)); err != nil {
		t.Fatal(err)
	}
	collect(t, s, 0, blob.Collected{Marked: 5})
	died := errors.New("killed")
	s.FailMaybe(sinktest.OpRemove, 1, died) // once it has said what it removes
	if _, err := blob.Collect(t.Context(), s, asked.Add(2*time.Hour), time.Hour); !errors.Is(err, died) {
		t.Fatal(err)
	}
	collect(t, s, 2*time.Hour+59*time.Minute, blob.Collected{})
	collect(t, s, 3*time.Hour, blob.Collected{Blobs: 5})
	if left := s.Contents(); len(left) > 0 {
		t.Errorf("left is %v", left)
	}
}
