package quota_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/limit"
	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/object/objecttest"
	"holdfast.io/holdfast/internal/sink/quota"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A sink that has a quota is a sink.
func TestConformance(t *testing.T) {
	sinktest.RunInMemory(t, func(m *sinktest.Memory) sink.Sink { return quota.New(m, 1<<40, "memory") })
}

const manifest = "{}"

func dirOf(id string) string { return "points/h/container/n/" + id }

// store stores a point with an artifact of so many bytes, of which so many are known before.
func store(ctx context.Context, s sink.Sink, id string, known int64, size int) error {
	staging, err := sink.StageAtLeast(ctx, s, dirOf(id), "1", known)
	if err != nil {
		return err
	}
	defer staging.Discard(ctx) //nolint:errcheck // it is in memory
	w, _, err := staging.Create(ctx, "image.tar.zst", 0)
	if err != nil {
		return err
	}
	for part := range (size + 9) / 10 {
		if _, err := w.Write(make([]byte, min(10, size-10*part))); err != nil {
			return errors.Join(err, w.Abort())
		}
	}
	if err := w.Commit(); err != nil {
		return err
	}
	return staging.Publish(ctx, []byte(manifest))
}

func used(t *testing.T, s *quota.Sink) int64 {
	t.Helper()
	n, _, err := s.Ration(t.Context())
	must(t, err)
	return n
}

func lies(m *sinktest.Memory) (bytes int64) {
	for _, content := range m.Contents() {
		bytes += int64(len(content))
	}
	return bytes
}

// refused fails the test unless err says that the quota is in the way, in these words, and
// nothing more lies in the sink.
func refused(t *testing.T, m *sinktest.Memory, before int64, err error, says ...string) {
	t.Helper()
	if !errors.Is(err, sink.ErrFull) {
		t.Fatalf("it reports %v, want that the sink is full", err)
	}
	for _, want := range append(says, "memory", "prune, or raise the quota") {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if now := lies(m); now != before {
		t.Errorf("%d bytes lie there, and %d did", now, before)
	}
}

func TestQuota(t *testing.T) {
	m := sinktest.NewMemory()
	s := quota.New(m, 1000, "memory")
	must(t, store(t.Context(), s, "a", 0, 400))
	if n := used(t, s); n != 402 {
		t.Errorf("%d bytes are used, want 402", n)
	}
	refused(t, m, 402, store(t.Context(), s, "b", 599, 10), "its quota is 1000 B, and 402 B are used; this point needs about 599 B")
	refused(t, m, 402, store(t.Context(), s, "b", 0, 610), "this point has 590 B by now, is not complete, and is discarded")
	must(t, store(t.Context(), s, "b", 598, 598))
	must(t, m.PutMark(t.Context(), dirOf("b"), sink.RemovedName, nil)) // its bytes still count
	refused(t, m, 1002, store(t.Context(), s, "c", 0, 1), "its quota is 1000 B, and 1002 B are used: prune")
	if err := s.HasRoom(t.Context()); !errors.Is(err, sink.ErrFull) {
		t.Errorf("it has room: %v", err)
	}
	must(t, s.RemovePoint(t.Context(), dirOf("a")))
	must(t, store(t.Context(), s, "c", 0, 300))
	must(t, s.HasRoom(t.Context()))
}

// What another process stores and removes is seen: soon, and before anything is refused.
func TestOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := sinktest.NewMemory()
		s := quota.New(m, 1000, "memory")
		must(t, store(t.Context(), s, "a", 0, 10))
		must(t, store(t.Context(), m.Reopen(), "b", 0, 900))
		time.Sleep(6 * time.Minute)
		refused(t, m, 914, store(t.Context(), s, "c", 200, 200), "914 B are used")
		must(t, m.Reopen().RemovePoint(t.Context(), dirOf("b")))
		must(t, store(t.Context(), s, "c", 200, 200))
	})
}

// Of two points at a time the second one sees what the first one has claimed.
func TestReservation(t *testing.T) {
	m := sinktest.NewMemory()
	s := quota.New(m, 1000, "memory")
	first, err := s.StageAtLeast(t.Context(), dirOf("a"), "1", 600)
	must(t, err)
	refused(t, m, 0, store(t.Context(), s, "b", 600, 600), "0 B are used, and 600 B by what is being stored now; this point needs about 600 B")
	w, _, err := first.Create(t.Context(), "image.tar.zst", 0)
	must(t, err)
	_, err = w.Write(make([]byte, 700)) // more than was expected
	must(t, err)
	refused(t, m, 700, store(t.Context(), s, "b", 350, 350), "700 B by what is being stored now")
	must(t, w.Abort())
	must(t, store(t.Context(), s, "b", 350, 350))
	must(t, first.Discard(t.Context()))
	must(t, store(t.Context(), s, "c", 600, 600))
}

