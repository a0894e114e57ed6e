package enginetest

import (
	"context"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

func (s *suite) stopAndStart(tt *testing.T) {
	t := s.begin(tt)
	id := t.container(Spec{})
	changes := t.follow(id)
	t.must(t.Stop(t.ctx, id)) // it stands already
	t.wantState(id, events.StateCreated)
	for range 2 {
		t.must(t.Start(t.ctx, id))
		t.wantState(id, events.StateRunning)
	}
	for range 2 {
		t.must(t.Stop(t.ctx, id))
		t.wantState(id, events.StateExited)
	}
	t.must(t.Start(t.ctx, id))
	t.Kill(t, id)
	t.wantActions(t.account(changes, engine.ActionStart), engine.ActionStart)
	stopped := t.account(changes, engine.ActionStart)
	if len(stopped) == 3 && stopped[0].Action == engine.ActionStop { // Engine 29 can report the end after the stop
		stopped[0], stopped[1] = stopped[1], stopped[0]
		stopped[0].Time = stopped[1].Time
	}
	t.wantActions(stopped, engine.ActionDie, engine.ActionStop, engine.ActionStart)
	t.wantActions(t.account(changes, engine.ActionDie), engine.ActionDie)
}

// Who uses the namespaces of another container is started while that runs.
func (s *suite) startOfSharers(tt *testing.T) {
	t := s.begin(tt)
	image := t.name("image") + ":v1"
	t.MakeImage(t, image)
	owner := t.container(Spec{Image: image})
	for _, spec := range []Spec{{Image: image, Network: owner}, {Image: image, Processes: owner}} {
		id := t.container(spec)
		t.must(t.Stop(t.ctx, owner))
		if err := t.Start(t.ctx, id); err == nil {
			t.Errorf("to start %+v while the other does not run is no error", spec)
		}
		t.must(t.Start(t.ctx, owner))
		t.must(t.Start(t.ctx, id))
		t.wantState(id, events.StateRunning)
	}
}

func (s *suite) unpause(tt *testing.T) {
	t := s.begin(tt)
	id := t.running(Spec{})
	changes := t.follow(id)
	t.must(t.Unpause(t.ctx, id)) // it was not paused
	t.wantState(id, events.StateRunning)
	t.must(t.Pause(t.ctx, id))
	t.wantState(id, events.StatePaused)
	t.must(t.Unpause(t.ctx, id))
	t.wantState(id, events.StateRunning)
	t.wantActions(t.account(changes, engine.ActionUnpause), engine.ActionPause, engine.ActionUnpause)
	t.must(t.Stop(t.ctx, id))
	if err := t.Unpause(t.ctx, id); err != nil {
		t.Errorf("to unpause what is stopped: %v", err)
	}
	t.must(t.Start(t.ctx, id))
	t.must(t.Pause(t.ctx, id))
	t.must(t.Stop(t.ctx, id)) // what is paused
	t.wantState(id, events.StateExited)
}

func (s *suite) pause(tt *testing.T) {
	t := s.begin(tt)
	id := t.container(Spec{})
	if err := t.Pause(t.ctx, id); err == nil {
		t.Error("to pause what does not run is no error")
	}
	t.wantState(id, events.StateCreated)
	t.must(t.Start(t.ctx, id))
	changes := t.follow(id)
	t.must(t.Pause(t.ctx, id))
	t.wantState(id, events.StatePaused)
	if err := t.Pause(t.ctx, id); err == nil {
		t.Error("to pause what is paused is no error")
	}
	t.wantState(id, events.StatePaused)
	t.snapshot(id, false)
	t.wantState(id, events.StatePaused)
	t.must(t.Unpause(t.ctx, id))
	t.wantActions(t.account(changes, engine.ActionUnpause), engine.ActionPause, engine.ActionCommit, engine.ActionUnpause)
}

// When a container was started tells whether it is stopped because of a backup.
func (s *suite) startedAt(tt *testing.T) {
	t := s.begin(tt)
	id := t.container(Spec{})
	started := func() time.Time {
		d, err := t.Bench.Inspect(t.ctx, id)
		t.must(err)
		if d.StopGrace != 10*time.Second {
			t.Errorf("it has %s to stop, want the 10 s of an Engine", d.StopGrace)
		}
		return d.StartedAt
	}
	if at := started(); !at.IsZero() {
		t.Errorf("it was never started, and is said to have been at %s", at)
	}
	t.must(t.Start(t.ctx, id))
	first := started()
	if first.IsZero() {
		t.Error("it was started, and is said not to have been")
	}
	for _, change := range []func(ctx context.Context, id string) error{t.Pause, t.Unpause, t.Stop} {
		t.must(change(t.ctx, id))
		if at := started(); !at.Equal(first) {
			t.Errorf("it was started at %s, and is said to have been at %s", first, at)
		}
	}
	t.must(t.Start(t.ctx, id))
	if at := started(); !at.After(first) {
		t.Errorf("it was started again, and is said to have been at %s, as before (%s)", at, first)
	}
}

func (s *suite) watch(tt *testing.T) {
	t := s.begin(tt)
	image := t.name("image") + ":v1"
	t.MakeImage(t, image)
	id := t.running(Spec{Image: image})
	// The Engine's own filter takes names and beginnings of ids as well.
	other := t.running(Spec{Image: image, Name: id})
	first, second := t.follow(id), t.follow(id)
	t.must(t.Pause(t.ctx, other))
	t.must(t.Pause(t.ctx, id))
	for _, changes := range []<-chan engine.Change{first, second} {
		t.wantActions(t.account(changes, engine.ActionPause), engine.ActionPause)
	}
	t.must(t.Unpause(t.ctx, other))
	t.must(t.Unpause(t.ctx, id))
	for _, changes := range []<-chan engine.Change{first, second} {
		t.wantActions(t.account(changes, engine.ActionUnpause), engine.ActionUnpause)
	}
}

func (s *suite) watchMissesNothing(tt *testing.T) {
	t := s.begin(tt)
	id := t.running(Spec{})
	for range 10 {
		ctx, cancel := context.WithCancel(t.ctx)
		changes, err := t.Bench.Watch(ctx, id)
		t.must(err)
		t.must(t.Pause(t.ctx, id))
		t.must(t.Unpause(t.ctx, id))
		t.wantActions(t.account(changes, engine.ActionUnpause), engine.ActionPause, engine.ActionUnpause)
		cancel()
	}
}

func (s *suite) watchEnds(tt *testing.T) {
	t := s.begin(tt)
	id := t.running(Spec{})
	ctx, cancel := context.WithCancel(t.ctx)
	changes, err := t.Bench.Watch(ctx, id)
	t.must(err)
	cancel()
	for range changes { // ends when the channel is closed
	}
	if _, err := t.Bench.Watch(ctx, id); err == nil {
		t.Error("Watch does not report that its context has ended")
	}
}

func (s *suite) notFound(tt *testing.T) {
	t := s.begin(tt)
	gone := strings.Repeat("0123456789abcdef", 4)
	_, err := t.Bench.Inspect(t.ctx, gone)
	t.wantNotFound(err)
	_, err = t.Commit(t.ctx, gone, engine.CommitOptions{Reference: engine.SnapshotReference(t.name("gone")), Pause: true})
	t.wantNotFound(err)
	t.wantNotFound(t.Stop(t.ctx, gone))
	t.wantNotFound(t.Start(t.ctx, gone))
	t.wantNotFound(t.Pause(t.ctx, gone))
	t.wantNotFound(t.Unpause(t.ctx, gone))
	_, err = t.InspectImage(t.ctx, "sha256:"+gone)
	t.wantNotFound(err)
	_, err = t.Bench.Save(t.ctx, "sha256:"+gone)
	t.wantNotFound(err)
}
