package dispatch

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/plan"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

var errBroken = errors.New("broken")

// jobID is the job of the requests that the tests send.
var jobID = events.JobID("/test", "id-1", testHost)

func TestBackup(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.container("web")
		h.container("db")
		h.engine.Add(enginetest.Spec{Name: "out", Image: baseImage, Labels: map[string]string{plan.LabelExclude: "true"}}, events.StateRunning)
		h.start()
		h.do(h.backup(`{"containers": {"all": true}, "images": {"names": ["app:v1"]}, "tags": {"a": "b"}}`,
			"ce-correlationid", "c-1", "ce-traceparent", "00-1-2-01"))
		h.want(
			"backup.accepted "+jobID,
			"backup.item.completed db",
			"backup.item.completed web",
			"backup.item.completed app:v1",
			"backup.completed "+jobID,
			"done 1",
		)
		ended := h.ended()
		if ended.Status != events.StatusSucceeded || ended.Counts != (events.Counts{Items: 3, Completed: 3, Excluded: 1}) ||
			ended.Bytes == 0 || ended.Sink != events.DefaultSink || ended.Job != jobID || ended.Host != testHost {
			h.Errorf("it ended as %+v", ended)
		}
		ids := map[string]bool{}
		for _, ev := range h.server.published() {
			x := ev.Extensions()
			if x[events.ExtJobID] != jobID || x[events.ExtCorrelationID] != "c-1" || x[events.ExtCausationID] != "id-1" ||
				x[events.ExtTraceParent] != "00-1-2-01" {
				h.Errorf("%s has the extensions %v", ev.Type(), x)
			}
			if ids[ev.ID()] {
				h.Errorf("the id %s is used twice", ev.ID())
			}
			ids[ev.ID()] = true
		}
		var item events.BackupItemCompleted
		if err := h.server.published()[1].DataAs(&item); err != nil {
			h.Fatal(err)
		}
		contents := h.sink.Contents()
		if _, there := contents[item.Path+"/manifest.json"]; !there || len(item.Artifacts) != 3 {
			h.Errorf("the item is %+v", item)
		}
		for _, a := range item.Artifacts {
			if int64(len(contents[a.Key])) != a.Size {
				h.Errorf("%s has %d bytes, want %d", a.Key, len(contents[a.Key]), a.Size)
			}
		}
	})
}

// A request that comes again after it was done has the same events under the same
// ids, and the same points.
func TestBackupAgain(t *testing.T) {
	withHost(t, 2, func(h *host) {
		h.container("web")
		h.start()
		first := h.backup(`{"containers": {"names": ["web", "gone"]}}`)
		h.server.refuse = func(_ context.Context, what string) error {
			if what == "done" && len(h.server.lines()) < 5 {
				return errBroken // the acknowledgement is lost
			}
			return nil
		}
		h.send(h.work, first)
		synctest.Wait()
		commits := h.engine.Calls(enginetest.Commit)
		h.doAgain(first)
		h.want(
			"backup.accepted "+jobID, "backup.item.failed gone", "backup.item.completed web", "backup.completed "+jobID,
			"backup.accepted "+jobID, "backup.item.failed gone", "backup.item.completed web", "backup.completed "+jobID,
			"done 1",
		)
		all := h.server.published()
		for i, ev := range all[:4] {
			if again := all[4+i]; again.ID() != ev.ID() {
				h.Errorf("%s has the id %s and later %s", ev.Type(), ev.ID(), again.ID())
			}
		}
		var one, two events.BackupItemCompleted
		if err := errors.Join(all[2].DataAs(&one), all[6].DataAs(&two)); err != nil || one.Path != two.Path ||
			one.SnapshotTime != two.SnapshotTime {
			h.Errorf("the items are %+v and %+v, %v", one, two, err)
		}
		if h.engine.Calls(enginetest.Commit) != commits {
			h.Error("it was committed again")
		}
	})
}

func TestBackupOfWhatIsMissing(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.container("web")
		h.start()
		h.do(h.backup(`{"containers": {"names": ["gone", "web"], "match": ["^nothing"]}, "images": {"names": ["gone"]}}`))
		h.want(
			"backup.accepted "+jobID,
			"backup.item.failed gone", "backup.item.failed gone",
			"backup.item.completed web",
			"backup.completed "+jobID,
			"done 1",
		)
		all := h.server.published()
		if all[1].ID() == all[2].ID() {
			h.Error("the missing container and the missing image have one event id")
		}
		var failed events.ItemFailed
		if err := all[1].DataAs(&failed); err != nil || failed.Code != events.CodeNotFound || failed.Step != events.StepPlan ||
			failed.Retryable || failed.Item.ID != "" {
			h.Errorf("it failed as %+v, %v", failed, err)
		}
		if ended := h.ended(); ended.Status != events.StatusPartial || ended.Counts.Missing != 2 || len(ended.Missing) != 2 {
			h.Errorf("it ended as %+v", ended)
		}
	})
}

func TestBackupGoesOnAfterAnError(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.container("a")
		bad := h.container("b")
		h.container("c")
		h.engine.Plan(enginetest.Fault{Op: enginetest.Commit, On: bad, Times: 3, Err: errBroken})
		h.start()
		h.do(h.backup(`{"containers": {"all": true}}`))
		h.want("backup.accepted "+jobID, "backup.item.completed a", "backup.item.failed b", "backup.item.completed c",
			"backup.completed "+jobID, "done 1")
		ended := h.ended()
		if ended.Status != events.StatusPartial || ended.Counts != (events.Counts{Items: 3, Completed: 2, Failed: 1}) {
			h.Errorf("it ended as %+v", ended)
		}
		if o := ended.Items[1]; o.Item.Name != "b" || o.Status != events.OutcomeFailed || o.Code != events.CodeEngine || o.Point != "" {
			h.Errorf("the item ended as %+v", o)
		}
		var failed events.ItemFailed
		if err := h.server.published()[2].DataAs(&failed); err != nil || !failed.Retryable || failed.Step != events.StepCommit {
			h.Errorf("it failed as %+v, %v", failed, err)
		}
	})
}

