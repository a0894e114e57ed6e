package restore_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/undo"
)

// family are containers that use namespaces of web: side its network, deep that as well,
// and the processes of side, and off, which does not run, its network.
type family struct{ side, deep, off string }

func (b *bench) family() (f family) {
	f.side = b.engine.Add(enginetest.Spec{Name: "side", Image: baseImage, Network: b.web, Volume: "/own"}, events.StateRunning)
	f.deep = b.engine.Add(enginetest.Spec{Name: "deep", Image: baseImage, Network: b.web, Processes: f.side}, events.StateRunning)
	f.off = b.engine.Add(enginetest.Spec{Name: "off", Image: baseImage, Network: b.web}, events.StateExited)
	b.must(b.engine.SetRestartPolicy(b.Context(), f.side, engine.RestartPolicy{Name: "always"}))
	return f
}

// called are the containers by their names, as they are.
func (b *bench) called() map[string]*engine.ContainerDetail {
	b.Helper()
	all, err := b.engine.Containers(b.Context())
	b.must(err)
	found := map[string]*engine.ContainerDetail{}
	for _, c := range all {
		found[c.Name], err = b.engine.Inspect(b.Context(), c.ID)
		b.must(err)
	}
	return found
}

// wantFamily holds that all is as it was before.
func (b *bench) wantFamily(f family) {
	b.Helper()
	b.settle()
	all := b.called()
	if len(all) != 4 {
		b.Errorf("there are %d containers, want four", len(all))
	}
	for name, want := range map[string]struct {
		id    string
		state events.State
	}{"web": {b.web, events.StateRunning}, "side": {f.side, events.StateRunning}, "deep": {f.deep, events.StateRunning}, "off": {f.off, events.StateExited}} {
		if c := all[name]; c == nil || c.ID != want.id || c.State != want.state {
			b.Errorf("%s is %+v, want %+v", name, c, want)
		}
	}
	if p := all["side"].RestartPolicy; p.Name != "always" {
		b.Errorf("the restart policy of side is %+v", p)
	}
	if refs := b.engine.References(); !slices.Equal(refs, []string{baseImage}) {
		b.Errorf("the images are %q", refs)
	}
}

func TestRemakesDependants(t *testing.T) {
	withBench(t, func(b *bench) {
		f := b.family()
		standing := map[string]events.State{}
		b.engine.Plan(
			enginetest.Fault{Op: enginetest.Commit, On: f.side, During: func() { standing["web"], standing["side"] = b.engine.State(b.web), b.engine.State(f.side) }},
			enginetest.Fault{Op: enginetest.Stop, On: f.side, During: func() { standing["deep"] = b.engine.State(f.deep) }})
		result, err := b.restore(b.Context(), b.plan(events.VolumesKeep), 1)
		b.must(err)
		if standing["web"] != events.StateRunning || standing["side"] != events.StateExited || standing["deep"] != events.StateExited {
			t.Errorf("while side was committed, and deep while side was stopped: %v", standing)
		}
		all := b.called()
		if len(all) != 4 || all["web"].ID == b.web {
			t.Fatalf("there are %v", all)
		}
		for name, want := range map[string]struct {
			state  events.State
			shares []string
			old    string
		}{
			"side": {events.StateRunning, []string{all["web"].ID}, f.side}, "deep": {events.StateRunning, []string{all["web"].ID, all["side"].ID}, f.deep},
			"off": {events.StateCreated, []string{all["web"].ID}, f.off},
		} {
			c := all[name]
			if c.State != want.state || !slices.Equal(c.Shares, want.shares) || b.engine.State(want.old) != "" {
				t.Errorf("%s is %+v, want %+v", name, c, want)
			}
			i := slices.IndexFunc(result.Dependants, func(d events.RecreatedDependant) bool { return d.Name == name })
			if i < 0 {
				t.Fatalf("the result does not name %s: %+v", name, result.Dependants)
			}
			d := result.Dependants[i]
			img, err := b.engine.InspectImage(b.Context(), d.ImageReference)
			b.must(err)
			if d.ID != c.ID || d.Replaced != want.old || img.ID != c.ImageID || (d.NotRunningMillis > 0) != (name != "off") {
				t.Errorf("the result of %s is %+v", name, d)
			}
		}
		if all["side"].RestartPolicy.Name != "always" || len(all["side"].Mounts) != 1 || all["side"].Mounts[0].Name != f.side[:8]+"-data" {
			t.Errorf("side is %+v", all["side"])
		}
		for _, w := range result.Warnings {
			if strings.Contains(w.Message, "made again") {
				t.Errorf("it warns: %s", w.Message)
			}
		}
	})
}

