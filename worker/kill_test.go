package main

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
)

const (
	randomWorlds = 6 // side by side
	randomKills  = 5 // in each, one after the other
)

// TestKillAtRandomMoments kills a worker at any moment of a job, and has the next
// one carry the job on.
func TestKillAtRandomMoments(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("the seed is %d", seed)
	var worlds group
	for i := range randomWorlds {
		worlds.add(fmt.Sprint("world ", i), func(t *testing.T) {
			killAtRandom(t, rand.New(rand.NewPCG(seed, uint64(i))))
		})
	}
	worlds.run(t, randomWorlds)
}

func killAtRandom(t *testing.T, random *rand.Rand) {
	w := newWorld(t, worldOptions{})
	names := []string{w.container("a", 8<<20), w.container("b", 8<<20)}
	p := w.start(workerOptions{})
	w.ended(w.backup("warm-up", names...))
	began := time.Now()
	w.ended(w.backup("undisturbed", names...))
	lasts := time.Since(began)
	var jobs []string
	for i := range randomKills {
		moment := time.Duration(random.Float64() * 1.2 * float64(lasts))
		job := w.backup(fmt.Sprint("killed ", i), names...)
		jobs = append(jobs, job)
		time.Sleep(moment) // the fault itself
		p.kill()
		p = w.start(workerOptions{state: p.state})
		w.verify(jobs...)
		end := w.ended(job)
		if got := endStatus(t, end); got != events.StatusSucceeded {
			t.Errorf("killed after %s, the job ended as %s: %s", moment, got, end.Data())
		}
		report(t, fmt.Sprintf("sigkill %s into a job of %s", moment.Round(time.Millisecond), lasts.Round(time.Millisecond)), 1,
			string(endStatus(t, end)))
	}
}
