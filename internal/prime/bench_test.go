package prime_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/prime"
	"holdfast.io/holdfast/internal/registry"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/layered"
	"holdfast.io/holdfast/internal/sink/sinktest"
	"holdfast.io/holdfast/internal/state"
	"holdfast.io/holdfast/internal/transport"
	"holdfast.io/holdfast/internal/undo"
	"holdfast.io/holdfast/internal/undo/undotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	baseImage = "built:v1"
	large     = 17 << 20
	patience  = time.Minute
)

// memory keeps what is known of bases.
type memory struct {
	mu  sync.Mutex
	all map[string]state.Base
	err error
}

func (m *memory) Bases() (map[string]state.Base, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.all), m.err
}

func (m *memory) KeepBases(all map[string]state.Base) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = maps.Clone(all)
	return nil
}

// sinks are the one sink there is.
type sinks struct{ sink.Sink }

func (s sinks) Open(context.Context, string) (sink.Sink, error) {
	if s.Sink == nil {
		return nil, sink.ErrUnavailable
	}
	return s.Sink, nil
}

// bench is an Engine with a container of an image that was built there, whose layers a sink
// has.
type bench struct {
	*testing.T
	engine    *enginetest.Fake
	base      string // the image's id
	container string
	sink      *sinktest.Memory
	memory    *memory
	records   *undotest.Memory
	primer    *prime.Primer
	logs      *observer.ObservedLogs
	runner    *backup.Runner
	points    int
	stop      func() // ends the primer, once
}

func newBench(t *testing.T, size int) *bench {
	e := enginetest.NewFake("host")
	core, logs := observer.New(zapcore.DebugLevel)
	b := &bench{T: t, engine: e, base: e.AddLargeImage(size, baseImage), sink: sinktest.NewMemory(), memory: &memory{},
		records: &undotest.Memory{}, logs: logs}
	credentials := engine.Credentials{User: "worker", Password: "secret"}
	server, err := registry.Listen(registry.Options{Credentials: credentials, Log: zap.NewNop()})
	b.must(err)
	b.container = e.Add(enginetest.Spec{Name: "web", Image: baseImage}, events.StateRunning)
	log := zap.New(core)
	push := &transport.Push{Engine: e, Server: server, Credentials: credentials}
	saves := &transport.Save{Engine: e}
	sweeper := &undo.Sweeper{Engine: e, Locks: &undo.Locks{}, Store: b.records, Sinks: sinks{b.sink}, Log: log}
	b.primer = &prime.Primer{Engine: e, EngineID: "e", Push: push, Transport: saves, Sinks: sinks{b.sink}, Sweeper: sweeper,
		Memory: b.memory, Wait: time.Millisecond, Log: log}
	b.runner = &backup.Runner{Engine: e, Sweeper: sweeper, Transport: saves, Push: push, Bases: b.primer, Log: log}
	b.stop = func() {}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { sweeper.Run(ctx) })
	t.Cleanup(func() {
		b.stop()
		cancel()
		running.Wait()
		b.must(server.Close())
		if left := e.Pending(); len(left) > 0 {
			t.Errorf("faults that were not met: %q", left)
		}
	})
	return b
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// backUp stores the container, and returns how it came.
func (b *bench) backUp() events.Transport {
	b.Helper()
	defer b.primer.Busy()()
	b.points++
	out := b.runner.Run(b.Context(), backup.Task{Host: "host", Job: "abcdefghijklmn27", Attempt: 1, Request: point.Request{Source: "/test", ID: "1", CorrelationID: "1"}, Point: fmt.Sprintf("20260102T1504%02dZ-0123abcd", b.points),
		Item:     events.PlannedItem{Item: events.Item{Kind: events.ItemContainer, ID: b.container, Name: "web"}, Quiesce: events.QuiescePause},
		Legs:     []backup.Leg{{Sink: "default", Open: func(context.Context) (sink.Sink, error) { return &layered.Sink{Sink: b.sink}, nil }}},
		Progress: func(events.Step, int64, int64, int64) {}})
	b.must(out[0].Err)
	return out[0].Result.Manifest.Image.Transport
}

// run runs the primer, until it is told to stop.
func (b *bench) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { b.primer.Run(ctx) })
	b.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
}

// await waits until something was logged, and returns what.
func (b *bench) await(text string) observer.LoggedEntry {
	b.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if found := b.logs.FilterMessageSnippet(text).All(); len(found) > 0 {
			return found[0]
		}
	}
	b.Fatalf("in %s nobody says %q, but %v", patience, text, b.logs.All())
	return observer.LoggedEntry{}
}

// wantNothingLeft: nothing is on the Engine but the base, nor is anything to be undone.
func (b *bench) wantNothingLeft() {
	b.Helper()
	var refs []string
	var records []undo.Record
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		var err error
		records, err = b.records.List()
		b.must(err)
		if refs = b.engine.References(); slices.Equal(refs, []string{baseImage}) && len(records) == 0 {
			if left := b.engine.Comments(); len(left) > 0 {
				b.Errorf("images are left: %q", left)
			}
			return
		}
	}
	b.Errorf("the Engine has the images %q, and to be undone are %+v", refs, records)
}

func (b *bench) wantPulls(want int) {
	b.Helper()
	if got := b.engine.Calls(enginetest.Pull); got != want {
		b.Errorf("the Engine has pulled %d times, want %d", got, want)
	}
}

var errBroken = errors.New("broken by plan")
