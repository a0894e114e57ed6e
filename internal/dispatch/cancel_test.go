package dispatch

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/job"
)

func TestCancel(t *testing.T) {
	for _, subject := range []string{events.HostSubject(events.Cancel, testHost), events.AllSubject(events.Cancel)} {
		t.Run(subject, func(t *testing.T) {
			withHost(t, 1, func(h *host) { // and so no slot is free
				id := h.hang("a")
				h.container("b")
				h.start()
				job := h.send(h.work, h.backup(allContainers))
				synctest.Wait()
				h.want("backup.accepted " + jobID)
				cancel := h.message(events.Cancel, `{"job": "`+jobID+`"}`, "ce-id", "id-2")
				cancel.Subject = subject
				<-h.send(h.cancels, cancel).settled
				<-job.settled
				h.wantBeside("done 2", "backup.accepted "+jobID, "backup.item.failed a", "backup.failed "+jobID, "done 1")
				ended := h.ended()
				if ended.Status != events.StatusCancelled || ended.Counts != (events.Counts{Items: 2, Cancelled: 1, Skipped: 1}) ||
					ended.Items[0].Code != events.CodeCancelled {
					h.Errorf("it ended as %+v", ended)
				}
				h.wantUndone(id)
			})
		})
	}
}

// wantUndone: nothing is left of a job that did not end well.
func (h *host) wantUndone(id string) {
	h.Helper()
	if err := h.sweeper.Wait(h.Context()); err != nil {
		h.Error(err)
	}
	if refs := h.engine.References(); !slices.Equal(refs, []string{baseImage}) {
		h.Errorf("the Engine has the images %q", refs)
	}
	if state := h.engine.State(id); state != events.StateRunning {
		h.Errorf("the container is %s", state)
	}
	if n := len(h.sink.Contents()); n > 0 {
		h.Errorf("the sink has %d objects", n)
	}
}

func TestCancelWhileItIsPlanned(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.engine.Plan(enginetest.Fault{Op: enginetest.Containers, Hang: true})
		h.start()
		job := h.send(h.work, h.backup(allContainers))
		synctest.Wait()
		<-h.send(h.cancels, h.message(events.Cancel, `{"job": "`+jobID+`"}`, "ce-id", "id-2")).settled
		<-job.settled
		h.wantBeside("done 2", "backup.failed "+jobID, "done 1")
		if ended := h.ended(); ended.Status != events.StatusCancelled {
			h.Errorf("it ended as %+v", ended)
		}
	})
}

// What is cancelled before its first item is begun touches nothing.
func TestCancelBeforeAnythingIsTouched(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.container("a")
		h.container("b")
		h.server.refuse = func(_ context.Context, what string) error {
			if what == "backup.accepted" {
				<-h.send(h.cancels, h.message(events.Cancel, `{"job": "`+jobID+`"}`, "ce-id", "id-2")).settled
			}
			return nil
		}
		h.start()
		h.do(h.backup(allContainers))
		h.want("done 2", "backup.accepted "+jobID, "backup.failed "+jobID, "done 1")
		h.wantUntouched()
		if ended := h.ended(); ended.Status != events.StatusCancelled || ended.Counts != (events.Counts{Items: 2, Skipped: 2}) {
			h.Errorf("it ended as %+v", ended)
		}
	})
}

// A job that waits, or has not come yet, is cancelled when its turn comes, and
// touches nothing.
func TestCancelBeforeTheJobComes(t *testing.T) {
	for _, subject := range []string{events.HostSubject(events.Cancel, testHost), events.AllSubject(events.Cancel)} {
		withHost(t, 1, func(h *host) {
			h.container("web")
			h.start()
			cancel := h.message(events.Cancel, `{"job": "`+jobID+`"}`, "ce-id", "id-2")
			cancel.Subject = subject
			<-h.send(h.cancels, cancel).settled
			h.do(h.backup(allContainers))
			h.want("done 1", "backup.failed "+jobID, "done 2")
			h.wantUntouched()
			if ended := h.ended(); ended.Status != events.StatusCancelled {
				h.Errorf("it ended as %+v", ended)
			}
		})
	}
}

// What is too late is said, except to all hosts; what comes again is done.
func TestCancelAfterTheEnd(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.container("web")
		h.start()
		h.do(h.backup(allContainers))
		late := h.message(events.Cancel, `{"job": "`+jobID+`"}`, "ce-id", "id-2")
		late.Subject = events.AllSubject(events.Cancel)
		<-h.send(h.cancels, late).settled
		<-h.send(h.cancels, h.message(events.Cancel, `{"job": "`+jobID+`"}`, "ce-id", "id-3")).settled
		cancelID := events.JobID("/test", "id-3", testHost)
		h.want("backup.accepted "+jobID, "backup.item.completed web", "backup.completed "+jobID, "done 1", "done 2",
			"request.rejected "+cancelID, "dead letter 3: no_such_job", "rejected as no_such_job 3")
	})
}

func TestCancelTwice(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.hang("web")
		h.start()
		job := h.send(h.work, h.backup(allContainers))
		synctest.Wait()
		for i, id := range []string{"id-2", "id-3"} {
			<-h.send(h.cancels, h.message(events.Cancel, `{"job": "`+jobID+`"}`, "ce-id", id)).settled
			if i == 0 {
				<-job.settled
			}
		}
		h.wantBeside("done 2", "backup.accepted "+jobID, "backup.item.failed web", "backup.failed "+jobID, "done 1", "done 3")
	})
}

