package undo_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/undo"
)

var helperName = engine.HelperName(pointID, 1, 0)

// made makes the helper of a dead attempt.
func (b *bench) made(name string) (id string) {
	b.Helper()
	id, err := b.engine.CreateHelper(b.Context(), engine.HelperSpec{Name: name, Volume: "data", Command: []string{enginetest.Program}})
	if err != nil {
		b.Fatal(err)
	}
	return id
}

// A helper is removed whenever it comes, and nothing else is: no other helper, and no
// container of a user that has its name.
func TestSweeperAndTheHelper(t *testing.T) {
	const window = 10 * time.Second
	cases := map[string]struct {
		left func(b *bench, r *undo.Record)
		took time.Duration // at most
	}{
		"none was made": {func(*bench, *undo.Record) {}, window},
		"it was made":   {func(b *bench, _ *undo.Record) { b.made(helperName) }, 0},
		"it runs": {func(b *bench, _ *undo.Record) {
			if err := b.engine.Start(b.Context(), b.made(helperName)); err != nil {
				b.Fatal(err)
			}
		}, 0},
		"it is known by its id":   {func(b *bench, r *undo.Record) { r.ContainerMade(helperName, b.made(helperName)) }, 0},
		"it is known and is gone": {func(_ *bench, r *undo.Record) { r.ContainerMade(helperName, "0f0f") }, 0},
		"it is made later": {func(b *bench, _ *undo.Record) {
			time.AfterFunc(window/2, func() { b.made(helperName) })
		}, window},
		"a user has its name": {func(b *bench, _ *undo.Record) {
			b.engine.Add(enginetest.Spec{Name: helperName, Image: baseImage}, events.StateRunning)
		}, window},
		"the Engine does not remove it at first": {func(b *bench, _ *undo.Record) {
			b.made(helperName)
			b.engine.Plan(enginetest.Fault{Op: enginetest.RemoveHelper, Err: errors.New("removal is in progress"), Times: 3})
		}, 5 * time.Second},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				b.engine.AddVolume(engine.Volume{Name: "data"})
				id := b.add(events.StateRunning)
				r := b.died(id, 1, events.QuiesceNone)
				r.Actions = []undo.Action{{RemoveContainer: &undo.OwnContainer{Name: helperName}}}
				other := b.made(engine.HelperName(pointID, 1, 1))
				c.left(b, &r)
				users := b.engine.State(id)
				b.adopt(true, r)
				began := time.Now()
				b.settle()
				if took := time.Since(began); took > c.took+2*time.Second {
					b.Errorf("it took %s, want at most %s", took, c.took)
				}
				if left := b.engine.Helpers(); !slices.Equal(left, []string{engine.HelperName(pointID, 1, 1)}) {
					b.Errorf("the helpers %q are left, want the other one", left)
				}
				if b.engine.State(other) != events.StateCreated || b.engine.State(id) != users {
					b.Error("something else was touched")
				}
			})
		})
	}
}

// Where an attempt was left behind in this process, its helper may come as long as that
// runs, or the Engine may still do what it was told.
func TestSweeperWaitsForTheHelperOfALivingAttempt(t *testing.T) {
	withBench(t, func(b *bench) {
		b.engine.AddVolume(engine.Volume{Name: "data"})
		id := b.add(events.StateRunning)
		r := b.died(id, 1, events.QuiesceNone)
		r.Actions = []undo.Action{{RemoveContainer: &undo.OwnContainer{Name: helperName}}}
		entry, err := b.sweeper.Begin(b.Context(), nil, r)
		if err != nil {
			b.Fatal(err)
		}
		ended := make(chan struct{})
		entry.HandOver(nil, ended, func() bool { return false })
		time.Sleep(time.Minute)
		if left := b.sweeper.Left(); len(left) != 1 {
			b.Fatalf("%q are left, want the record", left)
		}
		b.made(helperName)
		close(ended)
		b.settle()
		if left := b.engine.Helpers(); len(left) > 0 {
			b.Errorf("the helpers %q are left", left)
		}
	})
}
