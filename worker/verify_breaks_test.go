package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/mount"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// TestVerify shows that each thing that must hold after a fault is looked at:
// what nobody touched passes, and what a test breaks is found.
func TestVerify(t *testing.T) {
	w := newWorld(t, worldOptions{})
	name := w.container("a", 1<<10)
	p := w.start(workerOptions{})
	job := w.backup("1", name)
	w.ended(job)
	copied := w.ask(events.Copy, "2", copyOf(name))
	w.verify(job, copied)
	p.pause() // from here on only the test does anything
	b := &breaker{t: t, world: w, jobs: []string{job, copied}, container: w.busy[name].id}
	tests := map[string]struct {
		// do breaks something and returns what mends it.
		do   func() (mend func())
		says string
	}{
		"no end": {b.events(func(all []storedEvent) []storedEvent { return nil }), "has 0 terminal event ids"},
		"two ends": {b.again(events.Backup.ResultType(events.ResultCompleted),
			func(ev *storedEvent) { ev.SetID("another") }), "has 2 terminal event ids"},
		"another end": {b.again(events.Backup.ResultType(events.ResultCompleted),
			func(ev *storedEvent) { ev.content += " " }), "has two contents"},
		"another plan": {b.again(events.Backup.ResultType(events.ResultAccepted),
			func(ev *storedEvent) { ev.content += " " }), "has two contents"},
		"a point that is not": {b.reports(func(d *events.BackupItemCompleted) { d.Path += "0" }), "no such file"},
		"another point":       {b.reports(func(d *events.BackupItemCompleted) { d.Point += "0" }), "reports what is not so: point"},
		"another artifact": {b.reports(func(d *events.BackupItemCompleted) { d.Artifacts[0].Size++ }),
			"was reported with the artifacts"},
		"an unreported point":           {b.events(withoutReports), "which no event reports"},
		"an artifact changed":           {b.file("points/*/*/*/*/image.tar.zst", flip), "reports what is not so: points/"},
		"an artifact gone":              {b.file("points/*/*/*/*/container.json", nil), "not complete"},
		"a manifest gone":               {b.file("points/*/*/*/*/manifest.json", nil), "not complete"},
		"a manifest changed":            {b.file("points/*/*/*/*/manifest.json", func([]byte) []byte { return []byte("{}") }), "not complete"},
		"a stray folder":                {b.folder(filepath.Join(w.sink, "points/h/container/n/p")), "not complete"},
		"staged":                        {b.folder(filepath.Join(w.sink, "staging/p-1")), "something staged"},
		"a copy changed":                {b.fileIn(w.offsite, "points/*/*/*/*/image.tar.zst", flip), "not complete, in " + w.offsite},
		"a copy gone":                   {b.fileIn(w.offsite, "points/*/*/*/*/manifest.json", nil), "open " + w.offsite},
		"a copy staged":                 {b.folder(filepath.Join(w.offsite, "staging/p-1")), "that is copied to has something staged"},
		"recorded":                      {b.folder(filepath.Join(p.state, "undo/p-1")), "to be undone"},
		"a request":                     {b.request, "not acknowledged"},
		"a snapshot":                    {b.commit("holdfast/snapshot:p-1"), "a snapshot is left"},
		"an unnamed snapshot":           {b.commit(""), "a snapshot is left"},
		"a helper":                      {b.helper, "a container of ours is left"},
		"a paused container":            {b.pause, "is paused, not running"},
		"a stopped container":           {b.stop, "is exited, not running"},
		"a container that stands still": {b.freeze, "does not go on"},
		"another container":             {b.lose, "cannot be looked at"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			mend := test.do()
			b.finds(t, test.says)
			mend()
			b.finds(t, "")
		})
	}
}

// breaker breaks what a world promises.
type breaker struct {
	t         *testing.T
	world     *world
	jobs      []string
	container string
}

// finds waits until what is wrong is that, or with "" nothing.
func (b *breaker) finds(t *testing.T, says string) {
	t.Helper()
	var wrong error
	b.world.eventually("what is found is "+says, func(ctx context.Context) bool {
		wrong = errors.Join(b.world.wrong(ctx, b.jobs)...)
		if says == "" || wrong == nil {
			return wrong == nil && says == ""
		}
		return strings.Contains(wrong.Error(), says)
	}, func() any { return wrong })
}

// events changes which events were read.
func (b *breaker) events(change func([]storedEvent) []storedEvent) func() func() {
	return func() func() {
		before := b.world.stored
		b.world.stored = change(slices.Clone(before))
		return func() { b.world.stored = before }
	}
}

