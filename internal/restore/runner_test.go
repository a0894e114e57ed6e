package restore_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/restore"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/quota"
	"holdfast.io/holdfast/internal/sink/sinktest"
	"holdfast.io/holdfast/internal/undo"
	"holdfast.io/holdfast/internal/volume"
)

func TestReplaces(t *testing.T) {
	withBench(t, func(b *bench) {
		result, err := b.restore(b.Context(), b.plan(events.VolumesEmpty), 1)
		b.must(err)
		if c := b.only(); c.ID == b.web || result.Replaced != b.web || result.Container.ID != c.ID {
			t.Errorf("the container is %s, and the result says %+v", c.ID, result)
		}
		if held := b.volumes.all(); held["data"] != "of the point" {
			t.Errorf("the volumes hold %q", held)
		}
	})
}

// started returns the container that a restore has started.
func (b *bench) started() string {
	b.Helper()
	all, err := b.engine.Containers(b.Context())
	b.must(err)
	for _, c := range all {
		if c.ID != b.web {
			return c.ID
		}
	}
	b.Fatal("no container was made")
	return ""
}

// A container with a health check passes when that does, and fails in the end when that
// says nothing; the old one is back then.
func TestGateOfAHealthCheck(t *testing.T) {
	const bound = time.Minute + 10*time.Second // the Fake's own times, and the gate
	for name, c := range map[string]struct {
		becomes events.Code // of the failure; empty if it passes
		health  engine.Health
		after   time.Duration
		timeout time.Duration
		took    time.Duration
	}{
		"healthy later":      {"", engine.HealthHealthy, 65 * time.Second, time.Hour, 65 * time.Second},
		"unhealthy":          {events.CodeNotHealthy, engine.HealthUnhealthy, 30 * time.Second, time.Hour, 30 * time.Second},
		"never one of both":  {events.CodeNotHealthy, engine.HealthHealthy, time.Hour, time.Hour, bound},
		"not before the end": {events.CodeNotHealthy, engine.HealthHealthy, time.Hour, 20 * time.Second, 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				var began time.Time
				b.steps = func(step events.Step) {
					if step == events.StepGate {
						began = time.Now()
						id := b.started()
						b.engine.SetHealth(id, engine.HealthStarting)
						time.AfterFunc(c.after, func() {
							if b.engine.State(id) != "" {
								b.engine.SetHealth(id, c.health)
							}
						})
					}
				}
				ctx, cancel := context.WithTimeoutCause(b.Context(), c.timeout, job.ErrTimeout)
				defer cancel()
				_, err := b.restore(ctx, b.plan(events.VolumesKeep), 1)
				if took := time.Since(began); took < c.took || took > c.took+2*time.Second {
					t.Errorf("it took %s, want %s", took, c.took)
				}
				if c.becomes == "" {
					b.must(err)
					return
				}
				_ = b.wantError(err, c.becomes)
				b.wantOld()
			})
		})
	}
}

