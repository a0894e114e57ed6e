package undo_test

import (
	"slices"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/undo"
)

// pair are a container that is replaced and one that uses its network, and the record of
// a dead attempt at restoring the first one.
type pair struct {
	*bench
	owner, side string
	record      undo.Record
	restoration *undo.Restoration
}

const sideImage = "holdfast/restored:job-1-side"

func (b *bench) pair() *pair {
	b.Helper()
	p := &pair{bench: b, owner: b.engine.Add(enginetest.Spec{Name: "owner", Image: baseImage}, events.StateRunning)}
	p.side = b.engine.Add(enginetest.Spec{Name: "side", Image: baseImage, Network: p.owner}, events.StateRunning)
	time.Sleep(time.Second) // so that a start after this shows
	swap := func(id string) undo.Swap {
		c, err := b.engine.Inspect(b.Context(), id)
		if err != nil {
			b.Fatal(err)
		}
		return undo.Swap{Temporary: "new-" + c.Name, Replaced: &undo.Replaced{ID: id, Name: c.Name, State: c.State, StartedAt: c.StartedAt}}
	}
	p.restoration = &undo.Restoration{Swap: swap(p.owner), Dependants: []undo.Swap{swap(p.side)}}
	p.record = undo.Record{Version: undo.Version, ID: undo.ID(pointID, 1), Job: jobID, Attempt: 1, Time: time.Now(),
		Item: events.Item{Kind: events.ItemContainer, ID: p.owner, Name: "owner"}, Actions: []undo.Action{{Restoration: p.restoration}}}
	return p
}

// stop has the containers stand, as the attempt does: side first.
func (p *pair) stop(ids ...string) {
	p.Helper()
	p.restoration.Dependants[0].Stopping, p.restoration.Stopping = true, slices.Contains(ids, p.owner)
	for _, id := range ids {
		p.must(p.engine.Stop(p.Context(), id))
		p.must(p.engine.SetRestartPolicy(p.Context(), id, engine.RestartPolicy{Name: "no"}))
	}
}

// commitSide commits side, and says so in the record.
func (p *pair) commitSide(takes time.Duration) {
	p.Helper()
	p.record.Actions = append(p.record.Actions, undo.Action{RemoveImage: &undo.Image{Reference: sideImage}})
	if takes > 0 {
		p.engine.Plan(enginetest.Fault{Op: enginetest.Commit, Err: engine.ErrEngineUnavailable, GoesOn: takes})
	}
	_, err := p.engine.Commit(p.Context(), p.side, engine.CommitOptions{Reference: sideImage, Comment: engine.SnapshotComment(sideImage)})
	if takes == 0 {
		p.must(err)
	}
}

// make makes a new container.
func (p *pair) make(name, image string) (id string) {
	return p.engine.Add(enginetest.Spec{Name: name, Image: image}, events.StateCreated)
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// However far an attempt came that died, what it was to replace is back, the one that
// others use before those, and nothing else is there. The Engine starts none of them
// before those that it uses.
func TestSweeperPutsDependantsBack(t *testing.T) {
	const settle = 12 * time.Second
	for name, c := range map[string]struct {
		left func(p *pair)
		back time.Duration // at most, until both run
		took time.Duration // at most, until nothing is left
	}{
		"nothing was done":          {func(*pair) {}, 0, settle},
		"one stands":                {func(p *pair) { p.stop(p.side) }, 0, settle},
		"its image is there":        {func(p *pair) { p.stop(p.side); p.commitSide(0) }, 0, settle},
		"its image comes later":     {func(p *pair) { p.stop(p.side); p.commitSide(8 * time.Minute) }, 0, 10 * time.Minute},
		"a new one was not noted":   {func(p *pair) { p.stop(p.side); p.commitSide(0); p.make("new-side", sideImage) }, 0, settle},
		"both stand":                {func(p *pair) { p.stop(p.side, p.owner) }, 0, settle},
		"all names are given up":    {func(p *pair) { p.swapped() }, 0, time.Second},
		"the new ones run":          {func(p *pair) { p.swapped(); p.run("owner"); p.run("side") }, 0, time.Second},
		"one is being stopped":      {func(p *pair) { p.stopLater(p.side) }, 16 * time.Second, 20 * time.Second},
		"the other one is, as well": {func(p *pair) { p.made(); p.stopLater(p.owner) }, 16 * time.Second, 20 * time.Second},
		"the Engine fails at first": {func(p *pair) {
			p.swapped()
			p.engine.Plan(enginetest.Fault{Op: enginetest.Start, Err: engine.ErrEngineUnavailable, Times: 3})
		}, 5 * time.Second, 8 * time.Second},
		"somebody removed one": {func(p *pair) { p.swapped(); p.engine.Remove(p.side) }, 0, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				p := b.pair()
				c.left(p)
				b.adopt(true, p.record)
				began := time.Now()
				time.Sleep(c.back + time.Second)
				for _, id := range []string{p.owner, p.side} {
					if state := b.engine.State(id); state != events.StateRunning && state != "" {
						t.Errorf("after %s container %s is %s", c.back, id, state)
					}
				}
				b.settle()
				if took := time.Since(began); took > c.took+3*time.Second {
					t.Errorf("it took %s, want at most %s", took, c.took)
				}
				time.Sleep(time.Minute)
				p.wantBack()
			})
		})
	}
}

// made has side stand, and both new containers made.
func (p *pair) made() {
	p.Helper()
	p.stop(p.side)
	p.commitSide(0)
	p.record.EndCommit(sideImage, "")
	p.restoration.ContainerMade("new-owner", p.make("new-owner", baseImage))
	p.restoration.ContainerMade("new-side", p.make("new-side", sideImage))
}

