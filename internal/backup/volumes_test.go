package backup_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/helper"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/transport"
	"holdfast.io/holdfast/internal/undo"
	"holdfast.io/holdfast/internal/volume"
)

// volumes are the folders that stand for the volumes and bind mounts of a bench.
type volumes struct {
	*bench
	folders map[string]string // by volume or path on the host
	// reading is called before a helper reads.
	reading func(s engine.HelperSpec)
}

// withVolumes has helpers of the bench's Engine read folders of this machine.
func (b *bench) withVolumes() *volumes {
	v := &volumes{bench: b, folders: map[string]string{}, reading: func(engine.HelperSpec) {}}
	b.runner.Volumes = &transport.Volumes{Helpers: &helper.Runner{Engine: b.engine}}
	b.engine.SetHelper(func(ctx context.Context, s engine.HelperSpec, stdin io.Reader, stdout, stderr io.Writer) int {
		fmt.Fprintln(stderr) // it waits for the word to read
		if _, err := io.Copy(io.Discard, stdin); err != nil {
			return 1
		}
		v.reading(s)
		if volume.Serve(ctx, volume.OpRead, v.folders[s.Volume+s.Bind], stdin, stdout, stderr) != nil {
			return 1
		}
		return 0
	})
	return v
}

// volume makes a volume with one file.
func (v *volumes) volume(name, content string) events.PlannedVolume {
	v.engine.AddVolume(engine.Volume{Name: name})
	v.folder(name, content)
	d, err := v.engine.InspectVolume(v.Context(), name)
	if err != nil {
		v.Fatal(err)
	}
	return events.PlannedVolume{Type: "volume", Name: name, Driver: d.Driver, CreatedAt: d.CreatedAt}
}

func (v *volumes) folder(name, content string) {
	v.folders[name] = v.TempDir()
	if err := os.WriteFile(filepath.Join(v.folders[name], "note"), []byte(content), 0o600); err != nil {
		v.Fatal(err)
	}
}

// container makes a container with these volumes, and the task that takes them.
func (v *volumes) container(name string, quiesce events.Quiesce, planned ...events.PlannedVolume) backup.Task {
	spec := enginetest.Spec{Name: name, Image: baseImage, Tmpfs: "/tmp"}
	for i := range planned {
		planned[i].Destination = "/" + planned[i].Name
		spec.Mounts = append(spec.Mounts, engine.Mount{Type: "volume", Name: planned[i].Name, Destination: planned[i].Destination})
	}
	task := v.task(v.engine.Add(spec, events.StateRunning), quiesce)
	task.Item.Name, task.Item.Volumes = name, planned
	return task
}

// wantStored holds that the point has the file of a volume or bind mount.
func (v *volumes) wantStored(m *point.Manifest, name, content string) {
	v.Helper()
	i := slices.IndexFunc(m.Artifacts, func(a events.Artifact) bool { return a.MediaType == point.MediaTypeVolume && a.Name == name })
	if i < 0 {
		v.Errorf("the point has no archive of %s: %+v", name, m.Artifacts)
		return
	}
	a := m.Artifacts[i]
	raw := v.sink.Contents()[a.Key]
	if path.Base(a.Key) != path.Base(point.VolumeArchive(name)) || int64(len(raw)) != a.Size {
		v.Errorf("the archive of %s is %+v, and has %d bytes", name, a, len(raw))
	}
	z, err := zstd.NewReader(bytes.NewReader([]byte(raw)))
	if err != nil {
		v.Fatal(err)
	}
	defer z.Close()
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if err != nil {
			v.Errorf("the archive of %s has no note: %v", name, err)
			return
		}
		if path.Clean(h.Name) != "note" {
			continue
		}
		if got, err := io.ReadAll(t); err != nil || string(got) != content {
			v.Errorf("the note in %s is %q, %v; want %q", name, got, err, content)
		}
		return
	}
}

