package prime_test

import (
	"context"
	"errors"
	"path"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/prime"
	"holdfast.io/holdfast/internal/sink/sinktest"
	"holdfast.io/holdfast/internal/state"
	"holdfast.io/holdfast/internal/transport"
)

// A base that was saved is primed, once, and what is based on it is pushed without it.
func TestPrimed(t *testing.T) {
	b := newBench(t, large)
	b.run()
	if got := b.backUp(); got != events.TransportSave {
		t.Fatalf("the first backup came by %s", got)
	}
	said := b.await("primed: ").ContextMap()
	if said["image"] != b.base || said["bytes"].(int64) < large {
		t.Errorf("it says %v", said)
	}
	b.wantNothingLeft()
	b.wantPulls(1)
	b.engine.Write(b.container, "written", []byte("since"))
	if got := b.backUp(); got != events.TransportPush {
		t.Errorf("the second backup came by %s", got)
	}
	if sent := b.await("an image was pushed").ContextMap()["bytes"].(int64); sent > 10_000 {
		t.Errorf("%d bytes were pushed", sent)
	}

	// The next worker knows it, and a worker of another Engine does not.
	for id, known := range map[string]bool{"e": true, "other": false} {
		p := &prime.Primer{Engine: b.engine, EngineID: id, Push: b.primer.Push, Transport: b.primer.Transport, Sinks: b.primer.Sinks,
			Sweeper: b.primer.Sweeper, Memory: b.memory, Log: zap.NewNop()}
		b.stop()
		b.primer = p
		b.run()
		b.sink = sinktest.NewMemory() // so that all is saved again
		b.primer.Sinks, b.runner.Bases = sinks{b.sink}, p
		before := b.engine.Calls(enginetest.Pull)
		b.backUp()
		if !known {
			for b.engine.Calls(enginetest.Pull) == before {
				time.Sleep(time.Millisecond)
			}
		}
		b.wantNothingLeft()
		if pulled := b.engine.Calls(enginetest.Pull) > before; pulled == known {
			t.Errorf("with the Engine %s it was pulled: %v", id, pulled)
		}
	}
}

// What the Engine has forgotten, as it sends what it need not, it is told again.
func TestForgotten(t *testing.T) {
	b := newBench(t, large)
	b.run()
	b.backUp()
	b.await("primed: ")
	base, err := b.engine.InspectImage(t.Context(), baseImage)
	b.must(err)
	top := base.DiffIDs[len(base.DiffIDs)-1]
	b.primer.Push.Untold(top)
	b.engine.Write(b.container, "written", []byte("since"))
	if got := b.backUp(); got != events.TransportSave {
		t.Errorf("what it would send came by %s", got)
	}
	for b.primer.Push.IsUntold(top) {
		time.Sleep(time.Millisecond)
	}
	b.wantPulls(2)
	b.engine.Write(b.container, "written", []byte("later"))
	if got := b.backUp(); got != events.TransportPush {
		t.Errorf("what it was told again came by %s", got)
	}
}

// What the Engine has pushed it knows.
func TestPushedFirst(t *testing.T) {
	b := newBench(t, large)
	b.backUp()
	b.engine.Write(b.container, "written", []byte("since"))
	if got := b.backUp(); got != events.TransportPush {
		t.Fatalf("the second backup came by %s", got)
	}
	b.run()
	b.primer.Saved(prime.Base{Image: "sha256:other", DiffIDs: []string{"sha256:x"}, Sink: "default", Dir: "points/none"})
	b.await("not primed") // the other one
	b.wantPulls(0)
}

func TestNotPrimed(t *testing.T) {
	for why, c := range map[string]struct {
		size int
		set  func(b *bench)
	}{
		"layers are small":      {1 << 20, func(*bench) {}},
		"has pulled its layers": {large, func(b *bench) { b.engine.SetDigests(b.base, "registry.example.com/app@sha256:1") }},
		"it is gone":            {large, func(b *bench) { b.engine.LoseImage(baseImage) }},
		"not in the sink": {large, func(b *bench) {
			for key := range b.sink.Contents() {
				if path.Base(key) == "manifest.json" {
					b.must(b.sink.RemovePoint(b.Context(), path.Dir(key)))
				}
			}
		}},
	} {
		t.Run(why, func(t *testing.T) {
			b := newBench(t, c.size)
			b.backUp()
			c.set(b)
			b.run()
			if said := b.await("not primed").ContextMap()["error"].(string); !strings.Contains(said, why) {
				t.Errorf("it says %q, want %q", said, why)
			}
			b.wantPulls(0)
		})
	}
}

// A digest of an image of ours does not say that the Engine has pulled it.
func TestOwnDigest(t *testing.T) {
	b := newBench(t, large)
	b.backUp()
	b.engine.SetDigests(b.base, "127.0.0.1:1/holdfast/"+strings.Repeat("0", 32)+"@sha256:1")
	b.run()
	b.await("primed: ")
}

// A job ends what is being primed at once, and nothing is left of it. What is never done in
// time is not begun again and again.
func TestJobComes(t *testing.T) {
	b := newBench(t, large)
	b.backUp()
	began := make(chan func())
	ended := make(chan struct{})
	b.engine.Plan(enginetest.Fault{Op: enginetest.Pull, Times: 3, During: func() { began <- b.primer.Busy(); <-ended }})
	b.run()
	for range 3 {
		end := <-began
		ended <- struct{}{}
		end()
	}
	if said := b.await("is not tried again").ContextMap()["error"].(string); !strings.Contains(said, "a job has come") {
		t.Errorf("it says %q", said)
	}
	b.wantPulls(3)
	if refs := b.engine.References(); len(refs) != 1 {
		t.Errorf("the Engine has the images %q", refs)
	}
	for _, base := range b.memory.all {
		if base.Known || base.Tries != 3 {
			t.Errorf("kept is %+v", base)
		}
	}
}