// A sink that is away is waited for, but not for ever.
func TestBackupToASinkThatIsAway(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.container("web")
		h.backups.Sinks = sinks{events.DefaultSink: nil}
		h.start()
		m := h.backup(`{"containers": {"all": true}}`)
		if s := h.do(m); s.delay < job.RetryDelay || s.delay >= 2*job.RetryDelay {
			h.Errorf("it comes again after %s", s.delay)
		}
		time.Sleep(retryFor)
		h.server.journal = nil
		h.doAgain(m)
		h.want("backup.accepted "+jobID, "backup.item.failed web", "backup.failed "+jobID, "done 1")
		if o := h.ended().Items[0]; o.Code != events.CodeSinkUnavailable {
			h.Errorf("the item ended as %+v", o)
		}
		h.wantUntouched()
	})
}

func TestBackupToANamedSink(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.container("web")
		other := sinktest.NewMemory()
		all := sinks{events.DefaultSink: h.sink, "other": other}
		h.backups.Sinks, h.backups.SinkPolicy.Sinks = all, all
		h.start()
		h.do(h.backup(`{"containers": {"all": true}, "sink": "other"}`))
		if len(h.sink.Contents()) > 0 || len(other.Contents()) == 0 || h.ended().Sink != "other" {
			h.Errorf("the sinks hold %d and %d objects, and it ended in %s", len(h.sink.Contents()), len(other.Contents()), h.ended().Sink)
		}
	})
}

func TestAbortOnError(t *testing.T) {
	const aborting = `{"containers": {"names": [%s], "all": true}, "abortOnError": true}`
	t.Run("something is missing", func(t *testing.T) {
		withHost(t, 1, func(h *host) {
			h.container("a")
			h.start()
			h.do(h.backup(fmt.Sprintf(aborting, `"gone"`)))
			h.want("backup.accepted "+jobID, "backup.item.failed gone", "backup.failed "+jobID, "done 1")
			h.wantUntouched()
			if ended := h.ended(); ended.Status != events.StatusFailed || ended.Counts != (events.Counts{Items: 1, Skipped: 1, Missing: 1}) {
				h.Errorf("it ended as %+v", ended)
			}
		})
	})
	t.Run("something is known to fail", func(t *testing.T) {
		withHost(t, 1, func(h *host) {
			h.container("a")
			h.engine.Add(enginetest.Spec{Name: "b", Image: baseImage, Labels: map[string]string{plan.LabelQuiesce: "never"}}, events.StateRunning)
			h.start()
			h.do(h.backup(fmt.Sprintf(aborting, "")))
			h.want("backup.accepted "+jobID, "backup.item.failed b", "backup.failed "+jobID, "done 1")
			h.wantUntouched()
			if ended := h.ended(); ended.Counts != (events.Counts{Items: 2, Skipped: 1, Failed: 1}) || ended.Items[1].Code != events.CodeBadLabel {
				h.Errorf("it ended as %+v", ended)
			}
		})
	})
	t.Run("something fails", func(t *testing.T) {
		withHost(t, 1, func(h *host) {
			h.container("a")
			bad := h.container("b")
			h.container("c")
			h.engine.Plan(enginetest.Fault{Op: enginetest.Commit, On: bad, Times: 3, Err: errBroken})
			h.start()
			h.do(h.backup(fmt.Sprintf(aborting, "")))
			h.want("backup.accepted "+jobID, "backup.item.completed a", "backup.item.failed b", "backup.failed "+jobID, "done 1")
			if ended := h.ended(); ended.Status != events.StatusFailed ||
				ended.Counts != (events.Counts{Items: 3, Completed: 1, Failed: 1, Skipped: 1}) {
				h.Errorf("it ended as %+v", ended)
			}
		})
	})
	t.Run("something fails while others run", func(t *testing.T) {
		withHost(t, 2, func(h *host) {
			bad := h.container("a")
			slow := h.container("b")
			h.container("c")
			h.engine.Plan(enginetest.Fault{Op: enginetest.Commit, On: bad, Times: 3, Err: errBroken, During: func() { time.Sleep(time.Second) }},
				enginetest.Fault{Op: enginetest.Commit, On: slow, During: func() { time.Sleep(time.Minute) }})
			h.start()
			h.do(h.backup(fmt.Sprintf(aborting, "")))
			h.want("backup.accepted "+jobID, "backup.item.failed a", "backup.item.completed b", "backup.failed "+jobID, "done 1")
		})
	})
	t.Run("nothing fails", func(t *testing.T) {
		withHost(t, 2, func(h *host) {
			h.container("a")
			h.start()
			h.do(h.backup(fmt.Sprintf(aborting, "")))
			h.want("backup.accepted "+jobID, "backup.item.completed a", "backup.completed "+jobID, "done 1")
		})
	})
}

func TestDryRun(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.container("a")
		h.container("b")
		h.start()
		h.do(h.backup(`{"containers": {"names": ["a", "gone"]}, "dryRun": true}`))
		h.want("backup.planned "+jobID, "done 1")
		h.wantUntouched()
		var planned events.Planned
		h.last(&planned)
		if len(planned.Items) != 1 || len(planned.Missing) != 1 || len(planned.Excluded) != 1 || planned.Excluded[0].Name != "b" {
			h.Errorf("the plan is %+v", planned)
		}
	})
}
