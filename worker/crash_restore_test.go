package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/docker/dockertest"
)

// prepareReplacing backs a container up, and returns the data of the request that puts
// it back in its own place.
func prepareReplacing(w *world) string {
	w.t.Helper()
	point := w.pointOf(dockertest.Container{Name: "a", Payload: 4 << 20}, false)
	return fmt.Sprintf(`{"points":[%q],"replace":true,"gate":"500ms"}`, point)
}

// prepareOverwriting does the same with the container's volume.
func prepareOverwriting(w *world) string {
	w.t.Helper()
	point := w.pointOf(dockertest.Container{Name: "a", Payload: 4 << 20, Volume: w.host + "-a"}, true)
	w.engine.Write(w.t, w.host+"-a", "data/since", []byte("the backup"))
	return fmt.Sprintf(`{"points":[%q],"replace":true,"volumes":"replace","gate":"500ms"}`, point)
}

// prepareReturning backs a container up with its volume, and removes both.
func prepareReturning(w *world) string {
	w.t.Helper()
	volume := w.host + "-a"
	point := w.pointOf(dockertest.Container{Name: "a", Payload: 4 << 20, Volume: volume}, true)
	w.remove(w.host + "-a")
	if err := w.engine.API().VolumeRemove(w.t.Context(), volume, false); err != nil {
		w.t.Fatal(err)
	}
	w.busy[w.host+"-a"] = &busy{state: events.StateRunning}
	return fmt.Sprintf(`{"points":[%q],"gate":"500ms"}`, point)
}

// prepareSharing does the same with a container that two others use the network of, which
// have written something.
func prepareSharing(w *world) string {
	w.t.Helper()
	point := w.pointOf(dockertest.Container{Name: "a", Payload: 4 << 20}, false)
	for _, name := range sharers {
		c := w.run(dockertest.Container{Name: name, Payload: 1 << 20, Network: "container:" + w.busy[w.host+"-a"].id})
		w.engine.Write(w.t, w.busy[c].id, "data/since", []byte(c))
	}
	return fmt.Sprintf(`{"points":[%q],"replace":true,"dependants":"recreate","gate":"500ms"}`, point)
}

var sharers = []string{"b", "c"}

// checkShared holds that those that used the network of the container use that of the one
// that is there now, with all that they had written.
func (w *world) checkShared() {
	w.t.Helper()
	owner := w.busy[w.host+"-a"].id
	for _, name := range sharers {
		name = w.host + "-" + name
		c, err := w.engine.API().ContainerInspect(w.t.Context(), w.busy[name].id)
		if err != nil {
			w.t.Fatal(err)
		}
		if mode := string(c.HostConfig.NetworkMode); mode != "container:"+owner {
			w.t.Errorf("%s uses the network %s, not that of %s", name, mode, owner)
		}
		if got, err := w.engine.Read(w.t.Context(), c.ID, "data/since"); err != nil || got != name {
			w.t.Errorf("%s holds %q: %v", name, got, err)
		}
	}
}

// checkUsed holds that of the images that jobs made there are none but those that
// containers are made from.
func (w *world) checkUsed() {
	w.t.Helper()
	api, ctx := w.engine.API(), w.t.Context()
	used := map[string]bool{}
	for _, b := range w.busy {
		c, err := api.ContainerInspect(ctx, b.id)
		if err != nil {
			w.t.Fatal(err)
		}
		used[c.Image] = true
	}
	images, err := api.ImageList(ctx, image.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", testLabel+"="+w.host))})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, img := range images {
		if !used[img.ID] {
			w.t.Errorf("image %v %s is left", img.RepoTags, img.ID)
		}
	}
}

// pointOf runs a container, and backs it up by a worker that ends then.
func (w *world) pointOf(c dockertest.Container, attached bool) string {
	w.t.Helper()
	name := w.run(c)
	p := w.start(workerOptions{})
	end := w.ended(w.publish("made", fmt.Sprintf(`{"containers":{"names":[%q]},"volumes":{"attached":%v}}`, name, attached)))
	p.signal(syscall.SIGTERM)
	if err := <-p.exited; err != nil {
		w.t.Fatalf("the worker that made the point ended with %v", err)
	}
	var data events.Ended
	if err := json.Unmarshal(end.Data(), &data); err != nil || len(data.Items) != 1 {
		w.t.Fatalf("the backup ended as %s: %v", end.Data(), err)
	}
	return data.Items[0].Point
}

// checkKept holds that what each attempt stored of the volume is what it held: what an
// attempt that died did to it was undone before.
func (w *world) checkKept() {
	w.t.Helper()
	archives, err := filepath.Glob(filepath.Join(w.sink, "points", w.host, "volume", "*", "*", "volumes", "*"))
	if err != nil || len(archives) == 0 {
		w.t.Errorf("nothing was stored of the volume: %v", err)
	}
	for _, archive := range archives {
		if got, err := unpack(archive, "since"); err != nil || got != "the backup" {
			w.t.Errorf("it holds %q: %v", got, err)
		}
	}
}

// meet finds the containers of the world as they are called now: one that was replaced
// has another id. Nothing but them may be there.
func (w *world) meet() {
	w.t.Helper()
	all, err := w.engine.API().ContainerList(w.t.Context(),
		container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", testLabel+"="+w.host))})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range all {
		name := strings.TrimPrefix(c.Names[0], "/")
		b := w.busy[name]
		if b == nil {
			w.t.Errorf("container %s (%s) is left", name, c.ID)
			continue
		}
		if b.id != c.ID {
			b.id, b.lines = c.ID, 0
			w.t.Cleanup(func() {
				_ = w.engine.API().ContainerRemove(context.Background(), c.ID, container.RemoveOptions{Force: true})
			})
		}
	}
	if len(all) != len(w.busy) {
		w.t.Errorf("there are %d containers, not %d", len(all), len(w.busy))
	}
}

// A restore that fails leaves the old container as it was: here the new one ends at
// once, as its image is one that does.
func TestAReplacementThatDoesNotRunIsUndone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	name := w.run(dockertest.Container{Name: "a"})
	w.start(workerOptions{})
	end := w.ended(w.backup("made", name))
	var data events.Ended
	if err := json.Unmarshal(end.Data(), &data); err != nil || len(data.Items) != 1 {
		t.Fatalf("the backup ended as %s: %v", end.Data(), err)
	}
	// A health check cannot be waited for, so the gate is one that no container passes in
	// the job's time.
	job := w.ask(events.Restore, "restore", fmt.Sprintf(`{"points":[%q],"replace":true,"gate":"1h","timeout":"30s"}`, data.Items[0].Point))
	end = w.ended(job)
	if err := json.Unmarshal(end.Data(), &data); err != nil || data.Status != events.StatusFailed || len(data.Items) != 1 ||
		data.Items[0].Code != events.CodeTimeout {
		t.Fatalf("the restore ended as %s: %v", end.Data(), err)
	}
	if data.Items[0].NotRunningMillis == 0 {
		t.Error("it does not say that the container did not run")
	}
	old := w.busy[name].id
	w.verify(job)
	w.meet()
	if w.busy[name].id != old {
		t.Errorf("the container is %s now, not %s", w.busy[name].id, old)
	}
}
