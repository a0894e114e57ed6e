package quiesce

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

const (
	ours   = "sha256:ours"
	theirs = "sha256:theirs"
)

// timelineOf reads a timeline such as "pause commit unpause": one change a second,
// from second 1 on. "commit" makes our image, "commit!" somebody else's, and "commit?"
// one that is not told.
func timelineOf(text string) []engine.Change {
	var seen []engine.Change
	for i, word := range strings.Fields(text) {
		c := engine.Change{Action: engine.Action(word), Time: time.Unix(int64(i+1), 0)}
		switch word {
		case "commit":
			c.ImageID = ours
		case "commit!":
			c.Action, c.ImageID = engine.ActionCommit, theirs
		case "commit?":
			c.Action = engine.ActionCommit
		}
		seen = append(seen, c)
	}
	return seen
}

func TestJudge(t *testing.T) {
	const (
		running    = events.StateRunning
		paused     = events.StatePaused
		exited     = events.StateExited
		created    = events.StateCreated
		restarting = events.StateRestarting
		pause      = events.QuiescePause
		stop       = events.QuiesceStop
	)
	ran := "it may have run while it was committed"
	cases := []struct {
		name      string
		before    events.State
		mode      events.Quiesce
		account   string
		committed bool
		why       string // empty: quiesced, if it was committed
		began     int    // the second at which it was quiesced, 0 for none
		ended     int
		settled   bool
	}{
		{"as it should be", running, pause, "pause commit unpause", true, "", 1, 3, true},
		{"an image that is not told", running, pause, "pause commit? unpause", true, "", 1, 3, true},
		{"an image that is not told, after it ran", running, pause, "pause unpause commit?", true, "it was running while it was committed", 1, 0, true},
		{"not resumed yet", running, pause, "pause commit", true, "", 1, 0, false},
		{"not committed yet", running, pause, "pause", false, "", 1, 0, false},
		{"nothing yet", running, pause, "", false, "", 0, 0, false},
		{"the Engine did not pause it", running, pause, "commit", true, "it was running while it was committed", 0, 0, true},
		{"unpaused in the middle", running, pause, "pause unpause commit", true, "it was running while it was committed", 1, 0, true},
		{"unpaused and paused again in the middle", running, pause, "pause unpause pause commit unpause", true, ran, 1, 5, true},
		{"somebody else's commit let it go", running, pause, "pause commit! unpause commit", true,
			"it was running while it was committed", 1, 0, true},
		{"an earlier commit of somebody else", running, pause, "pause commit! unpause pause commit unpause", true, ran, 1, 6, true},
		{"somebody else's commit during ours", running, pause, "pause commit! commit unpause", true, "", 1, 4, true},
		{"somebody else's commit only", running, pause, "pause commit! unpause", false, "", 1, 0, false},
		{"killed while paused", running, pause, "pause die commit", true, "", 1, 2, true},
		{"killed while paused, after the commit", running, pause, "pause commit die", true, "", 1, 3, true},
		{"killed while paused, and started again", running, pause, "pause die start commit", true,
			"it was running while it was committed", 1, 2, true},
		{"ended before it could be paused", running, pause, "die commit", true, ran, 0, 0, true},
		{"restarts in a loop", running, pause, "die start die commit start", true, ran, 0, 0, true},
		{"restarts in a loop, and was caught", running, pause, "die start pause commit unpause", true, "", 3, 5, true},
		{"dies when resumed", running, pause, "pause commit unpause die start", true, "", 1, 3, true},
		{"other things happen", running, pause, "exec_create pause resize commit unpause top", true, "", 2, 5, true},
		{"the same image twice", running, pause, "pause commit unpause commit", true, "", 1, 3, true},

		{"paused by its user", paused, pause, "commit", true, "", 0, 0, true},
		{"paused by its user, who lets it go in the middle", paused, pause, "unpause commit", true,
			"it was running while it was committed", 0, 0, true},
		{"paused by its user, who lets it go for a moment", paused, pause, "unpause pause commit", true, ran, 0, 0, true},
		{"paused by its user, who lets it go afterwards", paused, pause, "commit unpause", true, "", 0, 0, true},

		{"exited", exited, pause, "commit", true, "", 0, 0, true},
		{"created", created, stop, "commit", true, "", 0, 0, true},
		{"exited, and started in the middle", exited, pause, "start commit", true, "it was running while it was committed", 0, 0, true},
		{"exited, and ran for a moment in the middle", exited, pause, "start die commit", true, ran, 0, 0, true},
		{"exited, and started and paused", exited, pause, "start pause commit unpause", true, ran, 0, 0, true},
		{"waits for its restart", restarting, pause, "commit start", true, "", 0, 0, true},
		{"waits for its restart, which comes too early", restarting, pause, "start commit", true,
			"it was running while it was committed", 0, 0, true},

		{"stopped", running, stop, "die stop commit start", true, "", 1, 4, true},
		{"stopped, not started yet", running, stop, "die stop commit", true, "", 1, 0, false},
		{"stopped, the end reported late", running, stop, "stop die commit start", true, "", 1, 4, true},
		{"stopped, the end reported after the start", running, stop, "stop commit start die", true, "", 1, 3, true},
		{"started again in the middle", running, stop, "die stop start commit", true, "it was running while it was committed", 1, 0, true},
		{"ran for a moment in the middle", running, stop, "die stop start die commit start", true, ran, 1, 6, true},
		{"restarted by itself before it was stopped", running, stop, "die start die stop commit start", true, "", 3, 6, true},
		{"restarted by itself, and the end reported late", running, stop, "die start stop die commit start", true, "", 3, 6, true},
		{"paused for a moment by its user before it was stopped", running, stop, "pause unpause die stop commit start", true, "", 3, 6, true},
		{"restarted and stopped by somebody else as well", running, stop, "die stop start die stop commit start", true, ran, 1, 7, true},
		{"stopped while it waited for its restart", restarting, stop, "stop commit start", true, "", 1, 3, true},
		{"ended by itself, so not stopped", running, stop, "die commit start", true, ran, 0, 0, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := judge(c.before, c.mode, ours, timelineOf(c.account))
			if s.Committed != c.committed || s.Why != c.why || s.Quiesced != (c.committed && c.why == "") {
				t.Errorf("committed %v, quiesced %v, why %q; want %v, why %q", s.Committed, s.Quiesced, s.Why, c.committed, c.why)
			}
			if seconds(s.Began) != c.began || seconds(s.Ended) != c.ended {
				t.Errorf("it was quiesced from %d to %d, want from %d to %d", seconds(s.Began), seconds(s.Ended), c.began, c.ended)
			}
			if s.settled() != c.settled {
				t.Errorf("settled is %v, want %v", s.settled(), c.settled)
			}
		})
	}
}