// A container is quiesced until its volumes are read, unless they are to be read hot.
func TestVolumesOfContainer(t *testing.T) {
	for name, c := range map[string]struct {
		quiesce events.Quiesce
		hot     bool
		while   events.State
	}{
		"paused":           {events.QuiescePause, false, events.StatePaused},
		"stopped":          {events.QuiesceStop, false, events.StateExited},
		"not quiesced":     {events.QuiesceNone, false, events.StateRunning},
		"paused, but hot":  {events.QuiescePause, true, events.StateRunning},
		"stopped, but hot": {events.QuiesceStop, true, events.StateRunning},
	} {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				v := b.withVolumes()
				task := v.container("Web", c.quiesce, v.volume("one", "first"), v.volume("two", "second"))
				task.Hot = c.hot
				v.reading = func(s engine.HelperSpec) {
					if got := b.engine.State(task.Item.ID); got != c.while {
						b.Errorf("while %s is read the container is %s, want %s", s.Volume, got, c.while)
					}
					time.Sleep(time.Second)
				}
				result, err := b.run(b.Context(), task)
				if err != nil {
					b.Fatal(err)
				}
				m := result.Manifest
				v.wantStored(m, "one", "first")
				v.wantStored(m, "two", "second")
				if len(m.NotIncluded) != 1 || m.NotIncluded[0].Destination != "/tmp" || m.NotIncluded[0].Reason != "a tmpfs lies in memory only" {
					b.Errorf("not included are %+v", m.NotIncluded)
				}
				if long := m.NotRunningMillis >= 2000; long != (c.while != events.StateRunning) {
					b.Errorf("it did not run for %v ms", m.NotRunningMillis)
				}
				if result.Durations.Volumes < 2000 {
					b.Errorf("to read the volumes took %d ms", result.Durations.Volumes)
				}
				b.wantAsItWas(task.Item.ID, events.StateRunning)
			})
		})
	}
}

// What was not asked for is named with the reason, and that of the plan comes first.
func TestMountsThatAreLeftOut(t *testing.T) {
	withBench(t, func(b *bench) {
		v := b.withVolumes()
		v.engine.AddFolder("/srv")
		v.folder("/srv", "bound")
		id := b.engine.Add(enginetest.Spec{Name: "Web", Image: baseImage, Volume: "/anonymous", Mounts: []engine.Mount{
			{Type: "bind", Source: "/srv", Destination: "/in"},
			{Type: "bind", Source: "/etc", Destination: "/out"},
			{Type: "bind", Source: "/var", Destination: "/other"},
			{Type: "npipe", Source: "pipe", Destination: "/pipe"},
		}}, events.StateRunning)
		task := b.task(id, events.QuiescePause)
		task.Item.Volumes = []events.PlannedVolume{{Type: "bind", Source: "/srv", Destination: "/in"}}
		task.Item.NotIncluded = []events.NotIncluded{{Type: "bind", Source: "/etc", Destination: "/out", Reason: "it is secret"}}
		result, err := b.run(b.Context(), task)
		if err != nil {
			b.Fatal(err)
		}
		v.wantStored(result.Manifest, "/in", "bound")
		var left []string
		for _, m := range result.Manifest.NotIncluded {
			left = append(left, m.Destination+": "+m.Reason)
		}
		want := []string{
			"/anonymous: the volumes of the container were not asked for (attached)",
			"/other: bind mounts were not asked for (binds)",
			"/out: it is secret",
			"/pipe: mounts of this type are not backed up",
		}
		if !slices.Equal(left, want) {
			b.Errorf("left out are\n%s\nwant\n%s", strings.Join(left, "\n"), strings.Join(want, "\n"))
		}
	})
}

// A volume is a point of its own, with the Engine's document of it.
func TestRunVolume(t *testing.T) {
	withBench(t, func(b *bench) {
		v := b.withVolumes()
		task := v.alone(v.volume("data", "content"))
		result, err := b.run(b.Context(), task)
		if err != nil {
			b.Fatal(err)
		}
		m := result.Manifest
		v.wantStored(m, "data", "content")
		if m.Image != nil || m.State != "" || len(m.NotIncluded) > 0 || m.Item != task.Item.Item {
			b.Errorf("its manifest is %+v", m)
		}
		var document struct{ Name, Driver string }
		a := m.Artifact(point.MediaTypeVolumeConfig)
		if a == nil || json.Unmarshal([]byte(b.sink.Contents()[a.Key]), &document) != nil || document.Name != "data" || document.Driver != "local" {
			b.Errorf("the Engine's document of it is %+v, %+v", a, document)
		}
		b.settle()
		again, err := b.run(b.Context(), task)
		if err != nil || again.Manifest.StoredTime != m.StoredTime {
			b.Errorf("once more it is stored again: %+v, %v", again, err)
		}
	})
}

// alone is the task to back up a volume by itself.
func (v *volumes) alone(planned events.PlannedVolume) backup.Task {
	task := v.task("", "")
	task.Item = events.PlannedItem{Item: events.Item{Kind: events.ItemVolume, ID: planned.Name, Name: planned.Name},
		Volumes: []events.PlannedVolume{planned}}
	return task
}

