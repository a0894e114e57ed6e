package backup_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

// pushSeveral is a bench whose points go to two sinks in layers, one of which encrypts, and whose
// Engine pushes.
func pushSeveral(t *testing.T) (s *several, id string) {
	b, id := pushBench(t)
	s = b.inSeveral()
	s.legs = s.legs[:2]
	return s, id
}

// wantMoved stores the nth point in some of the sinks, and holds how its image comes there and that
// it is whole.
func (s *several) wantMoved(n int, id string, want events.Transport, in ...int) {
	s.Helper()
	task := s.task(id, events.QuiescePause)
	task.Point, task.Legs = fmt.Sprintf("20260101T00000%dZ-00000000", n), nil
	for _, i := range in {
		task.Legs = append(task.Legs, s.legs[i])
	}
	for k, o := range s.runner.Run(s.Context(), task) {
		mustDo(s.T, o.Err)
		m := o.Result.Manifest
		if m.Image.Transport != want {
			s.Errorf("point %d comes to sink %d by %s, as %q, want %s", n, in[k], m.Image.Transport, m.Image.TransportReason, want)
		}
		s.mustHoldImage(in[k], m)
	}
	s.wantAsItWas(id, events.StateRunning)
}

// What is new of a container is pushed once for all of several sinks. A layer that the Engine leaves
// out, as it has pushed it before, comes once more for the sink that lacks it.
func TestPushToSeveralSinks(t *testing.T) {
	for name, c := range map[string]struct {
		streams bool
		first   events.Transport
		saved   []string // the sinks from which the base may be primed
		pushes  []int    // how often the Engine pushes for each point
	}{
		"classic store": {false, events.TransportSave, []string{"default"}, []int{0, 1, 1, 1, 2}},
		// It asks by digests, and by none that the sink lacks.
		"containerd store": {true, events.TransportPush, nil, []int{1, 1, 1, 1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			s, id := pushSeveral(t)
			if c.streams {
				s.engine.SetStreams()
			}
			h := &heard{}
			s.runner.Bases = h
			for n, into := range [][]int{{0, 1}, {0, 1}, {0, 1}, {1}, {0, 1}} {
				want := c.first
				if n > 0 {
					want = events.TransportPush
				}
				if n == 1 || n == 3 { // else nothing has changed
					s.change(id, byte(n))
				}
				before := s.engine.Calls(enginetest.Push)
				s.wantMoved(n, id, want, into...)
				if pushes := s.engine.Calls(enginetest.Push) - before; pushes != c.pushes[n] {
					t.Errorf("for point %d the Engine pushes %d times, want %d", n, pushes, c.pushes[n])
				}
			}
			var saved []string
			for _, b := range h.saved {
				saved = append(saved, b.Sink)
			}
			if !slices.Equal(saved, c.saved) {
				t.Errorf("a base is said to be saved in %q, want %q", saved, c.saved)
			}
		})
	}
}

// What one of the sinks has of a base, and another one lacks, is not pushed to both.
func TestPushToANewSink(t *testing.T) {
	s, id := pushSeveral(t)
	s.engine.SetStreams()
	s.wantMoved(1, id, events.TransportPush, 0)
	s.change(id, 1)
	s.wantMoved(2, id, events.TransportSave, 0, 1)
	s.change(id, 2)
	s.wantMoved(3, id, events.TransportPush, 0, 1)
}