// swapped has them in the places of both.
func (p *pair) swapped() {
	p.Helper()
	p.made()
	p.stop(p.owner)
	for _, s := range []undo.Swap{p.restoration.Swap, p.restoration.Dependants[0]} {
		p.must(p.engine.RenameContainer(p.Context(), s.Replaced.ID, s.Replaced.Name+".holdfast-"+jobID))
		p.must(p.engine.RenameContainer(p.Context(), s.ID, s.Replaced.Name))
	}
}

func (p *pair) run(name string) {
	p.Helper()
	for _, s := range append([]undo.Swap{p.restoration.Swap}, p.restoration.Dependants...) {
		if s.Replaced.Name == name {
			p.must(p.engine.Start(p.Context(), s.ID))
		}
	}
}

// stopLater has a container stand in a while, as the Engine was told before.
func (p *pair) stopLater(id string) {
	p.Helper()
	p.restoration.Dependants[0].Stopping, p.restoration.Stopping = true, id == p.owner
	p.engine.Plan(enginetest.Fault{Op: enginetest.Stop, On: id, During: func() { time.Sleep(15 * time.Second) }})
	go func() { _ = p.engine.Stop(p.Context(), id) }()
}

// wantBack holds that both are what they were, and that there is nothing else.
func (p *pair) wantBack() {
	p.Helper()
	all, err := p.engine.Containers(p.Context())
	p.must(err)
	for _, c := range all {
		if name := map[string]string{p.owner: "owner", p.side: "side"}[c.ID]; name != c.Name || c.State != events.StateRunning {
			p.Errorf("there is %+v", c)
		}
	}
	if refs := p.engine.References(); !slices.Equal(refs, []string{baseImage}) {
		p.Errorf("the images are %q", refs)
	}
}

// An image that has come says nothing of another one, whose commit may go on.
func TestSweeperWaitsForEachImage(t *testing.T) {
	withBench(t, func(b *bench) {
		p := b.pair()
		p.stop(p.side)
		p.commitSide(0)
		const other = "holdfast/restored:job-1-other"
		p.record.Actions = append(p.record.Actions, undo.Action{RemoveImage: &undo.Image{Reference: other}})
		time.AfterFunc(5*time.Minute, func() {
			_, err := b.engine.Commit(b.Context(), p.side, engine.CommitOptions{Reference: other, Comment: engine.SnapshotComment(other)})
			if err != nil {
				b.Error(err)
			}
		})
		b.adopt(true, p.record)
		time.Sleep(6 * time.Minute)
		b.settle()
		p.wantBack()
	})
}

// Who waits for a restore to be undone does not wait for an image, which may come ten
// minutes after its commit was begun: that may be long after the record was.
func TestSweeperWaitsForALateCommit(t *testing.T) {
	withBench(t, func(b *bench) {
		p := b.pair()
		time.Sleep(time.Hour)
		p.stop(p.side)
		p.commitSide(9 * time.Minute)
		p.record.Actions[1].RemoveImage.Begun = time.Now()
		b.adopt(true, p.record)
		began := time.Now()
		if err := b.sweeper.Settled(b.Context(), p.record.ID); err != nil || time.Since(began) > 13*time.Second {
			t.Errorf("it is waited for %s: %v", time.Since(began), err)
		}
		if b.engine.State(p.side) != events.StateRunning {
			t.Error("the container is not back")
		}
		time.Sleep(10 * time.Minute)
		b.settle()
		if err := b.sweeper.Settled(b.Context(), p.record.ID); err != nil {
			t.Error(err)
		}
		p.wantBack()
	})
}

// Nobody gets either of them before both are back.
func TestSweeperKeepsDependants(t *testing.T) {
	withBench(t, func(b *bench) {
		p := b.pair()
		p.swapped()
		b.engine.SetAway(true)
		b.adopt(true, p.record)
		for _, id := range []string{p.owner, p.side} {
			if release, ok := b.sweeper.Locks.TryAcquire(undo.Container(id)); ok {
				release()
				t.Errorf("somebody else got %s", id)
			}
		}
		b.engine.SetAway(false)
		release, err := b.sweeper.Locks.Acquire(b.Context(), undo.Container(p.side)) // no image keeps it from being released
		b.must(err)
		release()
		b.settle()
		p.wantBack()
	})
}

// What is recorded is a copy: it is written while the attempt goes on.
func TestRecordIsACopy(t *testing.T) {
	withBench(t, func(b *bench) {
		p := b.pair()
		entry, err := b.sweeper.Begin(b.Context(), nil, p.record)
		b.must(err)
		before := entry.Record()
		entry.Change(func(r *undo.Record) {
			r.Restoring(func(r *undo.Restoration) { r.ContainerMade("new-side", "made"); r.ContainerMade("new-owner", "made") })
		})
		if r := before.Actions[0].Restoration; r.ID != "" || r.Dependants[0].ID != "" {
			t.Errorf("it has changed: %+v", r)
		}
		if r := entry.Record().Actions[0].Restoration; r.ID != "made" || r.Dependants[0].ID != "made" {
			t.Errorf("it has not changed: %+v", r)
		}
		b.must(entry.End())
	})
}

// A record of a restore as version 2 has it is undone.
func TestRestorationOfVersion2(t *testing.T) {
	r, err := undo.Decode([]byte(`{"version":2,"id":"x-1","actions":[{"restoration":{"temporary":"t","id":"i",
		"replaced":{"id":"r","name":"web","state":"running","restartPolicy":"no"},"volumes":["v"]}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	got := r.Actions[0].Restoration
	if got.Temporary != "t" || got.ID != "i" || got.Replaced.Name != "web" || got.Volumes[0] != "v" {
		t.Errorf("it is read as %+v", got)
	}
}