// A volume that is not the planned one is not taken for it.
func TestVolumeThatIsAnother(t *testing.T) {
	again := func(v *volumes) {
		time.Sleep(time.Second)
		v.engine.DropVolume("data")
		v.engine.AddVolume(engine.Volume{Name: "data"})
	}
	for name, c := range map[string]struct {
		before    func(v *volumes)
		code      events.Code
		step      events.Step
		retryable bool
	}{
		"it is gone":        {before: func(v *volumes) { v.engine.DropVolume("data") }, code: events.CodeNotFound, step: events.StepInspect},
		"it was made again": {before: again, code: events.CodeReplaced, step: events.StepVolumes, retryable: true},
		"it is of another driver": {before: func(v *volumes) {
			d, _ := v.engine.InspectVolume(v.Context(), "data")
			d.Driver = "other"
			v.engine.AddVolume(d.Volume)
		}, code: events.CodeReplaced, step: events.StepVolumes, retryable: true},
	} {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				v := b.withVolumes()
				task := v.alone(v.volume("data", "content"))
				c.before(v)
				_, err := b.run(b.Context(), task)
				b.wantError(err, c.step, c.code, c.retryable)
				b.settle()
				if contents := b.sink.Contents(); len(contents) > 0 {
					b.Errorf("the sink holds %d objects, want none", len(contents))
				}
			})
		})
	}
}

// Whatever goes wrong with a volume, its container runs again and nothing is left.
func TestVolumesThatFail(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		plan      func(v *volumes, task backup.Task)
		step      events.Step
		code      events.Code
		retryable bool
	}{
		"it is gone": {func(v *volumes, _ backup.Task) { v.engine.DropVolume("two") },
			events.StepVolumes, events.CodeNotFound, false},
		"a helper cannot be made": {func(v *volumes, _ backup.Task) {
			v.engine.Plan(enginetest.Fault{Op: enginetest.CreateHelper, On: "two", Err: broken})
		}, events.StepVolumes, events.CodeEngine, true},
		"what comes is cut": {func(v *volumes, _ backup.Task) {
			v.engine.SetHelper(func(_ context.Context, _ engine.HelperSpec, _ io.Reader, stdout, stderr io.Writer) int {
				fmt.Fprint(stderr, `{"report":{"entries":1}}`)
				return 0
			})
		}, events.StepVolumes, events.CodeCorruptArchive, true},
		"less comes than is said": {func(v *volumes, _ backup.Task) {
			v.engine.SetHelper(func(ctx context.Context, s engine.HelperSpec, _ io.Reader, stdout, stderr io.Writer) int {
				_, _ = volume.Archive(ctx, v.folders[s.Volume], stdout)
				fmt.Fprint(stderr, `{"report":{"entries":3,"bytes":5}}`)
				return 0
			})
		}, events.StepVolumes, events.CodeCorruptArchive, true},
		"it cannot be read": {func(v *volumes, _ backup.Task) {
			v.engine.SetHelper(func(ctx context.Context, s engine.HelperSpec, _ io.Reader, stdout, stderr io.Writer) int {
				_, _ = volume.Archive(ctx, v.folders[s.Volume], stdout)
				fmt.Fprint(stderr, `{"report":{"entries":2,"bytes":5,"unreadable":{"count":1,"first":[{"path":"note","reason":"input/output error"}]}}}`)
				return 0
			})
		}, events.StepVolumes, events.CodeUnreadable, false},
		"a call is refused": {func(v *volumes, _ backup.Task) { v.engine.Refuse(engine.CallCreate) },
			events.StepInspect, events.CodeEngineRefused, false},
		"somebody lets the container run": {func(v *volumes, task backup.Task) {
			v.reading = func(engine.HelperSpec) {
				_ = v.engine.Unpause(v.Context(), task.Item.ID)
				time.Sleep(time.Millisecond)
			}
		}, events.StepCommit, events.CodeNotQuiesced, true},
		"somebody lets it run, and pauses it again": {func(v *volumes, task backup.Task) {
			v.reading = func(s engine.HelperSpec) {
				if s.Volume == "one" {
					_ = v.engine.Unpause(v.Context(), task.Item.ID)
					time.Sleep(time.Millisecond)
					v.engine.Freeze(task.Item.ID)
				}
			}
		}, events.StepCommit, events.CodeNotQuiesced, true},
		"the events break off": {func(v *volumes, _ backup.Task) {
			v.engine.Plan(enginetest.Fault{Op: enginetest.Watch, Cut: 2})
			v.reading = func(engine.HelperSpec) { time.Sleep(time.Millisecond) }
		}, events.StepCommit, events.CodeNotQuiesced, true},
	} {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				v := b.withVolumes()
				task := v.container("Web", events.QuiescePause, v.volume("one", "first"), v.volume("two", "second"))
				c.plan(v, task)
				_, err := b.run(b.Context(), task)
				b.wantError(err, c.step, c.code, c.retryable)
				b.engine.Refuse()
				b.wantNothingLeft(task.Item.ID, events.StateRunning)
				b.wantNoHelpers()
			})
		})
	}
}