func seconds(t time.Time) int {
	if t.IsZero() {
		return 0
	}
	return int(t.Unix())
}

// change is a change that comes some time after the one before; the stream ends if
// it has no action.
type change struct {
	after  time.Duration
	action engine.Action
}

func TestFollow(t *testing.T) {
	const s = time.Second
	cases := []struct {
		name  string
		steps []change
		took  time.Duration
		err   string
		// quiesced and settled are what the timeline comes to.
		quiesced, settled bool
	}{
		{"at once", []change{{0, "pause"}, {0, "commit"}, {0, "unpause"}}, 0, "", true, true},
		{"with a lag", []change{{3 * s, "pause"}, {4 * s, "commit"}, {s, "unpause"}}, 8 * s, "", true, true},
		{"the commit never shows", []change{{0, "pause"}, {s, "unpause"}}, commitBound, "does not show the commit", false, false},
		{"the commit shows too late", []change{{0, "pause"}, {commitBound + s, "commit"}}, commitBound, "does not show the commit", false, false},
		{"it is not resumed", []change{{0, "pause"}, {s, "commit"}}, s + releaseBound, "", true, false},
		{"it is not resumed, and much else happens",
			[]change{{0, "pause"}, {0, "commit"}, {s, "top"}, {s / 2, "top"}, {s, "top"}, {s, "top"}}, releaseBound, "", true, false},
		{"the stream ends early", []change{{0, "pause"}, {s, ""}}, s, "ended too early", false, false},
		{"the stream ends before it is resumed", []change{{0, "pause"}, {0, "commit"}, {s, ""}}, s, "", true, false},
		{"it ran", []change{{0, "commit"}}, 0, "", false, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				changes := make(chan engine.Change)
				go play(t, changes, c.steps)
				began := time.Now()
				a := &timeline{changes: changes, before: events.StateRunning, mode: events.QuiescePause}
				got, err := a.follow(ours)
				if took := time.Since(began); took != c.took {
					t.Errorf("it took %s, want %s", took, c.took)
				}
				if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
					t.Errorf("the error is %v, want %q", err, c.err)
				}
				if got.Quiesced != c.quiesced || got.settled() != c.settled {
					t.Errorf("quiesced %v, settled %v; want %v, %v", got.Quiesced, got.settled(), c.quiesced, c.settled)
				}
			})
		})
	}
}

