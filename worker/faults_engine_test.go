package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/docker/dockertest"
	"holdfast.io/holdfast/internal/step"
)

// TestEngineFaults has the Engine, its containers and the sink fail in the middle
// of a job.
func TestEngineFaults(t *testing.T) {
	t.Parallel()
	var cases group
	for name, test := range map[string]func(*testing.T){
		"sink full":                  sinkFull,
		"sink full in a push":        sinkFullInPush,
		"registry ends after a push": registryEnds,
		"registry of another CA":     registryOfOwnCA,
		"sink hangs":                 sinkHangs,
		"engine full":                engineFull,
		"container removed":          containerRemoved,
		"container removed by then":  containerRemovedBefore,
		"container re-created":       containerRecreated,
		"engine killed in a removal": engineKilledInRemoval,
		"engine hangs":               engineHangs,
		"engine with live-restore":   engineLiveRestore,
		"another engine":             otherEngine,
	} {
		cases.add(name, test)
	}
	ends := map[string]func(*dockertest.Engine, testing.TB){"stopped": (*dockertest.Engine).Stop, "killed": (*dockertest.Engine).Kill}
	for how, end := range ends {
		for _, at := range []events.Step{events.StepCommit, events.StepSave} {
			cases.add(fmt.Sprintf("engine %s in a %s", how, at), func(t *testing.T) { engineRestarts(t, how, end, at) })
		}
		cases.add(fmt.Sprintf("engine %s in a push", how), func(t *testing.T) { engineEndsInPush(t, how, end) })
		cases.add(fmt.Sprintf("engine %s in a push to a registry", how), func(t *testing.T) { engineEndsInDirect(t, how, end) })
		cases.add(fmt.Sprintf("engine %s after a push to a registry", how), func(t *testing.T) { engineEndsAfterPush(t, how, end) })
	}
	cases.run(t, 3) // each has an Engine, or a disk, of its own
}

// engineAway is how long an Engine is away.
const engineAway = 2 * time.Second

func engineRestarts(t *testing.T, how string, end func(*dockertest.Engine, testing.TB), at events.Step) {
	e := dockertest.New(t, dockertest.Options{})
	w := newWorld(t, worldOptions{engine: e})
	w.start(workerOptions{})
	name := w.run(dockertest.Container{Name: "a", Payload: slowPayload, AlwaysRestart: true})
	job := w.backupUpTo(at, "1", name)
	end(e, t)
	time.Sleep(engineAway) // the fault itself
	e.Start(t)
	fault := fmt.Sprintf("engine %s in a %s, and started again", how, at)
	if w.verify(job); how == "stopped" && at == events.StepCommit && endStatus(t, w.ended(job)) == events.StatusFailed {
		// It ends the container before it ends the commit, which may even succeed.
		report(t, fault, 1, w.failure(w.ended(job), events.CodeNotQuiesced))
		return
	}
	w.survived(fault, job)
}

func engineKilledInRemoval(t *testing.T) {
	e := dockertest.New(t, dockertest.Options{})
	w := newWorld(t, worldOptions{engine: e})
	p := w.start(workerOptions{env: []string{stopAfter(step.Published, 1)}})
	job := w.backup("1", w.run(dockertest.Container{Name: "a", AlwaysRestart: true}))
	p.frozen()
	e.Kill(t)
	p.resume()
	time.Sleep(engineAway) // the fault itself
	e.Start(t)
	w.survived("engine killed before a removal, and started again", job)
}

func engineFull(t *testing.T) {
	e := dockertest.New(t, dockertest.Options{DiskBytes: 256 << 20})
	w := newWorld(t, worldOptions{engine: e})
	w.start(workerOptions{})
	name := w.container("a", 16<<20)
	e.Fill(t, 4<<20)
	full := w.backup("full", name)
	end := w.ended(full)
	w.verify(full)
	report(t, "engine's disk full", 1, w.failure(end, events.CodeEngineFull))
	e.Empty(t)
	w.survived("room on the engine's disk again", w.backup("room", name))
}

