package verify_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
	"holdfast.io/holdfast/internal/verify"
)

// drilled returns the container of a drill.
func (b *bench) drilled() engine.Container {
	b.Helper()
	all, err := b.engine.Containers(b.Context())
	b.must(err)
	for _, c := range all {
		if c.IsHelper() {
			return c
		}
	}
	b.Fatal("there is no container of a drill")
	return engine.Container{}
}

func TestDrill(t *testing.T) {
	withBench(t, func(b *bench) {
		s := b.container("web-1")
		began := time.Now()
		item := b.store(s)
		looked := false
		r, err := b.verifyUntil(b.Context(), item, events.VerifyDrill, func(step events.Step, _ int64) {
			if step == events.StepGate && !looked {
				looked = true
				c := b.drilled()
				d, err := b.engine.Inspect(b.Context(), c.ID)
				b.must(err)
				if !strings.Contains(string(d.Raw), `"NetworkMode":"none"`) || c.State != events.StateRunning || !strings.HasPrefix(c.Name, "holdfast-helper-"+s.ID) {
					t.Errorf("the container of the drill is %s", d.Raw)
				}
			}
		})
		b.must(err)
		if took := time.Since(began); took < 10*time.Second || took > 11*time.Second || !looked || len(r.Warnings) > 0 {
			t.Errorf("it took %s, the container was looked at: %v, the warnings are %+v", took, looked, r.Warnings)
		}
		if m := b.mark(s.dir); m == nil || !m.OK || m.Level != string(events.VerifyDrill) {
			t.Errorf("the mark is %+v", m)
		}
		steps := slices.Compact(b.steps)
		want := []events.Step{events.StepRead, events.StepLoad, events.StepCreate, events.StepStart, events.StepGate, events.StepRemove}
		if !slices.Equal(steps, want) {
			t.Errorf("the steps are %q, want %q", steps, want)
		}
		if _, err := b.engine.InspectImage(b.Context(), s.Image.ID); !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("the image is left: %v", err)
		}
	})
}

// What does not run has a defined answer.
func TestDrillOfWhatDoesNotRun(t *testing.T) {
	for name, change := range map[string]func(b *bench, s *stored){
		"a container that had ended":       func(_ *bench, s *stored) { s.State = events.StateExited },
		"a container that was not started": func(_ *bench, s *stored) { s.State = events.StateCreated },
		"one that could not stay up":       func(_ *bench, s *stored) { s.State = events.StateRestarting },
	} {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				s := b.container("web-1")
				change(b, s)
				r, err := b.verify(b.store(s), events.VerifyDrill)
				b.must(err)
				if b.engine.Calls(enginetest.Start) > 0 || b.engine.Calls(enginetest.Load) != 1 || len(r.Warnings) != 1 {
					t.Errorf("started was %d times, loaded %d times, the warnings are %+v", b.engine.Calls(enginetest.Start),
						b.engine.Calls(enginetest.Load), r.Warnings)
				}
			})
		})
	}
	t.Run("a volume", func(t *testing.T) {
		withBench(t, func(b *bench) {
			s := b.point(events.Item{Kind: events.ItemVolume, ID: "pgdata", Name: "pgdata"})
			s.volume(b)
			r, err := b.verify(b.store(s), events.VerifyDrill)
			b.must(err)
			if b.engine.Calls(enginetest.Load) > 0 || len(r.Warnings) != 1 {
				t.Errorf("loaded was %d times, the warnings are %+v", b.engine.Calls(enginetest.Load), r.Warnings)
			}
		})
	})
}

// An image that is on the Engine stays, whether it has a name or not.
func TestDrillLeavesImagesThatWereThere(t *testing.T) {
	for _, references := range [][]string{{"app:v1"}, nil} {
		withBench(t, func(b *bench) {
			s := b.container("web-1")
			item := b.store(s)
			_, err := b.engine.Load(b.Context(), b.archive(s))
			b.must(err)
			for _, ref := range references {
				b.engine.Tag(s.Image.ID, ref)
			}
			_, err = b.verify(item, events.VerifyDrill)
			b.must(err)
			img, err := b.engine.InspectImage(b.Context(), s.Image.ID)
			b.must(err)
			if !slices.Equal(img.References, references) || b.engine.Calls(enginetest.Load) != 1 {
				t.Errorf("the image has the names %q, and was loaded %d times", img.References, b.engine.Calls(enginetest.Load))
			}
		})
	}
}

