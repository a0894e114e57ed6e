package dispatch

import (
	"testing"
	"testing/synctest"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/hook"
)

const allTogether = `{"containers": {"all": true}, "together": true}`

// failures are the codes of the items that failed, by name.
func (h *host) failures() map[string]events.Code {
	codes := map[string]events.Code{}
	for _, o := range h.ended().Items {
		if o.Status != events.OutcomeCompleted {
			codes[o.Item.Name] = o.Code
		}
	}
	return codes
}

func TestTogether(t *testing.T) {
	for _, slots := range []int{1, 3} {
		withHost(t, slots, func(h *host) {
			h.container("a")
			h.container("b")
			h.start()
			h.do(h.backup(`{"containers": {"all": true}, "images": {"all": true}, "together": true}`))
			times := map[time.Time]bool{}
			for _, ev := range h.server.published() {
				var item events.BackupItemCompleted
				if ev.Type() == events.Backup.ResultType(events.ResultItemCompleted) && ev.DataAs(&item) == nil &&
					item.Item.Kind == events.ItemContainer {
					times[item.SnapshotTime] = true
				}
			}
			if ended := h.ended(); ended.Status != events.StatusSucceeded || ended.Counts.Completed != 3 || len(times) != 1 {
				h.Errorf("with %d slots it ended as %+v, at the times %v", slots, ended, times)
			}
		})
	}
}

func TestTogetherOrNotAtAll(t *testing.T) {
	withHost(t, 2, func(h *host) {
		id := h.container("a")
		bad := h.container("b")
		h.engine.Plan(enginetest.Fault{Op: enginetest.Commit, On: bad, Times: 3, Err: errBroken})
		h.start()
		h.do(h.backup(allTogether))
		if got := h.failures(); h.ended().Status != events.StatusFailed || got["a"] != events.CodeNotTogether || got["b"] != events.CodeEngine {
			h.Errorf("it ended as %+v", h.ended())
		}
		h.wantUndone(id)
		h.wantUndone(bad)
	})
}

// The Engine is away as the set is captured: that is done anew, for all.
func TestTogetherWaitsForTheEngine(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.container("a")
		id := h.container("b")
		h.engine.Plan(enginetest.Fault{Op: enginetest.Commit, On: id, Err: engine.ErrEngineUnavailable})
		h.start()
		m := h.backup(allTogether)
		h.do(m)
		h.want("backup.accepted "+jobID, "later 1")
		h.doAgain(m)
		if ended := h.ended(); ended.Status != events.StatusSucceeded || ended.Counts.Completed != 2 {
			h.Errorf("it ended as %+v", ended)
		}
	})
}

func TestTogetherToASinkThatIsAway(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.container("a")
		h.container("b")
		h.runner.RetryFor = 0
		h.backups.Sinks = sinks{events.DefaultSink: nil}
		h.start()
		h.do(h.backup(allTogether))
		if got := h.failures(); got["a"] != events.CodeSinkUnavailable || got["b"] != events.CodeNotTogether {
			h.Errorf("it ended as %+v", h.ended())
		}
		h.wantUntouched()
	})
}

// The worker stops when one of the set is stored. What is stored stays; the time
// of the others has passed.
func TestTogetherInTwoAttempts(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.container("a")
		h.container("b")
		h.engine.Plan(enginetest.Fault{Op: enginetest.Save, After: 1, Cut: 512, Hang: true})
		h.start()
		m := h.backup(allTogether)
		h.send(h.work, m)
		synctest.Wait()
		h.end()
		h.worker = h.newWorker("b")
		h.start()
		h.doAgain(m)
		if got := h.failures(); h.ended().Status != events.StatusPartial || h.ended().Counts.Completed != 1 ||
			got["b"] != events.CodeNotTogether {
			h.Errorf("it ended as %+v", h.ended())
		}
	})
}

func TestCancelTogether(t *testing.T) {
	withHost(t, 1, func(h *host) {
		id := h.container("a")
		h.container("b")
		h.engine.Plan(enginetest.Fault{Op: enginetest.Commit, On: id, During: func() { time.Sleep(time.Minute) }})
		h.start()
		job := h.send(h.work, h.backup(allTogether))
		time.Sleep(time.Second)
		began := time.Now()
		<-h.send(h.cancels, h.message(events.Cancel, `{"job": "`+jobID+`"}`, "ce-id", "id-2")).settled
		<-job.settled
		if took := time.Since(began); took > time.Second {
			h.Errorf("it returned after %s", took)
		}
		if ended := h.ended(); ended.Status != events.StatusCancelled {
			h.Errorf("it ended as %+v", ended)
		}
		h.wantUndone(id)
	})
}

// A job that is cancelled before its set is quiesced ends at once.
func TestCancelTogetherBeforeItBegins(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.container("a")
		h.engine.Plan(enginetest.Fault{Op: enginetest.About, After: 1, Hang: true})
		h.start()
		job := h.send(h.work, h.backup(allTogether))
		synctest.Wait()
		<-h.send(h.cancels, h.message(events.Cancel, `{"job": "`+jobID+`"}`, "ce-id", "id-2")).settled
		<-job.settled
		h.wantBeside("done 2", "backup.accepted "+jobID, "backup.item.failed a", "backup.failed "+jobID, "done 1")
		if ended := h.ended(); ended.Status != events.StatusCancelled {
			h.Errorf("it ended as %+v", ended)
		}
		h.wantUntouched()
	})
}

// The command of a label that came with the image is not run, and that is said.
func TestHooksOfAnImage(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.backups.Runner.HooksAllowed = true
		id := h.engine.AddImage("hooked:v1")
		h.engine.SetImageLabels(id, map[string]string{hook.LabelPre: `["/idle", "fail"]`})
		h.engine.Add(enginetest.Spec{Name: "web", Image: "hooked:v1", Labels: map[string]string{
			hook.LabelPost: `["/idle", "say", "x", "y", "0"]`}}, events.StateRunning)
		h.start()
		h.do(h.backup(allContainers))
		var item events.BackupItemCompleted
		if err := h.server.published()[1].DataAs(&item); err != nil {
			h.Fatal(err)
		}
		if len(item.Hooks) != 1 || item.Hooks[0].When != events.HookPost || len(item.Warnings) != 1 ||
			item.Warnings[0].Code != events.WarningImageLabel {
			h.Errorf("the item is %+v", item)
		}
	})
}

func TestHooksInASet(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.backups.Runner.HooksAllowed = true
		for _, name := range []string{"a", "b"} {
			h.engine.Add(enginetest.Spec{Name: name, Image: baseImage, Labels: map[string]string{
				hook.LabelPre: `["/idle", "say", "x", "y", "0"]`, hook.LabelPost: `["/idle", "say", "x", "y", "0"]`}}, events.StateRunning)
		}
		h.start()
		h.do(h.backup(allTogether))
		var item events.BackupItemCompleted
		if err := h.server.published()[1].DataAs(&item); err != nil || len(item.Hooks) != 2 {
			h.Errorf("the hooks are %+v, %v", item.Hooks, err)
		}
	})
}
