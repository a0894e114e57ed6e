package quiesce

import (
	"errors"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// Bounds of the waiting for the Engine's event stream, which may lag behind the
// calls that cause the events.
const (
	commitBound  = 10 * time.Second // for the commit to show
	releaseBound = 2 * time.Second  // and then for what resumes the container
)

// timeline is what the Engine's events say of one container during one backup.
type timeline struct {
	changes <-chan engine.Change
	before  events.State // when the timeline began
	mode    events.Quiesce
	began   time.Time // when the container was begun to be quiesced, by this machine's clock
	seen    []engine.Change
}

// Proof is what the Engine's events say of a container around a commit.
type Proof struct {
	// Quiesced is set if nothing in the container ran from the beginning of the
	// commit to its end; Why says why it is not.
	Quiesced bool
	Why      string
	// Began is when this backup had paused or stopped the container; zero if it did
	// not run before. Ended is when it ran again; zero if it does not yet.
	Began, Ended time.Time
	// Committed is set if the commit is among the events, and CommittedAt is when it
	// ended.
	Committed   bool
	CommittedAt time.Time
}

// settled reports whether no further event can matter.
func (s Proof) settled() bool {
	return s.Committed && (!s.Quiesced || s.Began.IsZero() || !s.Ended.IsZero())
}

// notRunning is how many milliseconds the container was paused or stopped by this
// backup. If the events broke off before it ran again, that is measured by this
// machine's clock, and rather too long than too short.
func (t *timeline) notRunning(s Proof) float64 {
	held := s.Ended.Sub(s.Began)
	switch {
	case s.Began.IsZero():
		return 0
	case s.Ended.IsZero():
		held = time.Since(t.began)
	}
	return float64(held.Microseconds()) / 1000
}

// follow reads events until none can matter any more, the stream ends, or nothing
// that matters comes within the bounds. An error means that the events do not show
// the commit.
func (t *timeline) follow(imageID string) (Proof, error) {
	timer := time.NewTimer(commitBound)
	defer timer.Stop()
	for committed := false; ; {
		s := judge(t.before, t.mode, imageID, t.seen)
		if s.settled() {
			return s, nil
		}
		if s.Committed && !committed {
			committed = true
			timer.Reset(releaseBound)
		}
		select {
		case c, ok := <-t.changes:
			if ok {
				t.seen = append(t.seen, c)
				continue
			}
			if !s.Committed {
				return s, errors.New("the Engine's event stream ended too early")
			}
			return s, nil
		case <-timer.C:
			if !s.Committed {
				return s, errors.New("the Engine's event stream does not show the commit")
			}
			return s, nil
		}
	}
}

// quiescedUntil reports whether a container that s shows quiesced stayed so until the
// given time, as far as events have arrived. If they broke off before, it may not have.
func (t *timeline) quiescedUntil(s Proof, until time.Time) bool {
	brokeOff := false
	for more := true; more; {
		select {
		case c, ok := <-t.changes:
			if more = ok; ok {
				t.seen = append(t.seen, c)
			}
			brokeOff = !ok
		default:
			more = false
		}
	}
	reached := false
	for _, c := range t.seen {
		runs := c.Action == engine.ActionStart || c.Action == engine.ActionUnpause
		switch {
		case !c.Time.Before(until):
			reached = true
		case runs && !c.Time.Before(s.Began):
			return false
		}
	}
	return reached || !brokeOff
}

// judge reads what happened to a container that was in state before when the
// timeline began, and was quiesced by mode and committed to the image imageID.
// It is a pure function.
//
// The Engine discards errors from its own pause and unpause
// (moby daemon/commit.go), so only its events tell what was done. They do not
// tell when a commit began. So what ran at any time counts as having run during
// the commit, unless this backup paused or stopped it later: by the first pause or
// the first stop of a container that ran before.
func judge(before events.State, mode events.Quiesce, imageID string, seen []engine.Change) Proof {
	running := before == events.StateRunning
	j := judgement{before: before, mode: mode, imageID: imageID, running: running, ran: running}
	for _, c := range seen {
		switch c.Action {
		case engine.ActionPause:
			j.paused(c)
		case engine.ActionStop:
			j.stopped(c)
		case engine.ActionDie:
			j.died(c)
		case engine.ActionUnpause, engine.ActionStart:
			j.resumed(c)
		case engine.ActionCommit:
			j.committed(c)
		}
	}
	return j.proof
}

// judgement is what the events of a container say up to one of them.
type judgement struct {
	before  events.State
	mode    events.Quiesce
	imageID string

	running bool      // now
	ran     bool      // at any time since this backup cannot have held it still
	death   time.Time // when its process ended, if it has not been started since
	proof   Proof
}

func (j *judgement) paused(c engine.Change) {
	if j.before == events.StateRunning && j.mode == events.QuiescePause && j.proof.Began.IsZero() {
		j.proof.Began, j.ran = c.Time, false
	}
	j.running = false
}

func (j *judgement) stopped(c engine.Change) {
	if j.mode == events.QuiesceStop && j.proof.Began.IsZero() {
		j.proof.Began, j.ran = j.death, false
		if j.death.IsZero() { // Engine 29 can report the end after the stop
			j.proof.Began = c.Time
		}
	}
	j.running = false
}

func (j *judgement) died(c engine.Change) {
	j.running, j.death = false, c.Time
	if j.mode == events.QuiescePause && !j.proof.Began.IsZero() && j.proof.Ended.IsZero() {
		j.proof.Ended = c.Time // it was killed while it was paused
	}
}

func (j *judgement) resumed(c engine.Change) {
	j.running, j.ran, j.death = true, true, time.Time{}
	if j.proof.Committed && !j.proof.Began.IsZero() && j.proof.Ended.IsZero() {
		j.proof.Ended = c.Time
	}
}

func (j *judgement) committed(c engine.Change) {
	// An Engine that does not tell which image it was is asked for its time after the
	// commit, until which the container must have stayed as it was.
	if c.ImageID != "" && c.ImageID != j.imageID || j.proof.Committed {
		return
	}
	j.proof.Committed, j.proof.CommittedAt = true, c.Time
	switch {
	case j.running:
		j.proof.Why = "it was running while it was committed"
	case j.ran:
		j.proof.Why = "it may have run while it was committed"
	default:
		j.proof.Quiesced = true
	}
}
