package backup_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

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
	"holdfast.io/holdfast/internal/transport"
	"holdfast.io/holdfast/internal/undo/undotest"
)

// pushBench is a bench whose Engine reaches a registry, in real time.
func pushBench(t *testing.T) (b *bench, id string) {
	e := enginetest.NewFake("host")
	e.AddImage(baseImage)
	b = &bench{T: t, engine: e, sink: sinktest.NewMemory(), store: &undotest.Memory{}}
	b.newWorker()
	credentials := engine.Credentials{User: "worker", Password: "secret"}
	server, err := registry.Listen(registry.Options{Credentials: credentials, Log: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	b.runner.Push = &transport.Push{Engine: e, Server: server, Credentials: credentials}
	stop := b.sweep()
	t.Cleanup(func() {
		stop()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	id = b.add(events.StateRunning)
	return b, id
}

// pushTask is a task whose sink has layers.
func (b *bench) pushTask(id, pointID string, s sink.Sink) backup.Task {
	task := b.task(id, events.QuiescePause)
	task.Point, task.Legs = pointID, legs(&layered.Sink{Sink: s})
	return task
}

func (b *bench) blobs() (all []string) {
	for key := range maps.Keys(b.sink.Contents()) {
		if path.Dir(key) == "blobs/sha256" {
			all = append(all, key)
		}
	}
	return all
}

// change writes something into the container that is small beside its image.
func (b *bench) change(id string, seed byte) {
	content := make([]byte, 1000)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(content)
	b.engine.Write(id, "new", content)
}

// backUp stores a point, and returns how many blobs that has added.
func (b *bench) backUp(id, pointID string, want events.Transport) (added int) {
	b.Helper()
	before := len(b.blobs())
	result, err := b.run(b.Context(), b.pushTask(id, pointID, b.sink))
	if err != nil {
		b.Fatal(err)
	}
	if img := result.Manifest.Image; img.Transport != want || img.TransportReason == "" {
		b.Errorf("the transport is %s, as %q, want %s", img.Transport, img.TransportReason, want)
	}
	b.wantAsItWas(id, events.StateRunning)
	return len(b.blobs()) - before
}

// documentsOf is how many blobs describe an image: its configuration and its manifest.
const documentsOf = 2

// Of a container that has changed the new layer alone is stored, of one that has not none.
func TestPush(t *testing.T) {
	for name, streams := range map[string]bool{"classic store": false, "containerd store": true} {
		t.Run(name, func(t *testing.T) {
			b, id := pushBench(t)
			first := events.TransportSave
			if streams {
				b.engine.SetStreams()
				first = events.TransportPush
			}
			b.change(id, 1)
			b.backUp(id, "20260102T150405Z-00000001", first)
			if saves := b.engine.Calls(enginetest.Save); !streams && saves != 1 {
				t.Errorf("the image was saved %d times", saves)
			}
			b.change(id, 2)
			if added := b.backUp(id, "20260102T150405Z-00000002", events.TransportPush); added != 1+documentsOf {
				t.Errorf("%d blobs were added for one layer", added)
			}
			if added := b.backUp(id, "20260102T150405Z-00000003", events.TransportPush); added > documentsOf {
				t.Errorf("%d blobs were added for no layer", added)
			}
		})
	}
}

// A layer that the Engine leaves out, as it has pushed it for another sink, is pushed to a sink that
// lacks it.
func TestPushToAnotherSink(t *testing.T) {
	b, id := pushBench(t)
	other := sinktest.NewMemory()
	b.sweeper.Sinks = sinks{"default": b.sink, "other": other}
	backUp := func(pointID, to string, s sink.Sink, want events.Transport) {
		task := b.pushTask(id, pointID, s)
		task.Legs[0].Sink = to
		result, err := b.run(t.Context(), task)
		if err != nil || result.Manifest.Image.Transport != want {
			t.Fatalf("in sink %s it is %+v, %v, want it moved by %s", to, result, err, want)
		}
	}
	backUp("20260102T150405Z-00000001", "default", b.sink, events.TransportSave)
	backUp("20260102T150405Z-00000002", "other", other, events.TransportSave)
	b.change(id, 1)
	backUp("20260102T150405Z-00000003", "default", b.sink, events.TransportPush)
	pushes := b.engine.Calls(enginetest.Push)
	backUp("20260102T150405Z-00000004", "other", other, events.TransportPush)
	if n := b.engine.Calls(enginetest.Push) - pushes; n != 2 {
		t.Errorf("it was pushed %d times", n)
	}
	b.wantAsItWas(id, events.StateRunning)
}

// Of two containers of one base that are backed up at the same time, one moves the base, and the
// other one waits for it.
func TestTheBaseIsMovedOnce(t *testing.T) {
	b, id := pushBench(t)
	other := b.add(events.StateRunning)
	b.change(id, 1)
	b.change(other, 2)
	move := func(id, pointID string, want events.Transport) {
		result, err := b.run(b.Context(), b.pushTask(id, pointID, b.sink))
		if err != nil || result.Manifest.Image.Transport != want {
			t.Errorf("it is %+v, %v, want it moved by %s", result, err, want)
		}
	}
	var both sync.WaitGroup
	b.engine.Plan(enginetest.Fault{Op: enginetest.Save, During: func() {
		both.Go(func() { move(other, "20260102T150405Z-00000002", events.TransportPush) })
		for b.engine.Calls(enginetest.Commit) < 2 {
			time.Sleep(time.Millisecond)
		}
	}})
	move(id, "20260102T150405Z-00000001", events.TransportSave)
	both.Wait()
	if saves := b.engine.Calls(enginetest.Save); saves != 1 {
		t.Errorf("an image was saved %d times", saves)
	}
}

// heard are what a Bases heard.
type heard struct {
	saved  []prime.Base
	pushed [][]string
}

func (h *heard) Saved(b prime.Base)      { h.saved = append(h.saved, b) }
func (h *heard) Pushed(diffIDs []string) { h.pushed = append(h.pushed, diffIDs) }

// Whether the Engine knows a base is said once its layers are stored, if it compresses layers
// for a push: also of a container that has nothing of its own.
func TestBases(t *testing.T) {
	const first, second = "20260102T150405Z-00000001", "20260102T150405Z-00000002"
	for name, streams := range map[string]bool{"classic store": false, "containerd store": true} {
		t.Run(name, func(t *testing.T) {
			b, id := pushBench(t)
			h := &heard{}
			b.runner.Bases = h
			from := events.TransportSave
			if streams {
				b.engine.SetStreams()
				from = events.TransportPush
			}
			b.backUp(id, first, from)
			b.change(id, 2)
			b.backUp(id, second, events.TransportPush)
			base, err := b.engine.InspectImage(t.Context(), baseImage)
			if err != nil {
				t.Fatal(err)
			}
			task := b.pushTask(id, first, b.sink)
			want := heard{saved: []prime.Base{{Image: base.ID, DiffIDs: base.DiffIDs, Sink: task.Legs[0].Sink,
				Dir: point.Dir(task.Host, task.Item.Kind, task.Item.Name, first)}}, pushed: [][]string{base.DiffIDs}}
			if streams {
				want = heard{}
			}
			if !reflect.DeepEqual(*h, want) {
				t.Errorf("it is said %+v, want %+v", *h, want)
			}
		})
	}
	t.Run("what the Engine does not reach", func(t *testing.T) {
		b, id := pushBench(t)
		h := &heard{}
		b.runner.Bases = h
		b.engine.Plan(enginetest.Fault{Op: enginetest.LookUp, Err: engine.ErrEngineUnavailable})
		b.backUp(id, first, events.TransportSave)
		if len(h.saved)+len(h.pushed) > 0 {
			t.Errorf("it is said %+v", *h)
		}
	})
}

// A container that has not changed is said to be that, however its image is moved; one of which
// the sink has all layers, but no point before, is not, and neither is one that has changed back.
func TestUnchanged(t *testing.T) {
	for name, moved := range map[string]events.Transport{"pushed": events.TransportPush, "saved": events.TransportSave} {
		t.Run(name, func(t *testing.T) {
			b, id := pushBench(t)
			b.engine.SetStreams() // so that it is pushed always
			if moved == events.TransportSave {
				b.runner.Push = nil
			}
			other := b.engine.Add(enginetest.Spec{Name: "Other", Image: baseImage}, events.StateRunning)
			b.change(id, 1)
			b.change(other, 1)
			points := 0
			backUp := func(id, name string, to sink.Sink, want bool) {
				t.Helper()
				points++
				task := b.pushTask(id, fmt.Sprintf("20260102T150405Z-%08x", points), to)
				task.Item.Name = name
				result, err := b.run(t.Context(), task)
				if err != nil {
					t.Fatal(err)
				}
				if result.Unchanged != want || result.Manifest.Image.Transport != moved {
					t.Errorf("point %d: unchanged is %v, and the transport %s", points, result.Unchanged, result.Manifest.Image.Transport)
				}
			}
			backUp(id, "Web", b.sink, false)
			backUp(id, "Web", b.sink, true)
			backUp(other, "Other", b.sink, false) // the first point of it
			b.change(id, 2)
			backUp(id, "Web", b.sink, false)
			b.change(id, 1)
			backUp(id, "Web", b.sink, false) // the sink has all layers, from long before
			backUp(id, "Web", b.sink, true)
			backUp(id, "Web", sinktest.NewMemory(), false) // the first one there
		})
	}
}

// A push that fails, wherever, costs nothing: the image is saved.
func TestPushFails(t *testing.T) {
	for name, fault := range map[string]enginetest.Fault{
		"it is refused":         {Op: enginetest.Push, Err: engine.ErrRefused},
		"the answer is lost":    {Op: enginetest.Push, Late: true, Err: engine.ErrEngineUnavailable},
		"it is not reached":     {Op: enginetest.LookUp, Err: engine.ErrRefused},
		"the Engine is too old": {Op: enginetest.LookUp, Err: engine.ErrUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			b, id := pushBench(t)
			b.engine.SetStreams()
			b.engine.Plan(fault)
			b.change(id, 1)
			b.backUp(id, "20260102T150405Z-00000001", events.TransportSave)
		})
	}
}

// A sink that fails during a push is no reason to save: nothing is stored, and nothing left.
func TestPushToASinkThatFails(t *testing.T) {
	b, id := pushBench(t)
	b.engine.SetStreams()
	b.change(id, 1)
	b.sink.Fail(t, sinktest.OpCommitBlob, 1, sink.ErrFull)
	_, err := b.run(b.Context(), b.pushTask(id, "20260102T150405Z-00000001", b.sink))
	if err == nil || !strings.Contains(err.Error(), sink.ErrFull.Error()) {
		t.Errorf("it ended with %v", err)
	}
	b.wantAsItWas(id, events.StateRunning)
}

// What the snapshot is called is known to be temporary.
func TestPushedReference(t *testing.T) {
	b, id := pushBench(t)
	b.engine.SetStreams()
	b.change(id, 1)
	var refs []string
	b.engine.Plan(enginetest.Fault{Op: enginetest.Push, During: func() { refs = b.engine.References() }})
	b.backUp(id, "20260102T150405Z-00000001", events.TransportPush)
	if len(slices.DeleteFunc(refs, engine.IsTemporary)) != 1 {
		t.Errorf("not only the base image is permanent of %q", refs)
	}
}