// Whatever fails, the old container runs, and what a restore has made or filled is not.
func TestWhatFailsIsUndone(t *testing.T) {
	fault := func(op enginetest.Op, err error, late bool) func(b *bench) {
		return func(b *bench) { b.engine.Plan(enginetest.Fault{Op: op, Err: err, Late: late}) }
	}
	away := engine.ErrEngineUnavailable
	for name, c := range map[string]struct {
		plan func(b *bench)
		code events.Code
	}{
		"the sink goes while the image is loaded": {func(b *bench) { b.sink.Fail(b, sinktest.OpRead, 3, sink.ErrUnavailable) }, events.CodeSinkUnavailable},
		"the sink goes before a volume is filled": {func(b *bench) {
			b.steps = func(step events.Step) {
				if step == events.StepStop {
					b.sink.Vanish()
				}
			}
		}, events.CodeSinkUnavailable},
		"a volume is full":             {func(b *bench) { b.volumes.err = volume.ErrFull }, events.CodeEngineFull},
		"a volume cannot be filled":    {func(b *bench) { b.volumes.err = errBroken }, events.CodeEngine},
		"the Engine goes at the load":  {fault(enginetest.Load, away, true), events.CodeEngineUnavailable},
		"the Engine's disk is full":    {fault(enginetest.Load, engine.ErrEngineFull, false), events.CodeEngineFull},
		"it goes at the create":        {fault(enginetest.CreateContainer, away, true), events.CodeEngineUnavailable},
		"it goes at the stop":          {fault(enginetest.Stop, away, true), events.CodeEngineUnavailable},
		"it goes at the rename":        {fault(enginetest.RenameContainer, away, true), events.CodeEngineUnavailable},
		"it goes at the start":         {fault(enginetest.Start, away, true), events.CodeEngineUnavailable},
		"it goes at the policy":        {fault(enginetest.SetRestartPolicy, away, true), events.CodeEngineUnavailable},
		"the configuration is refused": {fault(enginetest.CreateContainer, engine.ErrRefusedConfig, false), events.CodeUnsuitable},
		"it cannot be started":         {fault(enginetest.Start, errBroken, false), events.CodeNotStarted},
		"a panic": {func(b *bench) {
			b.engine.Plan(enginetest.Fault{Op: enginetest.Start, During: func() { panic("a fault") }})
		}, events.CodeInternal},
		"it ends at once": {func(b *bench) {
			b.steps = func(step events.Step) {
				if step == events.StepGate {
					b.engine.Kill(b.started())
				}
			}
		}, events.CodeNotHealthy},
	} {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				item := b.plan(events.VolumesEmpty)
				c.plan(b)
				_, err := b.restore(b.Context(), item, 1)
				e := b.wantError(err, c.code)
				b.wantOld()
				if held := b.volumes.all(); len(held) > 0 {
					t.Errorf("the volumes hold %q, want nothing", held)
				}
				if e.NotRunning < 0 || e.NotRunning > time.Hour {
					t.Errorf("it did not run for %s", e.NotRunning)
				}
			})
		})
	}
}

// What a volume holds is not the restore's to remove, whenever that fails: it is found to
// be empty right before it is filled, once nobody writes to it any more.
func TestDataOfOthersStays(t *testing.T) {
	for name, c := range map[string]struct {
		plan func(b *bench)
		code events.Code
	}{
		"it holds data": {func(b *bench) { b.volumes.put("data", "precious") }, events.CodeVolumeNotEmpty},
		"it was not looked into yet": {func(b *bench) {
			b.volumes.put("data", "precious")
			b.engine.Plan(enginetest.Fault{Op: enginetest.Load, Err: errBroken})
		}, events.CodeEngine},
		"the old container writes until it is stopped": {func(b *bench) {
			b.steps = func(step events.Step) {
				if step == events.StepStop {
					b.volumes.put("data", "precious")
				}
			}
		}, events.CodeVolumeNotEmpty},
	} {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				item := b.plan(events.VolumesEmpty)
				c.plan(b)
				_, err := b.restore(b.Context(), item, 1)
				_ = b.wantError(err, c.code)
				b.wantOld()
				if held := b.volumes.all(); held["data"] != "precious" {
					t.Errorf("the volumes hold %q", held)
				}
			})
		})
	}
}

// The old container does not start in what was filled for the new one.
func TestVolumeIsEmptiedBeforeTheOldOneStarts(t *testing.T) {
	withBench(t, func(b *bench) {
		b.engine.Plan(
			enginetest.Fault{Op: enginetest.Start, Err: errBroken},
			enginetest.Fault{Op: enginetest.Start, On: b.web, During: func() {
				if held := b.volumes.all(); len(held) > 0 {
					t.Errorf("it starts with %q", held)
				}
			}})
		_, err := b.restore(b.Context(), b.plan(events.VolumesEmpty), 1)
		_ = b.wantError(err, events.CodeNotStarted)
		b.wantOld()
	})
}

