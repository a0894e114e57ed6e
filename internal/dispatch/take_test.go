package dispatch

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus/consume"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/plan"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

func TestDuplicateOfARunningJob(t *testing.T) {
	withHost(t, 2, func(h *host) {
		id := h.container("web")
		h.engine.Plan(enginetest.Fault{Op: enginetest.Commit, On: id, During: func() { time.Sleep(time.Minute) }})
		h.start()
		first := h.backup(allContainers)
		s := h.send(h.work, first)
		synctest.Wait()
		again := h.do(h.again(first))
		h.want("backup.accepted "+jobID, "later 1")
		if again.delay < job.DuplicateDelay || again.delay >= 2*job.DuplicateDelay {
			h.Errorf("it comes again after %s", again.delay)
		}
		<-s.settled
		h.want("backup.accepted "+jobID, "later 1", "backup.item.completed web", "backup.completed "+jobID, "done 1")
	})
}

func TestBroadcast(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.container("web")
		h.container("ab")
		h.start()
		m := h.backup(`{"containers": {"names": ["gone", "web"]}, "images": {"names": ["gone"]}, "abortOnError": true}`)
		m.Subject = events.AllSubject(events.Backup)
		h.do(m)
		h.want("backup.accepted "+jobID, "backup.item.completed web", "backup.completed "+jobID, "done 1")

		m = h.backup(`{"containers": {"names": ["gone"]}}`, "ce-id", "id-2")
		m.Subject = events.AllSubject(events.Backup)
		h.do(m)
		if ended := h.ended(); ended.Status != events.StatusSucceeded || ended.Counts != (events.Counts{}) {
			h.Errorf("a host that has nothing of it ended as %+v", ended)
		}
	})
}

// The host's slots bound the items of all jobs together, and jobs take turns.
func TestSlotsAreShared(t *testing.T) {
	const slots = 2
	withHost(t, slots, func(h *host) {
		now, most := make(chan int, 1), 0
		now <- 0
		add := func(by int) {
			n := <-now + by
			most = max(most, n)
			now <- n
		}
		h.engine.Plan(enginetest.Fault{Op: enginetest.Save, Times: 12, During: func() {
			add(1)
			time.Sleep(time.Second)
			add(-1)
		}})
		for i := range 4 {
			h.container(fmt.Sprintf("c%d", i))
		}
		h.start()
		var jobs sync.WaitGroup
		for i := range 3 {
			jobs.Go(func() {
				d := h.backup(allContainers, "ce-id", fmt.Sprint(i))
				for h.do(d).verb == "later" { // the slot was taken by a job's next item
					d = h.again(d)
				}
			})
		}
		jobs.Wait()
		if most != slots {
			h.Errorf("%d items were worked on at a time, want %d", most, slots)
		}
		if got := strings.Count(strings.Join(h.server.lines(), "\n"), "backup.completed"); got != 3 {
			h.Errorf("%d jobs ended well, want 3: %q", got, h.server.lines())
		}
	})
}

// Two sources, one slot: what cannot be worked on now goes back at once.
func TestMessageWithoutASlot(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.start()
		d := h.backup(allContainers)
		// As if the other source took the slot while this message was on its way.
		taken := make(chan struct{})
		from := sourceFunc(func(ctx context.Context) (*consume.Message, error) {
			select {
			case <-taken:
				<-ctx.Done()
				return nil, ctx.Err()
			default:
			}
			close(taken)
			h.runner.Slots.TryAcquire()
			return d, nil
		})
		ctx, cancel := context.WithCancel(h.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); h.worker.takeWork(ctx, ctx, from) }()
		<-d.Settler.(*settlement).settled
		h.want("later 1")
		if delay := d.Settler.(*settlement).delay; delay != 0 {
			h.Errorf("it comes again after %s, want at once", delay)
		}
		cancel()
		<-ended
		h.runner.Slots.Release()
	})
}

type sourceFunc func(ctx context.Context) (*consume.Message, error)

func (f sourceFunc) Next(ctx context.Context) (*consume.Message, error) { return f(ctx) }

// A source that ended is left alone, and the worker goes on until it is stopped.
func TestSourceEnds(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.start()
		close(h.cancels.closed)
		close(h.work.closed)
		synctest.Wait() // would not return if somebody asked again and again
		select {
		case <-h.stopped:
			h.Error("the worker ended by itself")
		default:
		}
	})
}

// The worker's own lifeline is asked for each job, and protects.
func TestLifeline(t *testing.T) {
	withHost(t, 1, func(h *host) {
		id := h.container("self")
		h.backups.Lifeline = func(context.Context, []engine.Container) plan.Lifeline { return plan.Lifeline{Self: id} }
		h.start()
		h.do(h.backup(allContainers))
		var item events.BackupItemCompleted
		if err := h.server.published()[1].DataAs(&item); err != nil || item.Quiesce != events.QuiesceNone || item.NotRunningMillis != 0 {
			h.Errorf("it was backed up as %+v, %v", item, err)
		}
	})
}

// A sink that fills up fails the item, and the next one is tried all the same.
func TestSinkFull(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.container("a")
		h.container("b")
		h.sink.Fail(h, sinktest.OpWrite, 1, sink.ErrFull)
		h.start()
		h.do(h.backup(allContainers))
		h.want("backup.accepted "+jobID, "backup.item.failed a", "backup.item.completed b", "backup.completed "+jobID, "done 1")
	})
}

// Whoever wants to know hears that a request is taken, and that it is settled, and nothing
// of cancellations.
func TestBusy(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.hang("web")
		var running, all atomic.Int32
		h.worker.Busy = func() (ended func()) {
			running.Add(1)
			all.Add(1)
			return func() { running.Add(-1) }
		}
		h.start()
		job := h.send(h.work, h.backup(allContainers))
		synctest.Wait()
		if n := running.Load(); n != 1 {
			t.Errorf("while a job runs there are %d", n)
		}
		<-h.send(h.cancels, h.message(events.Cancel, `{"job": "`+jobID+`"}`, "ce-id", "id-2")).settled
		<-job.settled
		synctest.Wait()
		if n, all := running.Load(), all.Load(); n != 0 || all != 1 {
			t.Errorf("after it there are %d, and were %d", n, all)
		}
	})
}