func TestTimeout(t *testing.T) {
	const data = `{"containers": {"all": true}, "timeout": "5m"}`
	t.Run("in the middle", func(t *testing.T) {
		withHost(t, 1, func(h *host) {
			id := h.hang("a")
			h.container("b")
			h.start()
			began := time.Now()
			h.do(h.backup(data))
			if took := time.Since(began); took != 5*time.Minute {
				h.Errorf("it took %s", took)
			}
			h.want("backup.accepted "+jobID, "backup.item.failed a", "backup.failed "+jobID, "done 1")
			ended := h.ended()
			if ended.Status != events.StatusFailed || ended.Counts != (events.Counts{Items: 2, Failed: 1, Skipped: 1}) ||
				ended.Items[0].Code != events.CodeTimeout || !strings.Contains(ended.Message, "timeout") {
				h.Errorf("it ended as %+v", ended)
			}
			h.wantUndone(id)
		})
	})
	t.Run("while it is planned", func(t *testing.T) {
		withHost(t, 1, func(h *host) {
			h.engine.Plan(enginetest.Fault{Op: enginetest.Containers, Hang: true})
			h.start()
			h.do(h.backup(data))
			h.want("backup.failed "+jobID, "done 1")
			if ended := h.ended(); ended.Status != events.StatusFailed || !strings.Contains(ended.Message, "timeout") {
				h.Errorf("it ended as %+v", ended)
			}
		})
	})
}

func TestStop(t *testing.T) {
	t.Run("jobs end within the grace", func(t *testing.T) {
		withHost(t, 1, func(h *host) {
			id := h.container("web")
			h.engine.Plan(enginetest.Fault{Op: enginetest.Commit, On: id, During: func() { time.Sleep(grace - time.Second) }})
			h.start()
			h.send(h.work, h.backup(allContainers))
			synctest.Wait()
			h.end()
			h.want("backup.accepted "+jobID, "backup.item.completed web", "backup.completed "+jobID, "done 1")
		})
	})
	t.Run("jobs are undone after the grace", func(t *testing.T) {
		withHost(t, 1, func(h *host) {
			id := h.hang("web")
			h.container("xyz")
			h.start()
			s := h.send(h.work, h.backup(allContainers))
			synctest.Wait()
			began := time.Now()
			h.end()
			if took := time.Since(began); took != grace {
				h.Errorf("it took %s, want %s", took, grace)
			}
			h.want("backup.accepted "+jobID, "later 1")
			if s.delay < job.StoppedDelay || s.delay >= 2*job.StoppedDelay {
				h.Errorf("it comes again after %s", s.delay)
			}
			h.wantUndone(id)
		})
	})
	t.Run("a commit is left to be undone", func(t *testing.T) {
		withHost(t, 1, func(h *host) {
			id := h.container("web")
			h.engine.Plan(enginetest.Fault{Op: enginetest.Commit, During: func() { time.Sleep(3 * grace) }})
			h.start()
			h.send(h.work, h.backup(allContainers))
			synctest.Wait()
			began := time.Now()
			h.end()
			if took := time.Since(began); took > grace+time.Second {
				h.Errorf("it took %s, want %s", took, grace)
			}
			h.want("backup.accepted "+jobID, "later 1")
			time.Sleep(3 * grace) // the Engine goes on with the commit
			h.wantUndone(id)
		})
	})
	t.Run("what waits for a slot is not begun", func(t *testing.T) {
		withHost(t, 1, func(h *host) {
			h.container("web")
			h.start()
			h.runner.Slots.TryAcquire()
			synctest.Wait()
			select {
			case h.work.messages <- h.backup(allContainers):
				h.Error("a message was taken without a free slot")
			default:
			}
			h.runner.Slots.Release()
			h.end()
			h.want()
		})
	})
	// The server is away, and both jobs and cancellations wait for it.
	t.Run("nothing can be published", func(t *testing.T) {
		withHost(t, 1, func(h *host) {
			h.container("web")
			h.server.refuse = func(ctx context.Context, _ string) error {
				<-ctx.Done()
				return ctx.Err()
			}
			h.start()
			h.send(h.work, h.backup(allContainers))
			h.send(h.cancels, h.message(events.Cancel, `{"job": "abcdefghijklmn27"}`, "ce-id", "id-2"))
			synctest.Wait()
			began := time.Now()
			h.end()
			if took := time.Since(began); took != grace {
				h.Errorf("it took %s, want %s", took, grace)
			}
			h.want("later 1") // and the cancellation, which is in the ledger, by itself
			h.wantUntouched()
		})
	})
}

// The next worker takes up what was stopped, and what was stored by then counts.
func TestStoppedJobIsTakenUp(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.container("a")
		h.container("b")
		h.engine.Plan(enginetest.Fault{Op: enginetest.Save, After: 1, Cut: 512, Hang: true})
		h.start()
		first := h.backup(allContainers)
		h.send(h.work, first)
		synctest.Wait()
		h.end()
		h.want("backup.accepted "+jobID, "backup.item.completed a", "later 1")

		h.worker = h.newWorker("b")
		h.start()
		h.do(h.again(first))
		h.want("backup.accepted "+jobID, "backup.item.completed a", "later 1",
			"backup.accepted "+jobID, "backup.item.completed a", "backup.item.completed b", "backup.completed "+jobID, "done 1")
		if commits := h.engine.Calls(enginetest.Commit); commits != 3 {
			h.Errorf("there were %d commits, want 2 and 1", commits)
		}
	})
}