// again has one of a type published again, changed.
func (b *breaker) again(eventType string, change func(*storedEvent)) func() func() {
	return b.events(func(all []storedEvent) []storedEvent {
		i := slices.IndexFunc(all, func(ev storedEvent) bool { return ev.Type() == eventType })
		ev := all[i]
		ev.Event = ev.Clone()
		change(&ev)
		return append(all, ev)
	})
}

// reports changes what was said of the point.
func (b *breaker) reports(change func(*events.BackupItemCompleted)) func() func() {
	return b.again(events.Backup.ResultType(events.ResultItemCompleted), func(ev *storedEvent) {
		var data events.BackupItemCompleted
		if err := json.Unmarshal(ev.Data(), &data); err != nil {
			b.t.Fatal(err)
		}
		change(&data)
		if err := ev.SetData("application/json", data); err != nil {
			b.t.Fatal(err)
		}
	})
}

func withoutReports(all []storedEvent) []storedEvent {
	return slices.DeleteFunc(all, func(ev storedEvent) bool { return ev.Type() == events.Backup.ResultType(events.ResultItemCompleted) })
}

// file changes a file of the sink, or removes it without a change.
func (b *breaker) file(pattern string, change func([]byte) []byte) func() func() {
	return b.fileIn(b.world.sink, pattern, change)
}

func (b *breaker) fileIn(in, pattern string, change func([]byte) []byte) func() func() {
	return func() func() {
		found, err := filepath.Glob(filepath.Join(in, pattern))
		if err != nil || len(found) != 1 {
			b.t.Fatalf("%s: %v %v", pattern, found, err)
		}
		content, err := os.ReadFile(found[0])
		b.must(err)
		if change == nil {
			b.must(os.Remove(found[0]))
		} else {
			b.must(os.WriteFile(found[0], change(slices.Clone(content)), 0o600))
		}
		return func() { b.must(os.WriteFile(found[0], content, 0o600)) }
	}
}

func flip(content []byte) []byte {
	content[len(content)/2] ^= 1
	return content
}

func (b *breaker) folder(dir string) func() func() {
	return func() func() {
		b.must(os.MkdirAll(dir, 0o700))
		return func() { b.must(os.RemoveAll(dir)) }
	}
}

func (b *breaker) request() func() {
	b.world.backup("never taken", "nothing")
	return func() {
		stream, err := b.world.js.Stream(b.t.Context(), events.StreamRequests)
		b.must(err)
		b.must(stream.Purge(b.t.Context()))
	}
}

func (b *breaker) commit(reference string) func() func() {
	return func() func() {
		api := b.world.engine.API()
		made, err := api.ContainerCommit(b.t.Context(), b.container, container.CommitOptions{Reference: reference, Comment: "holdfast"})
		b.must(err)
		return func() {
			_, err := api.ImageRemove(b.t.Context(), made.ID, image.RemoveOptions{Force: true})
			b.must(err)
		}
	}
}

func (b *breaker) helper() func() {
	api, name := b.world.engine.API(), b.world.host+"-helper"
	host := &container.HostConfig{Mounts: []mount.Mount{{Type: mount.TypeVolume, Source: name, Target: engine.HelperPlace}}}
	made, err := api.ContainerCreate(b.t.Context(), &container.Config{Image: b.world.image, Labels: map[string]string{engine.HelperLabel: name}},
		host, nil, nil, name)
	b.must(err)
	return func() {
		b.must(api.ContainerRemove(b.t.Context(), made.ID, container.RemoveOptions{}))
		b.must(api.VolumeRemove(b.t.Context(), name, false))
	}
}

func (b *breaker) pause() func() {
	b.must(b.world.engine.API().ContainerPause(b.t.Context(), b.container))
	return func() { b.must(b.world.engine.API().ContainerUnpause(b.t.Context(), b.container)) }
}

func (b *breaker) stop() func() {
	b.must(b.world.engine.API().ContainerStop(b.t.Context(), b.container, container.StopOptions{}))
	return func() {
		b.must(b.world.engine.API().ContainerStart(b.t.Context(), b.container, container.StartOptions{}))
	}
}

// freeze stops what runs in the container, which the Engine does not see.
func (b *breaker) freeze() func() {
	b.must(b.world.engine.API().ContainerKill(b.t.Context(), b.container, "STOP"))
	return func() { b.must(b.world.engine.API().ContainerKill(b.t.Context(), b.container, "CONT")) }
}

// lose has the world expect a container that is not there.
func (b *breaker) lose() func() {
	b.world.busy["lost"] = &busy{id: strings.Repeat("0", 64), state: events.StateRunning}
	return func() { delete(b.world.busy, "lost") }
}

func (b *breaker) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}