func (b *bench) wantNoHelpers() {
	b.Helper()
	if left := b.engine.Helpers(); len(left) > 0 {
		b.Errorf("the helpers %q are left", left)
	}
}

// A helper that cannot be removed is no failure, and is removed later.
func TestHelperThatStays(t *testing.T) {
	withBench(t, func(b *bench) {
		v := b.withVolumes()
		task := v.container("Web", events.QuiescePause, v.volume("one", "first"))
		b.engine.Plan(enginetest.Fault{Op: enginetest.RemoveHelper, Err: errors.New("broken"), Times: 2})
		result, err := b.run(b.Context(), task)
		if err != nil {
			b.Fatal(err)
		}
		v.wantStored(result.Manifest, "one", "first")
		b.wantAsItWas(task.Item.ID, events.StateRunning)
		b.wantNoHelpers()
	})
}

// The record names every helper before the first is made.
func TestHelpersAreRecorded(t *testing.T) {
	withBench(t, func(b *bench) {
		v := b.withVolumes()
		task := v.container("Web", events.QuiescePause, v.volume("one", "first"), v.volume("two", "second"))
		v.reading = func(s engine.HelperSpec) {
			records, err := b.store.List()
			if err != nil || len(records) != 1 || !slices.ContainsFunc(records[0].Actions, func(a undo.Action) bool {
				return a.RemoveContainer != nil && a.RemoveContainer.Name == s.Name
			}) {
				b.Errorf("while helper %s runs the records are %+v, %v", s.Name, records, err)
			}
		}
		if _, err := b.run(b.Context(), task); err != nil {
			b.Fatal(err)
		}
		b.settle()
		b.wantNoHelpers()
	})
}

// Who cancels does not wait for what is being read, and the container runs again.
func TestCancelledWhileReading(t *testing.T) {
	withBench(t, func(b *bench) {
		v := b.withVolumes()
		task := v.container("Web", events.QuiescePause, v.volume("one", "first"))
		ctx, cancel := context.WithCancelCause(b.Context())
		v.reading = func(engine.HelperSpec) { cancel(backup.ErrCancelled) }
		began := time.Now()
		_, err := b.run(ctx, task)
		if took := time.Since(began); took > time.Second {
			b.Errorf("it returned %s after it was cancelled", took)
		}
		b.wantError(err, events.StepCommit, events.CodeCancelled, true) // to resume the container came last
		b.wantNothingLeft(task.Item.ID, events.StateRunning)
		b.wantNoHelpers()
	})
}

// The volumes of containers that are captured together are read before the first of
// them runs again.
func TestVolumesTogether(t *testing.T) {
	withBench(t, func(b *bench) {
		v := b.withVolumes()
		tasks := []backup.Task{
			v.container("a", events.QuiescePause, v.volume("one", "first")),
			v.container("b", events.QuiesceStop, v.volume("two", "second")),
			v.container("c", events.QuiescePause),
		}
		tasks[1].Point = pointID[:21] + "0001"
		tasks[2].Point = pointID[:21] + "0002"
		v.reading = func(s engine.HelperSpec) {
			time.Sleep(time.Second)
			for _, task := range tasks {
				if got := b.engine.State(task.Item.ID); got == events.StateRunning {
					b.Errorf("while %s is read container %s runs", s.Volume, task.Item.Name)
				}
			}
		}
		for i, c := range b.runner.Capture(b.Context(), tasks) {
			result, err := only(c.Store(b.Context()))
			if err != nil {
				b.Fatal(err)
			}
			if result.Manifest.NotRunningMillis < 1000 {
				b.Errorf("container %s did not run for %v ms", tasks[i].Item.Name, result.Manifest.NotRunningMillis)
			}
		}
		b.settle()
		b.wantNoHelpers()
	})
}