// One sink that fails, whenever, does not end the others; none that is left is said by the first.
func TestPushWhereOneSinkFails(t *testing.T) {
	for fails := range 2 {
		for _, f := range []struct {
			op  sinktest.Op
			nth int
		}{
			{sinktest.OpOpen, 1}, {sinktest.OpStage, 1}, {sinktest.OpOpen, 2}, // before the push
			{sinktest.OpCreateBlob, 1}, {sinktest.OpWrite, 1}, {sinktest.OpCommitBlob, 1}, {sinktest.OpPutShared, 1}, {sinktest.OpCommit, 1},
		} {
			t.Run(fmt.Sprintf("sink %d at %s %d", fails, f.op, f.nth), func(t *testing.T) {
				s, id := pushSeveral(t)
				s.engine.SetStreams()
				s.change(id, 1)
				s.sinks[fails].Fail(t, f.op, f.nth, errors.New("broken"))
				s.wantAllBut(fails, s.run(0, s.task(id, events.QuiescePause)), s.mustHoldPushed)
				s.wantAsItWas(id, events.StateRunning)
			})
		}
	}
	t.Run("both", func(t *testing.T) {
		s, id := pushSeveral(t)
		s.engine.SetStreams()
		s.change(id, 1)
		for _, m := range s.sinks[:2] {
			m.Fail(t, sinktest.OpCommitBlob, 1, sink.ErrFull)
		}
		for i, o := range s.run(0, s.task(id, events.QuiescePause)) {
			if !errors.Is(o.Err, sink.ErrFull) {
				t.Errorf("in sink %d: %v", i, o.Err)
			}
		}
		if n := s.engine.Calls(enginetest.Save); n > 0 {
			t.Errorf("the image was saved %d times", n)
		}
		s.wantAsItWas(id, events.StateRunning)
	})
}

func (s *several) mustHoldPushed(n int, m *point.Manifest) {
	s.Helper()
	if m.Image.Transport != events.TransportPush {
		s.Errorf("it comes to sink %d by %s, as %q", n, m.Image.Transport, m.Image.TransportReason)
	}
	s.mustHoldImage(n, m)
}

// A push that fails is no matter of the sinks: the image is saved for all.
func TestPushToSeveralSinksFails(t *testing.T) {
	s, id := pushSeveral(t)
	s.engine.SetStreams()
	s.engine.Plan(enginetest.Fault{Op: enginetest.Push, Late: true, Err: errors.New("broken")})
	s.change(id, 1)
	s.wantMoved(1, id, events.TransportSave, 0, 1)
}

// hold has some of the sinks take nothing until what it returns is closed.
func (s *several) hold(sinks ...int) (released chan struct{}) {
	released = make(chan struct{})
	for _, i := range sinks {
		s.slow(i, func() { <-released })
	}
	return released
}

// A sink that does not take a layer is left out, and the other one has the image.
func TestPushWhereOneSinkHangs(t *testing.T) {
	for hangs := range 2 {
		t.Run(fmt.Sprintf("sink %d", hangs), func(t *testing.T) {
			t.Parallel() // the other one waits for ten seconds
			s, id := pushSeveral(t)
			s.engine.SetStreams()
			s.fillWith(id, 8<<20)
			released := s.hold(hangs)
			all := s.run(0, s.task(id, events.QuiescePause))
			close(released)
			s.wantAllBut(hangs, all, s.mustHoldPushed)
			s.wantAsItWas(id, events.StateRunning)
		})
	}
}

// A push that is cancelled while no sink takes anything ends at once, and leaves nothing.
func TestPushToSeveralSinksIsCancelled(t *testing.T) {
	s, id := pushSeveral(t)
	s.engine.SetStreams()
	s.change(id, 1)
	released := s.hold(0, 1)
	ctx, cancel := context.WithCancel(t.Context())
	task := s.task(id, events.QuiescePause)
	task.Legs = s.legs
	task.Progress = func(at events.Step, read, _, _ int64) {
		if at == events.StepSave && read > 0 {
			cancel()
		}
	}
	for i, o := range s.runner.Run(ctx, task) {
		if !errors.Is(o.Err, context.Canceled) {
			t.Errorf("in sink %d: %v", i, o.Err)
		}
	}
	close(released)
	s.settle()
	for i := range s.legs {
		for key := range s.sinks[i].Contents() {
			if strings.HasPrefix(key, sink.PointsName) {
				t.Errorf("sink %d has %s", i, key)
			}
		}
	}
	s.wantAsItWas(id, events.StateRunning)
}
