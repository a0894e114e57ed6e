package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/backup/enginetest"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

var errBroken = errors.New("broken")

// jobID is the job of the requests that the tests send.
var jobID = events.JobID("/test", "id-1", testHost)

func TestBackup(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.container("web")
		h.container("db")
		h.engine.Add(enginetest.Spec{Name: "out", Image: baseImage, Labels: map[string]string{backup.LabelExclude: "true"}}, events.StateRunning)
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
			if x[events.ExtJobID] != jobID || x[events.ExtCorrelationID] != "c-1" || x[events.ExtCausationID] != "id-1" || x[events.ExtTraceParent] != "00-1-2-01" {
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
		if _, there := contents[item.Path+"/manifest.json"]; !there || len(item.Artifacts) != 2 {
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
		h.do(h.again(first))
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
		if err := errors.Join(all[2].DataAs(&one), all[6].DataAs(&two)); err != nil || one.Path != two.Path || one.SnapshotTime != two.SnapshotTime {
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
		var failed events.BackupItemFailed
		if err := all[1].DataAs(&failed); err != nil || failed.Code != events.CodeNotFound || failed.Step != events.StepPlan || failed.Retryable || failed.Item.ID != "" {
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
		h.engine.Plan(enginetest.Fault{Op: enginetest.Commit, On: bad, Err: errBroken})
		h.start()
		h.do(h.backup(`{"containers": {"all": true}}`))
		h.want("backup.accepted "+jobID, "backup.item.completed a", "backup.item.failed b", "backup.item.completed c",
			"backup.completed "+jobID, "done 1")
		ended := h.ended()
		if ended.Status != events.StatusPartial || ended.Counts != (events.Counts{Items: 3, Completed: 2, Failed: 1}) {
			h.Errorf("it ended as %+v", ended)
		}
		if o := ended.Items[1]; o.Item.Name != "b" || o.Status != events.ItemFailed || o.Code != events.CodeEngine || o.Point != "" {
			h.Errorf("the item ended as %+v", o)
		}
		var failed events.BackupItemFailed
		if err := h.server.published()[2].DataAs(&failed); err != nil || !failed.Retryable || failed.Step != events.StepCommit {
			h.Errorf("it failed as %+v, %v", failed, err)
		}
	})
}

func TestBackupToASinkThatIsAway(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.container("web")
		h.worker.Sinks = sinks{events.DefaultSink: nil}
		h.start()
		h.do(h.backup(`{"containers": {"all": true}}`))
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
		h.worker.Sinks = sinks{events.DefaultSink: h.sink, "other": other}
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
			h.engine.Add(enginetest.Spec{Name: "b", Image: baseImage, Labels: map[string]string{backup.LabelQuiesce: "never"}}, events.StateRunning)
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
			h.engine.Plan(enginetest.Fault{Op: enginetest.Commit, On: bad, Err: errBroken})
			h.start()
			h.do(h.backup(fmt.Sprintf(aborting, "")))
			h.want("backup.accepted "+jobID, "backup.item.completed a", "backup.item.failed b", "backup.failed "+jobID, "done 1")
			if ended := h.ended(); ended.Status != events.StatusFailed || ended.Counts != (events.Counts{Items: 3, Completed: 1, Failed: 1, Skipped: 1}) {
				h.Errorf("it ended as %+v", ended)
			}
		})
	})
	t.Run("something fails while others run", func(t *testing.T) {
		withHost(t, 2, func(h *host) {
			bad := h.container("a")
			slow := h.container("b")
			h.container("c")
			h.engine.Plan(enginetest.Fault{Op: enginetest.Commit, On: bad, Err: errBroken},
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
		var planned events.BackupPlanned
		h.last(&planned)
		if len(planned.Items) != 1 || len(planned.Missing) != 1 || len(planned.Excluded) != 1 || planned.Excluded[0].Name != "b" {
			h.Errorf("the plan is %+v", planned)
		}
	})
}

func TestReject(t *testing.T) {
	type request struct {
		subject string
		headers map[string][]string
		body    string
		time    time.Duration // before now
		reason  events.Reason
		silent  bool
	}
	cases := map[string]request{
		"an unknown sink":        {events.HostSubject(events.Backup, testHost), headers(), `{"containers": {"all": true}, "sink": "other"}`, 0, events.ReasonUnknownSink, false},
		"a mode of no host":      {events.HostSubject(events.Backup, testHost), headers(), `{"containers": {"all": true}, "quiesce": "stop"}`, 0, events.ReasonPolicy, false},
		"a cancel of no job":     {events.HostSubject(events.Cancel, testHost), headers("ce-type", events.Cancel.RequestType()), `{"job": "abcdefghijklmn27"}`, 0, events.ReasonNoSuchJob, false},
		"a broadcast, too late":  {events.AllSubject(events.Backup), headers(), allContainers, 2 * time.Hour, events.ReasonExpired, false},
		"a body that is too big": {events.HostSubject(events.Backup, testHost), nil, strings.Repeat("x", maxDeadBody+1), 0, events.ReasonMalformed, true},
	}
	for name, c := range badMessages {
		if c.now == 0 && c.reason != events.ReasonExpired {
			cases[name] = request{c.subject, c.headers, c.body, 0, c.reason, c.silent}
		}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			withHost(t, 1, func(h *host) {
				h.container("web")
				h.start()
				h.do(h.deliver(&bus.Message{Subject: c.subject, Headers: c.headers, Body: []byte(c.body), Time: time.Now().Add(-c.time)}))
				job := jobID
				if strings.HasSuffix(c.subject, ".any") {
					job = events.JobID("/test", "id-1", events.HostAny)
				}
				want := []string{"dead letter 1: " + string(c.reason), "rejected as " + string(c.reason) + " 1"}
				if !c.silent {
					want = slices.Insert(want, 0, "request.rejected "+job)
				}
				h.want(want...)
				h.wantUntouched()
				if !c.silent {
					var rejected events.RequestRejected
					h.last(&rejected)
					if rejected.Reason != c.reason || rejected.Job != job || len(rejected.Errors) == 0 || rejected.Host != testHost {
						h.Errorf("it was rejected as %+v", rejected)
					}
				}
				letter := h.server.letters[0]
				if letter.Size != int64(len(c.body)) || string(letter.Body) != c.body[:min(len(c.body), maxDeadBody)] ||
					letter.Subject != c.subject || letter.Stream != events.StreamRequests || len(letter.Errors) == 0 {
					h.Errorf("the dead letter is %+v", letter)
				}
			})
		})
	}
}

