package backup

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
	releaseBound = 2 * time.Second  // and then for what lets the container go
)

// account is the Engine's own account of one container during one backup.
type account struct {
	changes <-chan engine.Change
	before  events.State // when the account began
	mode    events.Quiesce
	began   time.Time // when the container was begun to be quiesced, by our own clock
	seen    []engine.Change
}

// stand is what an account says of a container around a commit.
type stand struct {
	// Quiesced is set if nothing in the container ran from the beginning of the
	// commit to its end; Why says why it is not.
	Quiesced bool
	Why      string
	// Began is when the container came to stand for our sake; zero if it stood
	// before. Ended is when it was let go; zero if it was not yet.
	Began, Ended time.Time
	// Committed is set if the commit is in the account, and CommittedAt is when it
	// ended.
	Committed   bool
	CommittedAt time.Time
}

// settled reports whether the account can say no more.
func (s stand) settled() bool {
	return s.Committed && (!s.Quiesced || s.Began.IsZero() || !s.Ended.IsZero())
}

// notRunning is how many milliseconds the container stood for our sake. If the account broke
// off before the container was let go, it is measured by our own clock, and
// rather too long than too short.
func (a *account) notRunning(s stand) float64 {
	stood := s.Ended.Sub(s.Began)
	switch {
	case s.Began.IsZero():
		return 0
	case s.Ended.IsZero():
		stood = time.Since(a.began)
	}
	return float64(stood.Microseconds()) / 1000
}

// follow reads the account until it is settled, it ends, or nothing that matters
// comes within the bounds. An error means that the account does not show the
// commit.
func (a *account) follow(imageID string) (stand, error) {
	timer := time.NewTimer(commitBound)
	defer timer.Stop()
	for committed := false; ; {
		s := judge(a.before, a.mode, imageID, a.seen)
		if s.settled() {
			return s, nil
		}
		if s.Committed && !committed {
			committed = true
			timer.Reset(releaseBound)
		}
		select {
		case c, ok := <-a.changes:
			if ok {
				a.seen = append(a.seen, c)
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

// stoodUntil reports whether a container that is quiesced, by s, did not run before
// until either, as far as the account has come.
func (a *account) stoodUntil(s stand, until time.Time) bool {
	for more := true; more; {
		select {
		case c, ok := <-a.changes:
			if more = ok; ok {
				a.seen = append(a.seen, c)
			}
		default:
			more = false
		}
	}
	for _, c := range a.seen {
		runs := c.Action == engine.ActionStart || c.Action == engine.ActionUnpause
		if runs && !c.Time.Before(s.Began) && c.Time.Before(until) {
			return false
		}
	}
	return true
}

// judge reads what happened to a container that was in state before when the
// account began, and was quiesced by mode and committed to the image imageID.
// It is a pure function.
//
// The Engine discards errors from its own pause and unpause
// (moby daemon/commit.go), so only its account tells what was done. It does not
// tell when a commit began. So what ran at any time counts as having run during
// the commit, unless it came to stand later, and for our sake: by the first pause
// or the first stop of a container that ran before.
func judge(before events.State, mode events.Quiesce, imageID string, seen []engine.Change) stand {
	var s stand
	running := before == events.StateRunning
	ran := running
	died := time.Time{}
	for _, c := range seen {
		switch c.Action {
		case engine.ActionPause:
			if before == events.StateRunning && mode == events.QuiescePause && s.Began.IsZero() {
				s.Began, ran = c.Time, false
			}
			running = false
		case engine.ActionStop:
			if mode == events.QuiesceStop && s.Began.IsZero() {
				s.Began, ran = died, false
				if died.IsZero() { // Engine 29 can report the end after the stop
					s.Began = c.Time
				}
			}
			running = false
		case engine.ActionDie:
			running, died = false, c.Time
			if mode == events.QuiescePause && !s.Began.IsZero() && s.Ended.IsZero() {
				s.Ended = c.Time // it was killed as it stood
			}
		case engine.ActionUnpause, engine.ActionStart:
			running, ran, died = true, true, time.Time{}
			if s.Committed && !s.Began.IsZero() && s.Ended.IsZero() {
				s.Ended = c.Time
			}
		case engine.ActionCommit:
			if c.ImageID != imageID || s.Committed {
				continue
			}
			s.Committed, s.CommittedAt = true, c.Time
			switch {
			case running:
				s.Why = "it was running while it was committed"
			case ran:
				s.Why = "it may have run while it was committed"
			default:
				s.Quiesced = true
			}
		}
	}
	return s
}
