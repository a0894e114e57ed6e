package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/docker/dockertest"
	"holdfast.io/holdfast/internal/step"
)

// pushedAtMost is a layer that an Engine pushes, however small the rest of the image is, in
// bytes.
const pushedAtMost = 6 << 20

// bothSinks has a request store in both sinks of a world.
const bothSinks = `,"sinks":["default","offsite"]`

// baseStored has a worker store the base of the world's containers by a request with this option.
func (w *world) baseStored(option string) {
	w.t.Helper()
	worker := w.start(workerOptions{})
	name := w.run(dockertest.Container{Name: "before", AlwaysRestart: true})
	w.ended(w.publish("before", fmt.Sprintf(`{"containers":{"names":[%q]}%s}`, name, option)))
	worker.kill()
}

// build has the world's containers made from an image that is made on the Engine, large
// enough to be primed.
func (w *world) build() {
	w.t.Helper()
	name := w.run(dockertest.Container{Name: "maker", Payload: 24 << 20})
	api, ref := w.engine.API(), "holdfast-test/built:"+w.host
	_, err := api.ContainerCommit(w.t.Context(), w.busy[name].id, container.CommitOptions{Reference: ref})
	if err == nil {
		err = api.ContainerRemove(w.t.Context(), w.busy[name].id, container.RemoveOptions{Force: true})
	}
	if err != nil {
		w.t.Fatal(err)
	}
	delete(w.busy, name)
	w.image = ref
}

// checkPushed: the images of a job were pushed, all of them.
func (w *world) checkPushed(job string) { w.t.Helper(); w.checkMoved(job, events.TransportPush) }

// checkMoved: so the images of a job were moved, all of them.
func (w *world) checkMoved(job string, by events.Transport) {
	w.t.Helper()
	items := w.completed(job)
	var wrong error
	for _, data := range items {
		if data.Transport != by {
			wrong = errors.Join(wrong, fmt.Errorf("%s: moved by %s, %s", data.Item.Name, data.Transport, data.TransportReason))
		}
	}
	if len(items) == 0 || wrong != nil {
		w.t.Errorf("of %d images that should have been moved by %s: %v", len(items), by, wrong)
	}
}

// completed is what was said of the items of a backup that were stored.
func (w *world) completed(job string) (all []events.BackupItemCompleted) {
	w.t.Helper()
	for _, ev := range w.stored {
		if ev.job() != job || ev.Type() != events.Backup.ResultType(events.ResultItemCompleted) {
			continue
		}
		var data events.BackupItemCompleted
		if err := json.Unmarshal(ev.Data(), &data); err != nil {
			w.t.Fatal(err)
		}
		all = append(all, data)
	}
	return all
}

// engineEndsInPush has an Engine end when a layer has come, and the manifest has not. What it
// pushes next time is the manifest, as the sink has the layer.
func engineEndsInPush(t *testing.T, how string, end func(*dockertest.Engine, testing.TB)) {
	e := dockertest.New(t, dockertest.Options{})
	w := newWorld(t, worldOptions{engine: e, pushes: true})
	w.baseStored("")
	p := w.start(workerOptions{env: []string{stopAfter(step.LayerStored, 1)}})
	job := w.backup("1", w.run(dockertest.Container{Name: "a", Payload: pushedAtMost, AlwaysRestart: true}))
	p.frozen()
	end(e, t)
	p.resume()
	time.Sleep(engineAway) // the fault itself
	e.Start(t)
	w.survived(fmt.Sprintf("engine %s in a push, and started again", how), job)
	w.checkPushed(job)
}

// sinkFullInPush has a sink without room for what an Engine pushes.
func sinkFullInPush(t *testing.T) {
	d := smallDisk(t, 64<<20)
	w := newWorld(t, worldOptions{sink: d.dir, pushes: true})
	w.baseStored("")
	w.start(workerOptions{})
	name := w.container("a", pushedAtMost)
	d.fill(t, pushedAtMost/2)
	full := w.backup("full", name)
	end := w.ended(full)
	w.verify(full)
	report(t, "sink's disk full in a push", 1, w.failure(end, events.CodeSinkFull))
	d.empty(t)
	room := w.backup("room", name)
	w.survived("room in the sink again, for a push", room)
	w.checkPushed(room)
}