func play(t *testing.T, to chan<- engine.Change, steps []change) {
	for _, s := range steps {
		select {
		case <-time.After(s.after):
		case <-t.Context().Done():
			return
		}
		if s.action == "" {
			close(to)
			return
		}
		c := engine.Change{Action: s.action, Time: time.Now()}
		if s.action == engine.ActionCommit {
			c.ImageID = ours
		}
		select {
		case to <- c:
		case <-t.Context().Done():
			return
		}
	}
}

func TestNotRunning(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	synctest.Test(t, func(t *testing.T) {
		a := &timeline{began: time.Now()}
		time.Sleep(time.Minute)
		cases := map[string]struct {
			proof Proof
			want  float64
		}{
			"it was not quiesced":  {Proof{Ended: at(9)}, 0},
			"it was":               {Proof{Began: at(3), Ended: at(5)}, 2000},
			"the events broke off": {Proof{Began: at(3)}, 60000},
		}
		for name, c := range cases {
			if got := a.notRunning(c.proof); got != c.want {
				t.Errorf("%s: %v ms, want %v", name, got, c.want)
			}
		}
	})
}

func TestQuiescedUntil(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	until := at(10)
	cases := map[string]struct {
		events   []engine.Change
		brokeOff bool
		want     bool
	}{
		"it was resumed after that":                       {[]engine.Change{{Action: "commit", Time: at(5)}, {Action: "unpause", Time: at(11)}}, false, true},
		"at that moment":                                  {[]engine.Change{{Action: "unpause", Time: at(10)}}, false, true},
		"before, and paused again":                        {[]engine.Change{{Action: "unpause", Time: at(8)}, {Action: "pause", Time: at(9)}}, false, false},
		"before it was quiesced":                          {[]engine.Change{{Action: "start", Time: at(1)}}, false, true},
		"it was not resumed yet":                          {[]engine.Change{{Action: "commit", Time: at(5)}}, false, true},
		"the events broke off before":                     {[]engine.Change{{Action: "commit", Time: at(5)}}, true, false},
		"the events broke off after":                      {[]engine.Change{{Action: "unpause", Time: at(11)}}, true, true},
		"it was resumed before, and the events broke off": {[]engine.Change{{Action: "unpause", Time: at(8)}}, true, false},
	}
	for name, c := range cases {
		changes := make(chan engine.Change, len(c.events))
		for _, e := range c.events {
			changes <- e
		}
		if c.brokeOff {
			close(changes)
		}
		a := &timeline{changes: changes}
		if got := a.quiescedUntil(Proof{Began: at(2)}, until); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