// Another container that starts to use a volume keeps it from being filled.
func TestVolumeInUse(t *testing.T) {
	withBench(t, func(b *bench) {
		item := b.plan(events.VolumesEmpty)
		other := b.engine.Add(enginetest.Spec{Name: "other", Image: baseImage,
			Mounts: []engine.Mount{{Type: "volume", Name: "data", Destination: "/data"}}}, events.StateRunning)
		_, err := b.restore(b.Context(), item, 1)
		_ = b.wantError(err, events.CodeVolumeInUse)
		b.engine.Remove(other)
		b.wantOld()
	})
}

// What a volume holds goes when it is stored, and is back after a failure, before the old
// container starts.
func TestReplacesWhatAVolumeHolds(t *testing.T) {
	for name, c := range map[string]struct {
		plan func(b *bench)
		code events.Code // empty for a success
		says string
	}{
		"all goes well": {func(*bench) {}, "", ""},
		"it cannot be stored": {func(b *bench) { b.volumes.keepErr = failure.New(events.StepPublish, events.CodeSinkFull, "full") },
			events.CodeSinkFull, "volume data is not replaced, as what it holds cannot be stored: full"},
		"it is full": {func(b *bench) { b.volumes.err = volume.ErrFull }, events.CodeEngineFull, "what volume data held is stored as point safety"},
		"the new one does not start": {func(b *bench) {
			b.engine.Plan(
				enginetest.Fault{Op: enginetest.Start, Err: errBroken},
				enginetest.Fault{Op: enginetest.Start, On: b.web, During: func() {
					if held := b.volumes.all(); held["data"] != "precious" {
						t.Errorf("the old one starts with %q", held)
					}
				}})
		}, events.CodeNotStarted, "what volume data held is stored as point safety"},
		"what was made cannot be removed at once": {func(b *bench) {
			b.engine.Plan(
				enginetest.Fault{Op: enginetest.Start, Err: errBroken},
				enginetest.Fault{Op: enginetest.RemoveImage, Times: 3, Err: errBroken, During: func() { b.volumes.put("data", "precious, and more") }})
		}, events.CodeNotStarted, "what volume data held is stored as point safety"},
	} {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				b.volumes.put("data", "precious")
				item := b.plan(events.VolumesReplace)
				c.plan(b)
				result, err := b.restore(b.Context(), item, 1)
				held := b.volumes.all()["data"]
				if c.code == "" {
					b.must(err)
					if v := result.Volumes[0]; v.Action != events.VolumeReplaced || v.Safety != "safety" || held != "of the point" || b.volumes.kept["dir"] != "precious" {
						t.Errorf("the result says %+v, the volume holds %q, and kept is %q", v, held, b.volumes.kept)
					}
					return
				}
				if e := b.wantError(err, c.code); !strings.Contains(e.Error(), c.says) {
					t.Errorf("it says %q, not %q", e, c.says)
				}
				b.wantOld()
				if held := b.volumes.all()["data"]; !strings.HasPrefix(held, "precious") || name == "what was made cannot be removed at once" && held == "precious" {
					t.Errorf("the volume holds %q", held)
				}
			})
		})
	}
}

// What a dead attempt at the item has made is gone before the next one begins, and nobody
// else gets the volume before.
func TestWaitsForAnEarlierAttempt(t *testing.T) {
	withBench(t, func(b *bench) {
		b.engine.Remove(b.web)
		b.engine.DropVolume("data")
		item := b.plan(events.VolumesEmpty)
		if item.Volumes[0].Action != events.VolumeCreated {
			t.Fatalf("the plan is %+v", item)
		}
		b.engine.AddVolume(engine.Volume{Name: "data"})
		b.engine.Plan(enginetest.Fault{Op: enginetest.RemoveVolume, Times: 3, Err: engine.ErrEngineUnavailable})
		b.must(b.sweeper.Adopt(b.Context(), undo.Record{Version: undo.Version, ID: undo.ID(item.Point+"-"+jobID, 1), Job: jobID, Attempt: 1, Item: item.Item,
			Time: time.Now(), Actions: []undo.Action{{Restoration: &undo.Restoration{Volumes: []string{"data"}}}}}, true))
		if release, ok := b.sweeper.Locks.TryAcquire(undo.VolumeName("data")); ok {
			release()
			t.Error("somebody else got the volume")
		}
		_, err := b.restore(b.Context(), item, 2)
		b.must(err)
		if held := b.volumes.all(); held["data"] != "of the point" || b.only() == nil {
			t.Errorf("the volumes hold %q", held)
		}
	})
}