func sinkFull(t *testing.T) {
	d := smallDisk(t, 64<<20)
	w := newWorld(t, worldOptions{sink: d.dir})
	w.start(workerOptions{})
	name := w.container("a", 16<<20)
	w.verify(w.backup("first", name))
	d.fill(t, 4<<20)
	full := w.backup("full", name)
	end := w.ended(full)
	w.verify(full)
	report(t, "sink's disk full", 1, w.failure(end, events.CodeSinkFull))
	d.empty(t)
	w.survived("room in the sink again", w.backup("room", name))
}

// sinkHangs: the job does not wait for ever, and what it left is undone when the
// sink is back.
func sinkHangs(t *testing.T) {
	d := stallingDisk(t)
	w := newWorld(t, worldOptions{sink: d.dir})
	p := w.start(workerOptions{env: []string{"HOLDFAST_TIMEOUTS_PROGRESS=8s", stopAfter(step.Staged, 1)}})
	job := w.backup("1", w.container("a", 4<<20))
	p.frozen()
	d.hang(t)
	p.resume()
	end := w.ended(job)
	d.goOn(t)
	w.verify(job)
	report(t, "sink hangs in a save", 1, w.failure(end, events.CodeTimeout))
	w.survived("sink goes on", w.backup("2", w.container("b", 4<<20)))
}

// failure checks that the job failed, and with one of these codes if there are
// any, and returns the first item's.
func (w *world) failure(end storedEvent, codes ...events.Code) string {
	w.t.Helper()
	var data events.Ended
	if err := end.DataAs(&data); err != nil {
		w.t.Fatal(err)
	}
	if data.Status != events.StatusFailed || len(data.Items) != 1 {
		w.t.Fatalf("the job ended as %s: %s", data.Status, end.Data())
	}
	got := data.Items[0].Code
	for _, code := range codes {
		if got != code {
			w.t.Errorf("the item failed with %s, want %s", got, code)
		}
	}
	return fmt.Sprintf("failed with %s", got)
}

// remove removes a container, as somebody else does.
func (w *world) remove(name string) {
	w.t.Helper()
	err := w.engine.API().ContainerRemove(context.Background(), w.busy[name].id, container.RemoveOptions{Force: true})
	if err != nil {
		w.t.Fatal(err)
	}
	delete(w.busy, name)
}

func containerRemoved(t *testing.T) {
	w := newWorld(t, worldOptions{})
	p := w.start(workerOptions{env: []string{stopAfter(step.Committed, 1)}})
	name := w.container("a", 1<<20)
	job := w.backup("1", name)
	p.frozen()
	w.remove(name)
	p.resume()
	w.verify(job)
	report(t, "container removed after its commit", 1, string(endStatus(t, w.ended(job))))
}

func containerRemovedBefore(t *testing.T) {
	w := newWorld(t, worldOptions{})
	p := w.start(workerOptions{env: []string{stopAfter(step.Recorded, 1)}})
	name := w.container("a", 1<<20)
	job := w.backup("1", name)
	p.frozen()
	w.remove(name)
	p.resume()
	w.verify(job)
	report(t, "container removed before its commit", 1, w.failure(w.ended(job), events.CodeNotFound))
}

// containerRecreated: the plan stands, so the new container of that name is not
// taken for the old one.
func containerRecreated(t *testing.T) {
	w := newWorld(t, worldOptions{})
	p := w.start(workerOptions{env: []string{crashAfter(step.Accepted, 1)}})
	name := w.container("a", 1<<20)
	job := w.backup("1", name)
	p.killed()
	w.remove(name)
	if w.container("a", 1<<20) != name {
		t.Fatal("the new container has another name")
	}
	w.start(workerOptions{state: p.state})
	w.verify(job)
	report(t, "worker killed after the plan, container re-created", 1, w.failure(w.ended(job), events.CodeReplaced))
}