func TestRejectWithManyHeaders(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.start()
		h.do(h.deliver(&bus.Message{Subject: "holdfast.req.backup.host." + testHost, Body: []byte("x"),
			Headers: map[string][]string{"X": {strings.Repeat("x", maxDeadBody+1)}}}))
		if letter := h.server.letters[0]; letter.Headers != nil {
			h.Errorf("the dead letter keeps %d headers", len(letter.Headers))
		}
	})
}

// What could not be stored is done again: a request is neither lost nor settled
// before its answer is there.
func TestPublishingFails(t *testing.T) {
	cases := map[string]struct {
		bad  bool // the request
		what string
		want []string
	}{
		"the answer to a bad request": {true, "request.rejected", nil},
		"a dead letter":               {true, "dead letter", []string{"request.rejected " + jobID}},
		"accepted":                    {false, "backup.accepted", nil},
		"an item that failed":         {false, "backup.item.failed", []string{"backup.accepted " + jobID}},
		"an item": {false, "backup.item.completed", []string{"backup.accepted " + jobID,
			"backup.item.failed gone"}},
		"the end": {false, "backup.completed", []string{"backup.accepted " + jobID,
			"backup.item.failed gone", "backup.item.completed web"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			withHost(t, 1, func(h *host) {
				h.container("web")
				h.server.refuse = func(_ context.Context, what string) error {
					if what == c.what {
						return errBroken
					}
					return nil
				}
				h.start()
				data := `{"containers": {"names": ["web", "gone"]}}`
				if c.bad {
					data = "{}"
				}
				s := h.do(h.backup(data))
				h.want(append(c.want, "later 1")...)
				if s.delay < putOffDelay || s.delay >= 2*putOffDelay {
					h.Errorf("it comes again after %s", s.delay)
				}
			})
		})
	}
}

// A server that is away for a while only takes time.
func TestPublishingWaits(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.container("web")
		h.server.refuse = func(ctx context.Context, _ string) error {
			select {
			case <-time.After(time.Minute):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		h.start()
		h.do(h.backup(allContainers))
		h.want("backup.accepted "+jobID, "backup.item.completed web", "backup.completed "+jobID, "done 1")
	})
}

func TestEngineAway(t *testing.T) {
	for _, data := range []string{allContainers, `{"images": {"all": true}}`} {
		withHost(t, 1, func(h *host) {
			h.engine.SetAway(true)
			h.start()
			s := h.do(h.backup(data))
			h.want("later 1")
			if s.delay < putOffDelay || s.delay >= 2*putOffDelay {
				h.Errorf("it comes again after %s", s.delay)
			}
		})
	}
}

