package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
)

// kills is how many workers die at a random moment of each kind of job: some in every
// run, more by make crash.
var kills = flag.Int("kills", 5, "how many workers are killed at a random moment of each kind of job")

// killsInWorld is how many of them die in one world, one after the other.
const killsInWorld = 5

// addKilled adds worlds in which workers are killed.
func (g *group) addKilled(t *testing.T, what string, test func(t *testing.T, random *rand.Rand)) {
	seed := rand.Uint64()
	t.Logf("the seed of %s is %d", what, seed)
	for i := range (*kills + killsInWorld - 1) / killsInWorld {
		g.add(fmt.Sprint(what, " ", i), func(t *testing.T) { test(t, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
}

// TestKillAtRandomMoments kills a worker at any moment of a job, and has the next
// one carry the job on.
func TestKillAtRandomMoments(t *testing.T) {
	t.Parallel()
	var worlds group
	for _, s := range []scenario{pausing, sending, replacing, sharing, drilling} {
		worlds.addKilled(t, string(s), func(t *testing.T, random *rand.Rand) { killAtRandom(t, random, s) })
	}
	worlds.run(t, sideBySide)
}

func killAtRandom(t *testing.T, random *rand.Rand, s scenario) {
	w := newWorld(t, s.world())
	data := s.prepare(w)
	p := w.start(workerOptions{})
	w.ended(w.ask(s.kind(), "warm-up", data))
	began := time.Now()
	w.ended(w.ask(s.kind(), "undisturbed", data))
	lasts := time.Since(began)
	var jobs []string
	for i := range killsInWorld {
		moment := time.Duration(random.Float64() * 1.2 * float64(lasts))
		job := w.ask(s.kind(), fmt.Sprint("killed ", i), data)
		jobs = append(jobs, job)
		time.Sleep(moment) // the fault itself
		p.kill()
		p = w.start(workerOptions{state: p.state})
		end := w.ended(job)
		if s.kind() == events.Restore {
			w.meet()
		}
		if s == sharing {
			w.checkShared()
		}
		w.verify(jobs...)
		if got := endStatus(t, end); got != events.StatusSucceeded {
			t.Errorf("killed after %s, the job ended as %s: %s", moment, got, end.Data())
		}
		report(t, fmt.Sprintf("sigkill %s into a job of %s", moment.Round(time.Millisecond), lasts.Round(time.Millisecond)), 1,
			string(endStatus(t, end)))
	}
}
