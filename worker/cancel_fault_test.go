package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/docker/dockertest"
	"holdfast.io/holdfast/internal/step"
)

// cancels is how often each kind of job is cancelled.
const cancels = 8

// TestCancelAtRandomMoments cancels jobs at any moment. They let go at once, and
// what they began is undone.
func TestCancelAtRandomMoments(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("the seed is %d", seed)
	var worlds group
	for i, s := range []scenario{pausing, stopping, joining, overwriting, sharing} {
		worlds.add(string(s), func(t *testing.T) {
			cancelAtRandom(t, s, rand.New(rand.NewPCG(seed, uint64(i))))
		})
	}
	worlds.run(t, 4)
}

func cancelAtRandom(t *testing.T, s scenario, random *rand.Rand) {
	w := newWorld(t, worldOptions{})
	data := s.prepare(w)
	w.start(workerOptions{})
	w.ended(w.ask(s.kind(), "warm-up", data))
	began := time.Now()
	w.ended(w.ask(s.kind(), "undisturbed", data))
	lasts := time.Since(began)
	var jobs []string
	var longest time.Duration
	ends := map[events.Status]int{}
	tries := cancels
	if s.kind() == events.Restore {
		tries = 2 // one that is cancelled is undone only when nothing can come any more
	}
	for i := range tries {
		job := w.ask(s.kind(), fmt.Sprint("cancelled ", i), data)
		jobs = append(jobs, job)
		time.Sleep(time.Duration(random.Float64() * 1.1 * float64(lasts))) // the moment
		asked := time.Now()
		w.cancel(job)
		end := w.ended(job)
		longest = max(longest, time.Since(asked))
		status := endStatus(t, end)
		ends[status]++
		if !slices.Contains([]events.Status{events.StatusCancelled, events.StatusSucceeded}, status) {
			t.Errorf("the job ended as %s: %s", status, end.Data())
		}
		if s.kind() == events.Restore {
			w.undone()
			w.meet()
		}
		if s == sharing {
			w.checkShared()
		}
	}
	w.verify(jobs...)
	var outcome []string
	for _, status := range []events.Status{events.StatusCancelled, events.StatusSucceeded} {
		outcome = append(outcome, fmt.Sprintf("%d %s", ends[status], status))
	}
	report(t, "cancelled at a random moment in "+string(s), tries,
		fmt.Sprintf("%s, %s after it was asked for at most", strings.Join(outcome, ", "), longest.Round(10*time.Millisecond)))
}

// cancel asks for a job to be cancelled.
func (w *world) cancel(job string) {
	w.t.Helper()
	w.send(events.HostSubject(events.Cancel, w.host), fmt.Sprintf(
		`{"specversion":"1.0","id":"cancel-%s","source":%q,"type":%q,"data":{"job":%q}}`, job, worldSource, events.Cancel.RequestType(), job))
}

// A hung Engine holds no slot for ever, and what it was told is undone when it
// goes on.
func engineHangs(t *testing.T) {
	e := dockertest.New(t, dockertest.Options{})
	w := newWorld(t, worldOptions{engine: e})
	p := w.start(workerOptions{env: []string{"HOLDFAST_TIMEOUTS_PROGRESS=5s", stopAfter(step.Committed, 1)}})
	job := w.backup("1", w.container("a", 1<<20))
	p.frozen()
	e.Pause(t)
	p.resume()
	end := w.ended(job)
	e.Continue(t)
	w.verify(job)
	report(t, "engine hangs after a commit", 1, w.failure(end, events.CodeTimeout))
	w.survived("engine that hung goes on", w.backup("2", w.container("b", 1<<20)))
}

// An Engine that keeps its containers while its daemon is away.
func engineLiveRestore(t *testing.T) {
	e := dockertest.New(t, dockertest.Options{LiveRestore: true})
	w := newWorld(t, worldOptions{engine: e})
	w.start(workerOptions{})
	job := w.slowJob("1", events.StepSave)
	e.Kill(t)
	time.Sleep(engineAway) // the fault itself
	e.Start(t)
	w.survived("engine with live-restore killed in a save, and started again", job)
}

// Another Engine under the same host id is refused: it has other containers.
func otherEngine(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.start(workerOptions{})
	w.ended(w.backup("1", w.container("a", 1<<20)))
	other := dockertest.New(t, dockertest.Options{})
	p := w.start(workerOptions{engine: other})
	if err := p.wait(t); err == nil || !strings.Contains(p.output.String(), "another Engine is served under the same host id") {
		t.Errorf("it ended with %v, and said\n%s", err, p.output)
	}
	report(t, "another engine under the same host id", 1, "refused")
}