// An image that was on the Engine can be gone before a container is made of it: another
// drill removes its own, and between its name and its bytes there is a moment.
func TestDrillOfAnImageThatIsRemovedMeanwhile(t *testing.T) {
	for _, op := range []enginetest.Op{enginetest.InspectImage, enginetest.CreateContainer} {
		withBench(t, func(b *bench) {
			s := b.container("web-1")
			item := b.store(s)
			_, err := b.engine.Load(b.Context(), b.archive(s))
			b.must(err)
			fault := enginetest.Fault{Op: op, During: func() { b.must(b.engine.RemoveImage(b.Context(), s.Image.ID)) }}
			if op == enginetest.InspectImage {
				fault.After = 1 // at first it is looked whether the image is there
			}
			b.engine.Plan(fault)
			_, err = b.verify(item, events.VerifyDrill)
			b.must(err)
			if calls := b.engine.Calls(enginetest.Load); calls != 2 {
				t.Errorf("the image was loaded %d times", calls)
			}
			if _, err := b.engine.InspectImage(b.Context(), s.Image.ID); !errors.Is(err, engine.ErrNotFound) {
				t.Errorf("the image is left: %v", err)
			}
		})
	}
}

// A point whose bytes are whole, and of which no container runs, did not pass.
func TestDrillFails(t *testing.T) {
	cases := map[string]struct {
		plan func(b *bench)
		code events.Code
	}{
		"it cannot be started": {func(b *bench) {
			b.engine.Plan(enginetest.Fault{Op: enginetest.Start, Err: errors.New("exec format error")})
		}, events.CodeNotStarted},
		"it ends at once": {func(b *bench) {
			b.engine.Plan(enginetest.Fault{Op: enginetest.Inspect, During: func() { b.engine.Kill(b.drilled().ID) }})
		}, events.CodeNotHealthy},
		"it ends after nine seconds": {func(b *bench) {
			b.engine.Plan(enginetest.Fault{Op: enginetest.Inspect, After: 36, During: func() { b.engine.Kill(b.drilled().ID) }})
		}, events.CodeNotHealthy},
		"no container can be made": {func(b *bench) {
			b.engine.Plan(enginetest.Fault{Op: enginetest.CreateContainer, Err: engine.ErrRefusedConfig})
		}, events.CodeNotStarted},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				s := b.container("web-1")
				item := b.store(s)
				c.plan(b)
				_, err := b.verify(item, events.VerifyDrill)
				e := b.wantError(err, c.code, false)
				if last := e.Found[len(e.Found)-1]; last.Condition != events.ConditionNotRunning || e.Found[0].Condition != events.ConditionGood {
					t.Errorf("found is %+v", e.Found)
				}
				if m := b.mark(s.dir); m == nil || m.OK || len(m.Problems) != 1 {
					t.Errorf("the mark is %+v", m)
				}
			})
		})
	}
}

// A container with a health check passes when that does.
func TestDrillWithAHealthCheck(t *testing.T) {
	const longest = 5 * time.Minute
	for name, c := range map[string]struct {
		becomes engine.Health
		after   time.Duration
		code    events.Code // empty if it passes
		took    time.Duration
	}{
		"healthy at once":   {engine.HealthHealthy, 0, "", 0},
		"healthy later":     {engine.HealthHealthy, time.Minute, "", time.Minute},
		"unhealthy":         {engine.HealthUnhealthy, 30 * time.Second, events.CodeNotHealthy, 30 * time.Second},
		"never one of both": {engine.HealthStarting, 0, events.CodeNotHealthy, longest},
	} {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				item := b.store(b.container("web-1"))
				began := time.Now()
				var last error
				_, last = b.verifyUntil(b.Context(), item, events.VerifyDrill, func(step events.Step, _ int64) {
					if step != events.StepGate {
						return
					}
					id, health := b.drilled().ID, engine.HealthStarting
					if time.Since(began) >= c.after {
						health = c.becomes
					}
					b.engine.SetHealth(id, health)
				})
				if took := time.Since(began); took < c.took || took > c.took+2*time.Second {
					t.Errorf("it took %s, want %s", took, c.took)
				}
				if c.code == "" {
					b.must(last)
				} else {
					_ = b.wantError(last, c.code, false)
				}
			})
		})
	}
}