// Whatever fails, and whenever, all containers are as they were, and of the new ones
// nothing is left. The Engine starts none before those whose namespaces it uses.
func TestDependantsAreBackAfterAFailure(t *testing.T) {
	type plan func(b *bench, f family)
	fault := func(op enginetest.Op, on func(f family) string, err error, late bool) plan {
		return func(b *bench, f family) { b.engine.Plan(enginetest.Fault{Op: op, On: on(f), Err: err, Late: late}) }
	}
	side, deep := func(f family) string { return f.side }, func(f family) string { return f.deep }
	atGate := func(n int, do func(b *bench, f family)) plan {
		return func(b *bench, f family) {
			b.steps = func(step events.Step) {
				if step == events.StepGate {
					if n--; n == 0 {
						do(b, f)
					}
				}
			}
		}
	}
	away := engine.ErrEngineUnavailable
	for name, c := range map[string]struct {
		plan plan
		code events.Code
	}{
		"the Engine goes at a stop":          {fault(enginetest.Stop, side, away, true), events.CodeEngineUnavailable},
		"it goes at a policy":                {fault(enginetest.SetRestartPolicy, side, away, true), events.CodeEngineUnavailable},
		"it goes after a commit":             {fault(enginetest.Commit, side, away, true), events.CodeEngineUnavailable},
		"its disk is full":                   {fault(enginetest.Commit, deep, engine.ErrEngineFull, false), events.CodeEngineFull},
		"what is written cannot be an image": {fault(enginetest.Commit, side, engine.ErrUncommittable, false), events.CodeUncommittableContent},
		"it goes at the rename":              {fault(enginetest.RenameContainer, deep, away, true), events.CodeEngineUnavailable},
		"a panic": {func(b *bench, f family) {
			b.engine.Plan(enginetest.Fault{Op: enginetest.RenameContainer, On: f.deep, During: func() { panic("a fault") }})
		}, events.CodeInternal},
		"one is refused": {func(b *bench, _ family) {
			b.engine.Plan(enginetest.Fault{Op: enginetest.CreateContainer, After: 2, Err: engine.ErrRefusedConfig})
		}, events.CodeUnsuitable},
		"the restored one ends at once": {atGate(1, func(b *bench, _ family) { b.engine.Kill(b.called()["web"].ID) }), events.CodeNotHealthy},
		"a new one ends at once":        {atGate(2, func(b *bench, _ family) { b.engine.Kill(b.called()["side"].ID) }), events.CodeNotHealthy},
		"the last one is removed":       {atGate(2, func(b *bench, _ family) { b.engine.Remove(b.called()["deep"].ID) }), events.CodeNotHealthy},
		"one cannot be started": {func(b *bench, _ family) {
			b.engine.Plan(enginetest.Fault{Op: enginetest.Start, After: 2, Err: errBroken})
		}, events.CodeNotStarted},
	} {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				f := b.family()
				item := b.plan(events.VolumesKeep)
				c.plan(b, f)
				_, err := b.restore(b.Context(), item, 1)
				_ = b.wantError(err, c.code)
				b.wantFamily(f)
			})
		})
	}
}

// A job whose time has passed leaves a commit that the Engine goes on with, and its image
// goes when it comes. The containers do not wait for that.
func TestDependantsDoNotWaitForACommit(t *testing.T) {
	withBench(t, func(b *bench) {
		f := b.family()
		item := b.plan(events.VolumesKeep)
		ctx, cancel := context.WithCancelCause(b.Context())
		b.engine.Plan(enginetest.Fault{Op: enginetest.Commit, On: f.deep, Err: job.ErrTimeout, GoesOn: 5 * time.Minute,
			During: func() { cancel(job.ErrTimeout) }})
		_, err := b.restore(ctx, item, 1)
		if e := b.wantError(err, events.CodeTimeout); !strings.Contains(e.Error(), "may not run yet") {
			t.Errorf("it says %q", e)
		}
		time.Sleep(time.Second)
		if b.engine.State(f.side) != events.StateRunning || b.engine.State(f.deep) != events.StateRunning {
			t.Error("the containers do not run")
		}
		b.wantFamily(f)
	})
}

