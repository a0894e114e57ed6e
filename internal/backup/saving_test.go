package backup_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/image"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

// mustHoldImage reads the image of a point in the nth sink to its end.
func (s *several) mustHoldImage(n int, m *point.Manifest) {
	s.Helper()
	r, err := image.Source{Manifest: m, Open: s.sinks[n].Open, Seal: s.readers[n]}.Archive(s.Context(), "")
	mustDo(s.T, err)
	defer r.Close()
	info, err := archive.Check(r, m.Image.ID)
	if err != nil || len(info.DiffIDs) != m.Image.Layers {
		s.Errorf("in sink %d: %v, %+v", n, err, info)
	}
}

// An image is read once for several sinks, each of which has it as it stores images: those in
// layers store what they lack, whatever the others are.
func TestLayersInSeveralSinks(t *testing.T) {
	withBench(t, func(b *bench) {
		s := b.inSeveral()
		id := b.add(events.StateRunning)
		b.fill(id)
		for n := range 2 {
			b.change(id, byte(n))
			for i, o := range s.run(n, b.task(id, events.QuiescePause)) {
				if o.Err != nil {
					t.Fatalf("point %d in sink %d: %v", n, i, o.Err)
				}
				m := o.Result.Manifest
				if whole := m.Artifact(point.MediaTypeImageArchive) != nil; whole != (i == 2) {
					t.Errorf("in sink %d the image is whole: %t", i, whole)
				}
				reused := slices.ContainsFunc(m.Artifacts, func(a events.Artifact) bool { return a.Reused })
				if reused != (n == 1 && i != 2) {
					t.Errorf("in sink %d point %d has layers that were there: %t", i, n, reused)
				}
				s.mustHoldImage(i, m)
			}
			if saves := b.engine.Calls(enginetest.Save); saves != n+1 {
				t.Errorf("the image was saved %d times for %d points", saves, n+1)
			}
		}
		b.wantAsItWas(id, events.StateRunning)
	})
}

// One sink that fails, whenever, does not end the others.
func TestLayersWhereOneSinkFails(t *testing.T) {
	type fault struct {
		op  sinktest.Op
		nth int
	}
	for fails := range 3 {
		for _, f := range []fault{{sinktest.OpWrite, 1}, {sinktest.OpWrite, 3}, {sinktest.OpCreate, 1}, {sinktest.OpCommit, 1}} {
			t.Run(fmt.Sprintf("sink %d at %s %d", fails, f.op, f.nth), func(t *testing.T) {
				withBench(t, func(b *bench) {
					s := b.inSeveral()
					id := b.add(events.StateRunning)
					b.fill(id)
					s.sinks[fails].Fail(b, f.op, f.nth, errors.New("broken"))
					s.wantAllBut(fails, s.run(0, b.task(id, events.QuiescePause)), s.mustHoldImage)
					b.wantAsItWas(id, events.StateRunning)
				})
			})
		}
	}
}

// A sink that does not take its part is left out after a second, however it hangs, and the others
// have the image.
func TestLayersWhereOneSinkHangs(t *testing.T) {
	for hangs := range 3 {
		withBench(t, func(b *bench) {
			b.runner.StallTimeout = noProgress
			s := b.inSeveral()
			id := b.add(events.StateRunning)
			b.fillWith(id, 20<<20)
			s.hang(hangs)
			began := time.Now()
			all := s.run(0, b.task(id, events.QuiescePause))
			if took := time.Since(began); took > 5*time.Second { // the commit of the Engine takes two
				t.Errorf("it took %s", took)
			}
			s.wantAllBut(hangs, all, s.mustHoldImage)
			time.Sleep(100 * 24 * time.Hour) // until what hangs has ended
			b.wantAsItWas(id, events.StateRunning)
		})
	}
}

// Where a sink seems to have a layer, as it has another one of the image of that size, the image is
// read once more for that sink alone, also if all sinks are such.
func TestMistakenInSeveralSinks(t *testing.T) {
	const size, large = 2 << 20, "large:v1"
	for name, c := range map[string]struct{ mistaken, legs int }{"one of three": {1, 3}, "two of three": {2, 3}, "all": {2, 2}} {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				s := b.inSeveral()
				all := s.legs[:c.legs]
				b.engine.AddLargeImage(size, large)
				id := b.engine.Add(enginetest.Spec{Name: "Web", Image: large}, events.StateRunning)
				s.legs = all[:c.mistaken]
				for _, o := range s.run(0, b.task(id, events.QuiescePause)) {
					mustDo(b.T, o.Err)
				}
				b.fillWith(id, size)
				b.engine.Write(id, "base", []byte("as large as the base"))
				saves := b.engine.Calls(enginetest.Save)
				s.legs = all
				for i, o := range s.run(1, b.task(id, events.QuiescePause)) {
					mustDo(b.T, o.Err)
					s.mustHoldImage(i, o.Result.Manifest)
				}
				if n := b.engine.Calls(enginetest.Save) - saves; n != 1+c.mistaken {
					t.Errorf("the image was saved %d times", n)
				}
			})
		})
	}
}
