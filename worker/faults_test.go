package main

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/step"
)

// TestFaults has everything round a job fail in the middle of it. Whatever it was,
// what a world promises holds afterwards.
func TestFaults(t *testing.T) {
	t.Parallel()
	var cases group
	for name, test := range map[string]func(*testing.T){
		"sigterm in a save":                        sigtermInSave,
		"server killed":                            serverKilled,
		"server away for longer than the ack wait": serverAway,
		"wire cut":                                 wireCut,
		"wire cut, another worker takes over":      wireCutTakeover,
		"a request 50 times":                       fiftyTimes,
		"two workers":                              twoWorkers,
		"leaders of a cluster killed":              leadersKilled,
	} {
		cases.add(name, test)
	}
	for _, name := range []step.Name{step.Recorded, step.Committed, step.Saved, step.Published, step.ItemEnded, step.Ended} {
		cases.add("zombie after "+string(name), func(t *testing.T) { zombie(t, name) })
	}
	cases.run(t, sideBySide)
}

const (
	// slowPayload takes a second or two to commit and to save.
	slowPayload = 60 << 20
	// leaseExpires is longer than a worker that is not heard of remains its host's.
	leaseExpires = 12 * time.Second
	// ackWaitLapses is longer than the server waits for a sign of life of a job.
	ackWaitLapses = 65 * time.Second
)

// slowJob asks for a backup of a container that takes its time, and returns when
// the job has reached that step.
func (w *world) slowJob(id string, at events.Step) (job string) {
	w.t.Helper()
	return w.backupUpTo(at, id, w.container("slow", slowPayload))
}

// backupUpTo asks for a backup of a container, and returns when the job has
// reached that step.
func (w *world) backupUpTo(at events.Step, id, name string) (job string) {
	w.t.Helper()
	reached := stepOf(w.t, w.js, w.host, at)
	job = w.backup(id, name)
	select {
	case <-reached:
	case <-time.After(worldPatience):
		w.t.Fatalf("in %s the job does not reach the step %s", worldPatience, at)
	}
	return job
}

// survived checks what must hold, and that the job succeeded, and reports it.
func (w *world) survived(fault string, job string) {
	w.t.Helper()
	w.verify(job)
	end := w.ended(job)
	if got := endStatus(w.t, end); got != events.StatusSucceeded {
		w.t.Errorf("the job ended as %s: %s", got, end.Data())
	}
	report(w.t, fault, 1, string(endStatus(w.t, end)))
}

func sigtermInSave(t *testing.T) {
	w := newWorld(t, worldOptions{})
	p := w.start(workerOptions{env: []string{"HOLDFAST_SHUTDOWN_GRACE=0s"}})
	job := w.slowJob("1", events.StepSave)
	p.signal(syscall.SIGTERM)
	if err := p.wait(t); err != nil {
		t.Errorf("the worker ended with %v", err)
	}
	w.start(workerOptions{state: p.state})
	w.survived("sigterm in a save", job)
}

func serverKilled(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.start(workerOptions{})
	job := w.slowJob("1", events.StepSave)
	w.server.Kill()
	w.server.Start()
	w.survived("message server killed and started again in a save", job)
}

func serverAway(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.start(workerOptions{})
	job := w.slowJob("1", events.StepSave)
	w.server.Stop()
	time.Sleep(ackWaitLapses) // the fault itself
	w.server.Start()
	w.survived(fmt.Sprintf("message server away for %s in a save", ackWaitLapses), job)
}

func wireCut(t *testing.T) {
	w := newWorld(t, worldOptions{})
	l := newWire(t, w.server.URL)
	w.start(workerOptions{prefix: l.prefix, server: l.url})
	job := w.slowJob("1", events.StepSave)
	l.cut(t)
	time.Sleep(leaseExpires) // the fault itself
	l.mend(t)
	w.survived(fmt.Sprintf("network split of %s in a save", leaseExpires), job)
}

func wireCutTakeover(t *testing.T) {
	w := newWorld(t, worldOptions{})
	l := newWire(t, w.server.URL)
	w.start(workerOptions{prefix: l.prefix, server: l.url})
	job := w.slowJob("1", events.StepSave)
	l.cut(t)
	w.start(workerOptions{})
	w.ended(job)
	l.mend(t)
	w.survived("network split in a save, another worker takes over", job)
}

// fiftyTimes: a publisher that is not sure asks again and again.
func fiftyTimes(t *testing.T) {
	w := newWorld(t, worldOptions{})
	name := w.container("a", 1<<20)
	p := w.start(workerOptions{})
	var publishers sync.WaitGroup
	var job string
	for i := range 5 {
		publishers.Go(func() {
			for range 10 {
				again := w.backup("1", name)
				if i == 0 {
					job = again
				}
			}
		})
	}
	publishers.Wait()
	w.survived("one request published 50 times", job)
	p.kill()
	w.start(workerOptions{state: p.state})
	w.backup("1", name)
	w.survived("and once more to the next worker", job)
}

// twoWorkers: both want to serve the host, all the time, and each of them dies
// once.
func twoWorkers(t *testing.T) {
	w := newWorld(t, worldOptions{})
	name := w.container("a", 8<<20)
	workers := []*worker{w.start(workerOptions{}), w.start(workerOptions{})}
	var jobs []string
	for i := range 4 {
		for range 5 {
			jobs = append(jobs, w.backup(fmt.Sprint(len(jobs)), name))
		}
		w.ended(jobs[i*5])
		workers[i%2].kill()
		workers[i%2] = w.start(workerOptions{state: workers[i%2].state})
	}
	w.verify(jobs...)
	report(t, "two workers of one host, each killed twice", len(jobs), "all jobs ended once")
}

// zombie freezes a worker until another one has taken over and ended its job, and
// then lets it go on.
func zombie(t *testing.T, name step.Name) {
	w := newWorld(t, worldOptions{})
	container := w.container("a", 4<<20)
	first := w.start(workerOptions{env: []string{stopAfter(name, 1)}})
	job := w.backup("1", container)
	first.frozen()
	w.start(workerOptions{})
	w.ended(job)
	first.resume()
	w.survived("frozen after "+string(name)+" until another worker has ended the job, and resumed", job)
}

// leadersKilled kills the server that leads what a job needs, one after the other.
func leadersKilled(t *testing.T) {
	cluster := bustest.Cluster(t, 3)
	w := newWorld(t, worldOptions{cluster: cluster})
	w.start(workerOptions{})
	name := w.container("a", slowPayload)
	for i, stream := range []string{events.StreamRequests, events.StreamEvents, "KV_" + events.BucketJobs, "KV_" + events.BucketLocks} {
		cluster.Settled(stream) // two of three are enough for the job, but not for one more to go
		job := w.backupUpTo(events.StepSave, fmt.Sprint(i), name)
		leader := cluster.Nodes[cluster.Leader(stream)]
		leader.Kill()
		w.ended(job)
		leader.Start()
		w.survived("leader of "+stream+" killed, of three servers, in a save", job)
	}
}