// What did not run as it should need not do so afterwards; what was paused is so again.
func TestDependantsThatDidNotRun(t *testing.T) {
	for name, change := range map[string]func(b *bench, id string){
		"unhealthy": func(b *bench, id string) { b.engine.SetHealth(id, engine.HealthUnhealthy) },
		"paused":    func(b *bench, id string) { b.engine.Freeze(id) },
	} {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				side := b.engine.Add(enginetest.Spec{Name: "side", Image: baseImage, Network: b.web}, events.StateRunning)
				change(b, side)
				was, err := b.engine.Inspect(b.Context(), side)
				b.must(err)
				gates := 0
				b.steps = func(step events.Step) {
					if step == events.StepGate {
						if gates++; gates == 2 && name == "unhealthy" {
							b.engine.SetHealth(b.called()["side"].ID, engine.HealthUnhealthy)
						}
					}
				}
				_, err = b.restore(b.Context(), b.plan(events.VolumesKeep), 1)
				b.must(err)
				if now := b.called()["side"]; now.ID == side || now.State != was.State {
					t.Errorf("it is %+v", now)
				}
			})
		})
	}
}

// Nothing is touched if a dependant is not what it was when the plan was made.
func TestDependantsThatChanged(t *testing.T) {
	for name, c := range map[string]struct {
		change func(b *bench, f family)
		code   events.Code
		says   string
	}{
		"another one has come": {func(b *bench, f family) {
			b.engine.Add(enginetest.Spec{Name: "late", Image: baseImage, Processes: f.deep}, events.StateCreated)
		}, events.CodeDependants, "container late has begun to use namespaces"},
		"one is gone": {func(b *bench, f family) { b.engine.Remove(f.off) }, events.CodeReplaced, "container off"},
		"one has another name": {func(b *bench, f family) { b.must(b.engine.RenameContainer(b.Context(), f.off, "out")) }, events.CodeReplaced,
			"is called out by now"},
		"its image is gone": {func(b *bench, _ family) { b.engine.LoseImage(baseImage) }, events.CodeBaseImageMissing, "pull or load it again"},
		"the Engine does not tell": {func(b *bench, _ family) {
			b.engine.Plan(enginetest.Fault{Op: enginetest.Containers, Err: errBroken})
		}, events.CodeUnsuitable, "does not tell about container"},
	} {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				f := b.family()
				item := b.plan(events.VolumesKeep)
				c.change(b, f)
				_, err := b.restore(b.Context(), item, 1)
				if e := b.wantError(err, c.code); !strings.Contains(e.Error(), c.says) {
					t.Errorf("it says %q, not %q", e, c.says)
				}
				if n := b.engine.Calls(enginetest.Stop) + b.engine.Calls(enginetest.CreateContainer); n > 0 {
					t.Errorf("%d calls were made", n)
				}
			})
		})
	}
}

// Nobody else gets a dependant while it is made again.
func TestDependantsAreLocked(t *testing.T) {
	withBench(t, func(b *bench) {
		f := b.family()
		b.engine.Plan(enginetest.Fault{Op: enginetest.Commit, On: f.side, During: func() {
			for _, r := range []undo.Resource{undo.Container(f.side), undo.Container(f.deep), undo.ContainerName("off")} {
				if release, ok := b.sweeper.Locks.TryAcquire(r); ok {
					release()
					t.Errorf("somebody else got %s", r)
				}
			}
		}})
		_, err := b.restore(b.Context(), b.plan(events.VolumesKeep), 1)
		b.must(err)
	})
}

// A volume that a dependant has, too, is filled while both stand.
func TestVolumeOfADependant(t *testing.T) {
	withBench(t, func(b *bench) {
		b.engine.Add(enginetest.Spec{Name: "side", Image: baseImage, Network: b.web,
			Mounts: []engine.Mount{{Type: "volume", Name: "data", Destination: "/shared"}}}, events.StateRunning)
		_, err := b.restore(b.Context(), b.plan(events.VolumesEmpty), 1)
		b.must(err)
		if held := b.volumes.all()["data"]; held != "of the point" {
			t.Errorf("it holds %q", held)
		}
		if c := b.called()["side"]; c.State != events.StateRunning || c.Mounts[0].Name != "data" {
			t.Errorf("side is %+v", c)
		}
	})
}

// The call is refused before anything is touched.
func TestDependantsNeedACommit(t *testing.T) {
	withBench(t, func(b *bench) {
		f := b.family()
		item := b.plan(events.VolumesKeep)
		b.engine.Refuse(engine.CallCommit)
		_, err := b.restore(b.Context(), item, 1)
		e := b.wantError(err, events.CodeEngineRefused)
		if !strings.Contains(e.Error(), "POST /commit") {
			t.Errorf("it says %q", e)
		}
		b.engine.Refuse()
		b.wantFamily(f)
	})
}