// hang has the save of a container wait until it is cancelled.
func (h *host) hang(name string) (id string) {
	id = h.container(name)
	h.engine.Plan(enginetest.Fault{Op: enginetest.Save, Cut: 512, Hang: true, Times: -1})
	return id
}

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
				h.want("backup.accepted "+jobID, "done 2", "backup.item.failed a", "backup.failed "+jobID, "done 1")
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
		h.want("done 2", "backup.failed "+jobID, "done 1")
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

// A host that does not have the job passes over a cancellation that was sent to
// all.
func TestCancelElsewhere(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.start()
		cancel := h.message(events.Cancel, `{"job": "abcdefghijklmn27"}`)
		cancel.Subject = events.AllSubject(events.Cancel)
		<-h.send(h.cancels, cancel).settled
		h.want("done 1")
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
			if s.delay < stoppedDelay || s.delay >= 2*stoppedDelay {
				h.Errorf("it comes again after %s", s.delay)
			}
			h.wantUndone(id)
		})
	})
	t.Run("a commit is waited for", func(t *testing.T) {
		withHost(t, 1, func(h *host) {
			id := h.container("web")
			h.engine.Plan(enginetest.Fault{Op: enginetest.Commit, During: func() { time.Sleep(3 * grace) }})
			h.start()
			h.send(h.work, h.backup(allContainers))
			synctest.Wait()
			began := time.Now()
			h.end()
			if took := time.Since(began); took != 3*grace {
				h.Errorf("it took %s, want %s", took, 3*grace)
			}
			h.want("backup.accepted "+jobID, "later 1")
			h.wantUndone(id)
		})
	})
	t.Run("what waits for a slot is not begun", func(t *testing.T) {
		withHost(t, 1, func(h *host) {
			h.container("web")
			h.start()
			h.worker.Slots.TryAcquire()
			synctest.Wait()
			select {
			case h.work.messages <- h.backup(allContainers):
				h.Error("a message was taken without a free slot")
			default:
			}
			h.worker.Slots.Release()
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
			got := h.server.lines()
			slices.Sort(got)
			if !slices.Equal(got, []string{"later 1", "later 2"}) {
				h.Errorf("it happened %q, want both to come again", got)
			}
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

		h.stopped = make(chan struct{})
		h.worker = &Worker{Host: h.worker.Host, Backuper: h.worker.Backuper, Sinks: h.worker.Sinks, Policy: h.worker.Policy,
			Lifeline: h.worker.Lifeline, Publisher: h.server, Slots: NewSlots(1), Log: h.worker.Log}
		h.start()
		h.do(h.again(first))
		h.want("backup.accepted "+jobID, "backup.item.completed a", "later 1",
			"backup.accepted "+jobID, "backup.item.completed a", "backup.item.completed b", "backup.completed "+jobID, "done 1")
		if commits := h.engine.Calls(enginetest.Commit); commits != 3 {
			h.Errorf("there were %d commits, want 2 and 1", commits)
		}
	})
}

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
		if again.delay < duplicateDelay || again.delay >= 2*duplicateDelay {
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
		from := sourceFunc(func(ctx context.Context) (*bus.Message, error) {
			select {
			case <-taken:
				<-ctx.Done()
				return nil, ctx.Err()
			default:
			}
			close(taken)
			h.worker.Slots.TryAcquire()
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
		h.worker.Slots.Release()
	})
}

type sourceFunc func(ctx context.Context) (*bus.Message, error)

func (f sourceFunc) Next(ctx context.Context) (*bus.Message, error) { return f(ctx) }

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

// Progress is published at most twice a second for an item, and nobody depends on
// it.
func TestProgress(t *testing.T) {
	withHost(t, 1, func(h *host) {
		w := h.worker
		j := &job{Worker: w, request: &request{event: event.New(), job: jobID}}
		report := j.progress(events.Item{Kind: events.ItemContainer, ID: "c", Name: "web"})
		for i := range int64(100) { // in ten seconds
			report(events.StepSave, i, 100, i/2)
			time.Sleep(100 * time.Millisecond)
		}
		if n := len(h.server.progress); n != 20 {
			h.Errorf("there were %d reports in ten seconds", n)
		}
		var data events.BackupProgress
		if err := h.server.progress[1].DataAs(&data); err != nil || data.Bytes != 5 || data.TotalBytes != 100 || data.StoredBytes != 2 || data.Step != events.StepSave {
			h.Errorf("the second is %+v, %v", data, err)
		}
	})
}

// The worker's own lifeline is asked for each job, and protects.
func TestLifeline(t *testing.T) {
	withHost(t, 1, func(h *host) {
		id := h.container("self")
		h.worker.Lifeline = func(context.Context) backup.Lifeline { return backup.Lifeline{Self: id} }
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