// engineEndsAfterPush has an Engine end when it has pushed a snapshot to the registry in which the sink
// lies. The point needs it no more; the snapshot is removed when it is back.
func engineEndsAfterPush(t *testing.T, how string, end func(*dockertest.Engine, testing.TB)) {
	e := dockertest.New(t, dockertest.Options{})
	w := newWorld(t, worldOptions{engine: e, registry: true})
	p := w.start(workerOptions{env: []string{stopAfter(step.PushedDirect, 1)}})
	job := w.backup("1", w.run(dockertest.Container{Name: "a", Payload: pushedAtMost, AlwaysRestart: true}))
	p.frozen()
	end(e, t)
	p.resume()
	time.Sleep(engineAway) // the fault itself
	e.Start(t)
	w.survived(fmt.Sprintf("engine %s after a push to a registry, and started again", how), job)
	w.checkMoved(job, events.TransportDirect)
}

// registryEnds has the registry of a sink end when the Engine has pushed a snapshot to it, and come back.
func registryEnds(t *testing.T) {
	w := newWorld(t, worldOptions{registry: true})
	p := w.start(workerOptions{env: []string{stopAfter(step.PushedDirect, 1)}})
	job := w.backup("1", w.container("a", pushedAtMost))
	p.frozen()
	w.registry.Stop()
	p.resume()
	time.Sleep(engineAway) // the fault itself
	if err := w.registry.Run(); err != nil {
		t.Fatal(err)
	}
	w.survived("the registry ends after a push, and is back", job)
	w.checkMoved(job, events.TransportDirect)
}

// engineEndsInDirect has an Engine end while it pushes a snapshot to the registry in which the sink lies.
// It is not taken for one that does not push there.
func engineEndsInDirect(t *testing.T, how string, end func(*dockertest.Engine, testing.TB)) {
	const payload = 10 * pushedAtMost
	e := dockertest.New(t, dockertest.Options{})
	w := newWorld(t, worldOptions{engine: e, registry: true})
	w.start(workerOptions{})
	job := w.backup("1", w.run(dockertest.Container{Name: "a", Payload: payload, AlwaysRestart: true}))
	w.eventually("the registry has a part of it", func(context.Context) bool { return w.registry.takes() > payload/8 },
		func() any { return "it has not" })
	if err := w.registry.Pause(); err != nil {
		t.Fatal(err)
	}
	if n := w.registry.takes(); n == 0 || n >= payload {
		t.Fatalf("it has %d bytes, and not a part of %d", n, payload)
	}
	end(e, t)
	if err := w.registry.Continue(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(engineAway) // the fault itself
	e.Start(t)
	w.survived(fmt.Sprintf("engine %s in a push to a registry, and started again", how), job)
	w.checkMoved(job, events.TransportDirect)
}

// registryOfOwnCA has a registry whose certificate an Engine does not know who has signed, and then does.
func registryOfOwnCA(t *testing.T) {
	e := dockertest.New(t, dockertest.Options{})
	w := newWorld(t, worldOptions{engine: e, registry: true, certified: true})
	w.reaches(strings.TrimPrefix(w.server.URL, "nats://"))
	beside := workerOptions{prefix: e.Command("env").Args}
	p := w.start(beside)
	name := w.container("a", 1<<20)
	job := w.backup("not known", name)
	w.survived("the Engine does not trust the registry", job)
	for _, data := range w.completed(job) {
		if data.Transport == events.TransportDirect || !strings.Contains(data.TransportReason, "x509") {
			t.Errorf("moved by %s, %s", data.Transport, data.TransportReason)
		}
	}
	p.signal(syscall.SIGTERM) // it remembers for some minutes that the Engine does not
	if err := p.wait(t); err != nil {
		t.Errorf("the worker ended with %v", err)
	}
	e.Trust(t, w.registry.at, w.registry.CA)
	beside.state = p.state
	w.start(beside)
	job = w.backup("known", name)
	w.survived("the Engine trusts the registry", job)
	w.checkMoved(job, events.TransportDirect)
}