// share writes a blob of so many bytes, of an attempt that is discarded.
func share(t *testing.T, s sink.Sink, known int64, size int) error {
	t.Helper()
	staging, err := sink.StageAtLeast(t.Context(), s, dirOf("shares"), "1", known)
	if err != nil {
		return err
	}
	defer staging.Discard(t.Context()) //nolint:errcheck // it is in memory
	w, err := staging.CreateBlob(t.Context(), 0)
	must(t, err)
	content := []byte(strings.Repeat("b", size))
	if _, err := w.Write(content); err != nil {
		return errors.Join(err, w.Abort())
	}
	return w.Commit(digest.FromBytes(content).String())
}

// What points share lies there whatever comes of the attempt that stored it, and counts once.
func TestShared(t *testing.T) {
	m := sinktest.NewMemory()
	s := quota.New(m, 1000, "memory")
	must(t, share(t, s, 600, 600))
	if n := used(t, s); n != 600 {
		t.Errorf("%d bytes are used, want 600", n)
	}
	must(t, share(t, s, 0, 300))
	refused(t, m, 900, share(t, s, 0, 101), "900 B are used")
	must(t, share(t, s, 0, 90))
	must(t, s.RemoveShared(t.Context(), sink.BlobKey(digest.FromString(strings.Repeat("b", 300)).String())))
	must(t, share(t, s, 0, 300))
	if n := used(t, s); n != 990 || n != lies(m) {
		t.Errorf("%d bytes are used, and %d lie there", n, lies(m))
	}
	// In place of what is there it counts twice only until the sink is counted again.
	for range 3 {
		must(t, share(t, s, 0, 5))
	}
	must(t, s.HasRoom(t.Context()))
	if n := used(t, s); n != 995 {
		t.Errorf("%d bytes are used, want 995", n)
	}
}

// However many points are stored at a time, the sink never holds more than its quota, and the
// books say in the end what lies there.
func TestManyAtATime(t *testing.T) {
	m := sinktest.NewMemory()
	const most = 20_000
	s := quota.New(m, most, "memory")
	var all sync.WaitGroup
	var mu sync.Mutex
	var stored, full int
	for g := range 8 {
		random := rand.New(rand.NewPCG(1, uint64(g)))
		all.Go(func() {
			for n := range 60 {
				id, size := fmt.Sprintf("%d-%d", g, n), random.IntN(2000)
				err := store(t.Context(), s, id, int64(random.IntN(size+1)), size)
				mu.Lock()
				switch {
				case err == nil:
					stored++
				case errors.Is(err, sink.ErrFull):
					full++
				default:
					t.Error(err)
				}
				mu.Unlock()
				if now := lies(m); now > most+8*60*int64(len(manifest)) {
					t.Errorf("%d bytes lie there", now)
				}
				if err == nil && random.IntN(2) == 0 {
					if err := s.RemovePoint(t.Context(), dirOf(id)); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	if stored == 0 || full == 0 {
		t.Errorf("%d points were stored, and %d refused", stored, full)
	}
	if n := used(t, s); n != lies(m) {
		t.Errorf("%d bytes are used, and %d lie there", n, lies(m))
	}
}

// A point that is published while the sink is listed counts once, also where it is listed.
func TestPublishedWhileCounted(t *testing.T) {
	memory := objecttest.NewMemory()
	inner, err := object.Open(t.Context(), memory.Open(t), "", "")
	must(t, err)
	s := quota.New(inner, 1000, "memory")
	staging, err := s.Stage(t.Context(), dirOf("b"), "1")
	must(t, err)
	must(t, store(t.Context(), s, "a", 0, 100))
	must(t, s.Unstage(t.Context(), dirOf("x"), "1")) // has it counted again
	w, _, err := staging.Create(t.Context(), "image.tar.zst", 0)
	must(t, err)
	_, err = w.Write(make([]byte, 200))
	must(t, err)
	must(t, w.Commit())
	published := false
	memory.Interrupt(func(op, _ string) error {
		if op == "List" && !published {
			published = true
			must(t, staging.Publish(t.Context(), []byte(manifest)))
		}
		return nil
	})
	for range 2 {
		if n := used(t, s); n != 304 || !published {
			t.Errorf("%d bytes are used, want 304", n)
		}
		must(t, s.Unstage(t.Context(), dirOf("x"), "1"))
	}
}

// What wraps Stage inside of a quota still does so.
func TestLimitInside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := quota.New(limit.New(sinktest.NewMemory(), limit.Options{Rate: 1 << 20}), 1<<40, "memory")
		began := time.Now()
		must(t, store(t.Context(), s, "a", 1, 3<<20))
		if took := time.Since(began); took < 1900*time.Millisecond {
			t.Errorf("it took %s", took)
		}
	})
}

// A sink that cannot be listed stores nothing, and says why.
func TestNotListed(t *testing.T) {
	m := sinktest.NewMemory()
	broken := errors.New("it cannot be listed")
	m.Fail(t, sinktest.OpPoints, 1, broken)
	err := store(t.Context(), quota.New(m, 1000, "memory"), "a", 0, 10)
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "quota") {
		t.Errorf("it reports %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := store(ended, quota.New(m, 1000, "memory"), "a", 0, 10); !errors.Is(err, context.Canceled) {
		t.Errorf("it reports %v", err)
	}
}