// What keeps a drill from being done says nothing of the point, and leaves nothing.
func TestDrillCannotBeDone(t *testing.T) {
	away := engine.ErrEngineUnavailable
	cases := map[string]struct {
		plan      func(b *bench)
		code      events.Code
		retryable bool
	}{
		"the Engine is away":          {func(b *bench) { b.engine.SetAway(true) }, events.CodeEngineUnavailable, true},
		"it goes before the load":     {func(b *bench) { b.engine.Plan(enginetest.Fault{Op: enginetest.Load, Err: away}) }, events.CodeEngineUnavailable, true},
		"it goes after the load":      {func(b *bench) { b.engine.Plan(enginetest.Fault{Op: enginetest.Load, Err: away, Late: true}) }, events.CodeEngineUnavailable, true},
		"it goes before the create":   {func(b *bench) { b.engine.Plan(enginetest.Fault{Op: enginetest.CreateContainer, Err: away}) }, events.CodeEngineUnavailable, true},
		"it goes after the create":    {func(b *bench) { b.engine.Plan(enginetest.Fault{Op: enginetest.CreateContainer, Err: away, Late: true}) }, events.CodeEngineUnavailable, true},
		"it goes at the start":        {func(b *bench) { b.engine.Plan(enginetest.Fault{Op: enginetest.Start, Err: away}) }, events.CodeEngineUnavailable, true},
		"it goes while it is watched": {func(b *bench) { b.engine.Plan(enginetest.Fault{Op: enginetest.Inspect, After: 5, Err: away}) }, events.CodeEngineUnavailable, true},
		"its disk is full":            {func(b *bench) { b.engine.Plan(enginetest.Fault{Op: enginetest.Load, Err: engine.ErrEngineFull}) }, events.CodeEngineFull, true},
		"a proxy refuses a call":      {func(b *bench) { b.engine.Refuse(engine.CallLoad) }, events.CodeEngineRefused, false},
		"the sink goes while it is loaded": {func(b *bench) {
			b.engine.Plan(enginetest.Fault{Op: enginetest.Load, During: func() { b.sink.Fail(b, sinktest.OpRead, 3, sink.ErrUnavailable) }})
		}, events.CodeSinkUnavailable, true},
		"a panic": {func(b *bench) {
			b.engine.Plan(enginetest.Fault{Op: enginetest.Start, During: func() { panic("a fault") }})
		}, events.CodeInternal, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				s := b.container("web-1")
				item := b.store(s)
				c.plan(b)
				_, err := b.verify(item, events.VerifyDrill)
				if e := b.wantError(err, c.code, c.retryable); len(e.Found) > 0 {
					t.Errorf("found is %+v", e.Found)
				}
				if m := b.mark(s.dir); m != nil {
					t.Errorf("the mark is %+v", m)
				}
				b.engine.SetAway(false)
				b.engine.Refuse()
			})
		})
	}
}

// Whenever a drill is cancelled, it returns within a second, and nothing stays.
func TestDrillIsCancelled(t *testing.T) {
	cases := map[string]struct {
		at    events.Step   // it is cancelled when this step begins
		hangs enginetest.Op // or in the midst of this call, which ends a minute later
	}{
		"before the load":   {at: events.StepLoad},
		"before the create": {at: events.StepCreate},
		"before the start":  {at: events.StepStart},
		"while it runs":     {at: events.StepGate},
		"in the load":       {hangs: enginetest.Load},
		"in the create":     {hangs: enginetest.CreateContainer},
		"in the start":      {hangs: enginetest.Start},
		"in a look at it":   {hangs: enginetest.Inspect},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				item := b.store(b.container("web-1"))
				ctx, cancel := context.WithCancel(b.Context())
				defer cancel()
				var cancelled time.Time
				stop := func() {
					cancelled = time.Now()
					cancel()
				}
				if c.hangs != "" {
					b.engine.Plan(enginetest.Fault{Op: c.hangs, During: func() {
						stop()
						time.Sleep(time.Minute)
					}})
				}
				_, err := b.verifyUntil(ctx, item, events.VerifyDrill, func(at events.Step, _ int64) {
					if at == c.at && ctx.Err() == nil {
						stop()
					}
				})
				if took := time.Since(cancelled); took > time.Second {
					t.Errorf("it returned after %s", took)
				}
				_ = b.wantError(err, events.CodeCancelled, true)
				if m := b.mark(item.Dir); m != nil {
					t.Errorf("the mark is %+v", m)
				}
			})
		})
	}
}

// A drill of a point that is damaged is not begun.
func TestDrillOfWhatIsDamaged(t *testing.T) {
	withBench(t, func(b *bench) {
		s := b.container("web-1")
		s.Image.Layers++
		_, err := b.verify(b.store(s), events.VerifyDrill)
		_ = b.wantError(err, events.CodePointDamaged, false)
		if n := b.engine.Calls(enginetest.Load); n > 0 {
			t.Errorf("it was loaded %d times", n)
		}
	})
}

// Two jobs that drill one point at a time do not meet.
func TestTwoDrillsOfOnePoint(t *testing.T) {
	withBench(t, func(b *bench) {
		s := b.container("web-1")
		item := b.store(s)
		errs := make(chan error, 2)
		for _, job := range []string{"aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"} {
			go func() {
				_, err := b.runner.Run(b.Context(), verify.Task{Host: "host", Job: job, Attempt: 1, Item: item, SinkName: "default", Sink: b.sink,
					Level: events.VerifyDrill, Progress: func(events.Step, int64, int64, int64) {}})
				errs <- err
			}()
		}
		for range 2 {
			b.must(<-errs)
		}
	})
}

// archive is the plain image archive of a point.
func (b *bench) archive(s *stored) io.Reader {
	b.Helper()
	return plainOf(b, s.files["image.tar.zst"])
}