// What another worker has left of another restore of the same point is undone, too.
func TestRestoresOfOnePointAreApart(t *testing.T) {
	withBench(t, func(b *bench) {
		item := b.plan(events.VolumesKeep)
		b.engine.Plan(enginetest.Fault{Op: enginetest.Start, Err: errBroken})
		_, err := b.restore(b.Context(), item, 1)
		_ = b.wantError(err, events.CodeNotStarted)
		b.wantOld()
		b.must(b.engine.Stop(b.Context(), b.web))
		b.must(b.sweeper.Adopt(b.Context(), undo.Record{Version: undo.Version, ID: b.begun(item, "another"), Job: "another", Attempt: 1, Item: item.Item,
			Time: time.Now(), Actions: []undo.Action{{Restoration: &undo.Restoration{
				Swap: undo.Swap{Replaced: &undo.Replaced{ID: b.web, Name: "web", State: events.StateRunning}}}}}}, true))
		b.wantOld()
	})
}

// begun is the id of the record that a job's first attempt at the item has.
func (b *bench) begun(item restore.Item, job string) (id string) {
	b.Helper()
	_, err := b.runner.Run(b.Context(), restore.Task{
		Host: "host", Job: job, Attempt: 1, Item: item, SinkName: "default", Sink: b.sink, Ledger: refusing{&id}, Progress: func(events.Step, int64, int64, int64) {},
	})
	if err == nil || id == "" {
		b.Fatalf("the record is %q: %v", id, err)
	}
	return id
}

// refusing is a ledger that takes nothing down.
type refusing struct{ id *string }

func (r refusing) Begin(_ context.Context, record undo.Record) error {
	*r.id = record.ID
	return errBroken
}

// Of two restores of one container at once one waits, and finds that it was replaced.
func TestTwoAtOnce(t *testing.T) {
	withBench(t, func(b *bench) {
		item := b.plan(events.VolumesKeep)
		errs := make(chan error, 2)
		for attempt := range uint64(2) {
			go func() {
				_, err := b.restore(b.Context(), item, attempt+1)
				errs <- err
			}()
		}
		one, other := <-errs, <-errs
		if one != nil {
			one, other = other, one
		}
		b.must(one)
		_ = b.wantError(other, events.CodeReplaced)
		b.settle()
		if c := b.only(); c == nil || c.ID == b.web {
			t.Errorf("the container is %+v", c)
		}
	})
}

var _ restore.Volumes = (*volumes)(nil)

// Where the quota leaves no room for what a volume holds, nothing is stopped.
func TestReplacesNothingBeyondTheQuota(t *testing.T) {
	withBench(t, func(b *bench) {
		b.volumes.put("data", "precious")
		item := b.plan(events.VolumesReplace)
		_, err := b.runner.Run(b.Context(), restore.Task{
			Host: "host", Job: jobID, Attempt: 1, Item: item, SinkName: "default", Sink: quota.New(b.sink, 10, "memory"), Ledger: nowhere{},
			Keep: b.volumes.keep, Progress: func(events.Step, int64, int64, int64) {},
		})
		e := b.wantError(err, events.CodeSinkFull)
		if !strings.Contains(fmt.Sprint(e), "cannot be stored in sink default before it is replaced: memory: the sink is full: its quota is 10 B") {
			b.Error(e)
		}
		if stops := b.engine.Calls(enginetest.Stop); stops > 0 {
			b.Errorf("the container was stopped %d times", stops)
		}
		b.wantOld()
	})
}