// Whoever may not pull is told so once.
func TestRefused(t *testing.T) {
	b := newBench(t, large)
	b.engine.Refuse(engine.CallPull)
	b.backUp()
	b.run()
	if said := b.await("bases are not primed").ContextMap()["error"].(string); !strings.Contains(said, "/images/create") {
		t.Errorf("it says %q", said)
	}
	b.backUp()
	b.wantPulls(1)
}

// What was pulled and cannot be removed at once is removed later, and the base counts as
// primed.
func TestRemovedLater(t *testing.T) {
	b := newBench(t, large)
	b.backUp()
	b.engine.Plan(enginetest.Fault{Op: enginetest.RemoveImage, Err: errBroken, Times: 2})
	b.run()
	b.await("it will be removed")
	b.await("primed: ")
	b.wantNothingLeft()
}

// An image that comes though the Engine says that the pull has failed is removed.
func TestPullFailsLate(t *testing.T) {
	b := newBench(t, large)
	b.backUp()
	b.engine.Plan(enginetest.Fault{Op: enginetest.Pull, Err: engine.ErrEngineUnavailable, Late: true})
	b.run()
	b.await("it is tried again")
	b.wantNothingLeft()
}

// A layer that is damaged in the sink is not pulled.
func TestDamaged(t *testing.T) {
	b := newBench(t, large)
	b.backUp()
	for key := range b.sink.Contents() {
		if raw := b.sink.Contents()[key]; strings.HasPrefix(key, "blobs/") && len(raw) > 1000 {
			b.sink.Corrupt(key, func(raw []byte) []byte { raw[len(raw)/2] ^= 1; return raw })
		}
	}
	b.run()
	b.await("it is tried again")
	if refs := b.engine.References(); len(refs) != 1 {
		t.Errorf("the Engine has the images %q", refs)
	}
}

// The Engine's disk is not filled.
func TestNoRoom(t *testing.T) {
	b := newBench(t, large)
	b.backUp()
	b.primer.Transport = &transport.Save{Engine: b.engine, Room: func(string) (int64, error) { return 3*large - 1, nil }}
	b.run()
	if said := b.await("it is tried again").ContextMap()["error"].(string); !strings.Contains(said, "disk is full") {
		t.Errorf("it says %q", said)
	}
	b.wantPulls(0)
}

// What is not known to have been primed is not.
func TestMemoryIsDamaged(t *testing.T) {
	b := newBench(t, large)
	b.memory.err = errors.New("bases.json is damaged; remove it")
	b.backUp()
	b.run()
	b.await("bases are not primed")
	b.wantPulls(0)
}

// calls are what is asked first of an Engine at each try, which fails.
type calls struct {
	enginetest.Fake
	mu  sync.Mutex
	all []time.Duration
	at  time.Time
}

func (c *calls) About(context.Context) (engine.About, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, time.Since(c.at))
	return engine.About{}, errBroken
}

// A base is tried when no job has run for a while, and again after growing times, and not
// for ever.
func TestTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, m := &calls{at: time.Now()}, &memory{}
		p := &prime.Primer{Engine: e, EngineID: "e", Push: &transport.Push{}, Memory: m, Wait: 30 * time.Second, Log: zap.NewNop()}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { p.Run(ctx) })
		synctest.Wait()
		first, second := p.Busy(), p.Busy()
		p.Saved(prime.Base{DiffIDs: []string{"sha256:x"}})
		time.Sleep(time.Hour)
		first()
		time.Sleep(time.Hour)
		second()
		time.Sleep(20 * time.Second)
		p.Busy()()
		time.Sleep(100 * time.Hour)
		at := 2*time.Hour + 50*time.Second
		want := []time.Duration{at, at + 10*time.Minute, at + 40*time.Minute}
		synctest.Wait()
		if len(e.all) != len(want) || e.all[0] != want[0] || e.all[1] != want[1] || e.all[2] != want[2] {
			t.Errorf("it is tried after %v, want %v", e.all, want)
		}
		p.Saved(prime.Base{DiffIDs: []string{"sha256:x"}})
		time.Sleep(100 * time.Hour)
		synctest.Wait()
		if len(e.all) != len(want) {
			t.Errorf("it is tried after %v", e.all)
		}
		cancel()
		running.Wait()
	})
}

// What is kept is bounded, and the oldest goes.
func TestMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{all: map[string]state.Base{}}
		p := &prime.Primer{EngineID: "e", Push: &transport.Push{}, Memory: m, Log: zap.NewNop()}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { p.Run(ctx) })
		synctest.Wait()
		for i := range 1010 {
			time.Sleep(time.Second)
			p.Pushed([]string{strings.Repeat("x", i)})
		}
		oldest := time.Now()
		for _, base := range m.all {
			if base.Time.Before(oldest) {
				oldest = base.Time
			}
		}
		if age := time.Since(oldest); len(m.all) != 1000 || age != 999*time.Second {
			t.Errorf("%d are kept, the oldest of %s ago", len(m.all), age)
		}
		cancel()
		running.Wait()
	})
}
