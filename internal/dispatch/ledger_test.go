package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus/consume"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/lease"
	"holdfast.io/holdfast/internal/ledger"
	"holdfast.io/holdfast/internal/plan"
	"holdfast.io/holdfast/internal/undo"
)

// wantRepeated: the events from the given one on are those before it, word for
// word.
func (h *host) wantRepeated(from int) {
	h.Helper()
	all := h.server.published()
	if len(all) != 2*from {
		h.Fatalf("%d events follow %d", len(all)-from, from)
	}
	for i, ev := range all[:from] {
		if again := all[from+i]; !reflect.DeepEqual(again, ev) {
			h.Errorf("%s was repeated as\n%s\nafter\n%s", ev.ID(), again, ev)
		}
	}
}

// A request that was published again has a message, a time and a delivery of its
// own, and changes nothing.
func TestTheSameRequestIsRepeatedWordForWord(t *testing.T) {
	for name, data := range map[string]string{
		"a job":       `{"containers": {"names": ["web", "gone"]}, "tags": {"html": "<a> & b"}}`,
		"a dry run":   `{"containers": {"all": true}, "dryRun": true}`,
		"a rejection": `{"containers": {"all": true}, "sink": "nowhere"}`,
	} {
		t.Run(name, func(t *testing.T) {
			withHost(t, 1, func(h *host) {
				h.container("web")
				h.start()
				h.do(h.backup(data))
				n := len(h.server.published())
				commits := h.engine.Calls(enginetest.Commit)
				time.Sleep(time.Hour)
				h.container("new") // the plan stands
				h.do(h.backup(data))
				h.wantRepeated(n)
				if h.engine.Calls(enginetest.Commit) != commits {
					h.Error("it was committed again")
				}
			})
		})
	}
}

func TestTheSameIDWithOtherData(t *testing.T) {
	other := `{"containers": {"names": ["web"]}}`
	withHost(t, 2, func(h *host) {
		id := h.container("web")
		h.engine.Plan(enginetest.Fault{Op: enginetest.Commit, On: id, During: func() { time.Sleep(time.Minute) }})
		h.start()
		running := h.send(h.work, h.backup(allContainers))
		synctest.Wait()
		h.do(h.backup(other))
		<-running.settled
		h.do(h.backup(other)) // after its end
		h.want("backup.accepted "+jobID,
			"request.rejected "+jobID, "dead letter 2: id_reused", "rejected as id_reused 2",
			"backup.item.completed web", "backup.completed "+jobID, "done 1",
			"request.rejected "+jobID, "dead letter 3: id_reused", "rejected as id_reused 3")
		all := h.server.published()
		if all[1].ID() == all[3].ID() {
			h.Errorf("the rejection has the id of the job's end: %s", all[1].ID())
		}
		synctest.Wait()
		h.do(h.backup(allContainers)) // and the job is repeated as it was
		if got := len(h.server.published()); got != len(all)+3 {
			h.Errorf("%d events repeat the job, want 3", got-len(all))
		}
	})
}

// What one worker has entered, the next one repeats, and it does the rest.
func TestAJobIsCarriedOnByAnotherWorker(t *testing.T) {
	for _, lost := range []string{"backup.accepted", "backup.item.completed", "backup.completed"} {
		t.Run(lost, func(t *testing.T) {
			withHost(t, 1, func(h *host) {
				h.container("web")
				died := make(chan struct{})
				h.server.refuse = func(ctx context.Context, what string) error {
					if what == lost {
						close(died)
						<-ctx.Done() // it is frozen, and stays so
						return context.Cause(ctx)
					}
					return nil
				}
				ctx, lose := context.WithCancelCause(h.Context())
				h.stop = func() { lose(lease.ErrLost) }
				h.stopped = make(chan struct{})
				stopped, first := h.stopped, h.worker
				go func() {
					defer close(stopped)
					first.Run(ctx, []Source{h.work}, []Source{h.cancels}, grace)
				}()
				m := h.backup(allContainers)
				h.send(h.work, m)
				<-died
				lose(lease.ErrLost)
				<-stopped
				before := h.server.lines()
				h.server.refuse = nil
				h.worker = h.newWorker("b")
				h.start()
				h.doAgain(m)
				h.want(append(before, "backup.accepted "+jobID, "backup.item.completed web", "backup.completed "+jobID, "done 1")...)
				if commits := h.engine.Calls(enginetest.Commit); commits != 1 {
					h.Errorf("there were %d commits", commits)
				}
				byID := map[string]event.Event{}
				for _, ev := range h.server.published() {
					if first, again := byID[ev.ID()]; again && !reflect.DeepEqual(first, ev) {
						h.Errorf("%s was published as\n%s\nand as\n%s", ev.ID(), first, ev)
					}
					byID[ev.ID()] = ev
				}
			})
		})
	}
}

// A worker that lost the lease says nothing, and acknowledges nothing.
func TestWhoLostTheHostSaysNothing(t *testing.T) {
	withHost(t, 1, func(h *host) {
		id := h.container("web")
		lostIt := false
		h.runner.Lease = leaseFunc(func(context.Context) error {
			if lostIt {
				return lease.ErrLost
			}
			return nil
		})
		h.engine.Plan(enginetest.Fault{Op: enginetest.Save, During: func() { lostIt = true }})
		h.start()
		s := h.send(h.work, h.backup(allContainers))
		time.Sleep(time.Hour)
		h.want("backup.accepted " + jobID)
		select {
		case <-s.settled:
			h.Error("the message was settled")
		default:
		}
		if state := h.engine.State(id); state != events.StateRunning {
			h.Errorf("the container is %s", state)
		}
	})
}

type leaseFunc func(ctx context.Context) error

func (f leaseFunc) Confirm(ctx context.Context) error { return f(ctx) }

// A plan that a newer version made is left to that version.
func TestThePlanOfANewerVersion(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.container("web")
		m := h.backup(allContainers)
		claim, err := h.runner.Jobs.Claim(h.Context(), ledger.Request{Job: jobID, Digest: digestOf(h, m), Stored: m.Time})
		if err == nil {
			err = claim.SetPlan(h.Context(), []byte(`{"version": 99}`))
		}
		if err != nil {
			h.Fatal(err)
		}
		h.start()
		h.do(m)
		h.want("later 1")
		h.wantUntouched()
	})
}

// A worker that dies three times at an item gives it up, and does the others.
func TestThreeDeathsAtAnItem(t *testing.T) {
	withHost(t, 1, func(h *host) {
		id := h.container("deadly")
		h.container("web")
		m := h.backup(allContainers)
		for range job.MaxTries { // each dies in the midst of the first item
			claim, err := h.runner.Jobs.Claim(h.Context(), ledger.Request{Job: jobID, Digest: digestOf(h, m), Stored: m.Time})
			if err != nil {
				h.Fatal(err)
			}
			if claim.New() {
				h.enterPlan(claim)
			}
			raw, err := json.Marshal(undo.Record{Version: undo.Version, ID: undo.ID("p", claim.Attempt()), Job: jobID, Attempt: claim.Attempt(),
				Item:    events.Item{Kind: events.ItemContainer, ID: id, Name: "deadly"},
				Actions: []undo.Action{{RemoveImage: &undo.Image{Reference: "holdfast/snapshot:p"}}}})
			if err == nil {
				err = claim.Begin(h.Context(), 0, raw)
			}
			if err != nil {
				h.Fatal(err)
			}
		}
		h.start()
		h.do(m)
		h.want("backup.accepted "+jobID, "backup.item.failed deadly", "backup.item.completed web", "backup.completed "+jobID, "done 1")
		if o := h.ended().Items[0]; o.Code != events.CodeGaveUp {
			h.Errorf("the item ended as %+v", o)
		}
	})
}

func digestOf(h *host, m *consume.Message) string {
	h.Helper()
	r, rejection := admit(m, testHost, testKinds)
	if rejection != nil {
		h.Fatal(rejection.violations)
	}
	return r.Digest
}

// enterPlan enters the plan of all containers.
func (h *host) enterPlan(claim *ledger.Claim) {
	h.Helper()
	containers, err := h.engine.Containers(h.Context())
	if err != nil {
		h.Fatal(err)
	}
	req, err := events.ParseBackupRequest([]byte(allContainers))
	if err != nil {
		h.Fatal(err)
	}
	raw, err := json.Marshal(plan.Make(time.Now(), req, plan.Inventory{Containers: containers}, plan.Rules{Quiesce: h.backups.Policy.Quiesce}))
	if err == nil {
		err = claim.SetPlan(h.Context(), raw)
	}
	if err != nil {
		h.Fatal(err)
	}
}

func TestTheLedgerIsAwayForAWhile(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.container("web")
		h.start()
		h.store.SetAway(true)
		s := h.send(h.work, h.backup(allContainers))
		time.Sleep(10 * time.Minute)
		h.want()
		h.store.SetAway(false)
		<-s.settled
		h.want("backup.accepted "+jobID, "backup.item.completed web", "backup.completed "+jobID, "done 1")
	})
}

// The Engine is away in the midst of a job, which goes on when it is back.
func TestEngineAwayInTheMidst(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.container("a")
		id := h.container("b")
		h.engine.Plan(enginetest.Fault{Op: enginetest.Commit, On: id, Err: engine.ErrEngineUnavailable})
		h.start()
		m := h.backup(allContainers)
		h.do(m)
		h.doAgain(m)
		h.want("backup.accepted "+jobID, "backup.item.completed a", "later 1",
			"backup.accepted "+jobID, "backup.item.completed a", "backup.item.completed b", "backup.completed "+jobID, "done 1")
		if ended := h.ended(); ended.Status != events.StatusSucceeded {
			h.Errorf("it ended as %+v", ended)
		}
	})
}

func TestPolicy(t *testing.T) {
	for name, c := range map[string]struct {
		change func(h *host)
		data   string
		want   string
	}{
		"a kind": {func(h *host) { h.worker.Allowed = []events.Kind{events.Cancel} }, allContainers, "policy.kinds"},
		"a sink": {func(h *host) { h.backups.SinkPolicy.Allowed = []string{"other"} }, allContainers, "policy.sinks"},
		"a mode": {func(h *host) { h.backups.Policy.Quiesce = []events.Quiesce{events.QuiesceNone} },
			`{"containers": {"all": true}, "quiesce": "pause"}`, "policy.quiesce"},
	} {
		t.Run(name, func(t *testing.T) {
			withHost(t, 1, func(h *host) {
				h.container("web")
				c.change(h)
				h.start()
				h.do(h.backup(c.data))
				h.want("request.rejected "+jobID, "dead letter 1: policy", "rejected as policy 1")
				h.wantUntouched()
				var data events.RequestRejected
				h.last(&data)
				if len(data.Errors) != 1 || !strings.Contains(data.Errors[0].Message, c.want) {
					h.Errorf("it says %+v, want the setting %s", data.Errors, c.want)
				}
			})
		})
	}
}

// A container whose image, or whose own document, cannot be read does not cost a job
// that backs up others; but where it may use another one's namespaces, that is not
// stopped.
func TestAnotherContainerThatCannotBeRead(t *testing.T) {
	for quiesce, want := range map[events.Quiesce][]string{
		events.QuiescePause: {"backup.item.completed b", "backup.completed " + jobID},
		events.QuiesceStop:  {"backup.item.failed b", "backup.failed " + jobID},
	} {
		t.Run(string(quiesce), func(t *testing.T) {
			withHost(t, 1, func(h *host) {
				h.backups.Policy.Quiesce = []events.Quiesce{quiesce}
				a := h.engine.Add(enginetest.Spec{Name: "a", Image: baseImage, Labels: map[string]string{"holdfast.exclude": "false"}}, events.StateRunning)
				h.container("b")
				h.engine.Plan(enginetest.Fault{Op: enginetest.InspectImage, Err: errors.New("layer does not exist")})
				if quiesce == events.QuiesceStop {
					h.engine.Plan(enginetest.Fault{Op: enginetest.Inspect, On: a, Err: errors.New("broken")})
				}
				h.start()
				h.do(h.backup(`{"containers": {"names": ["b"]}, "quiesce": "` + string(quiesce) + `"}`))
				h.want(append(append([]string{"backup.accepted " + jobID}, want...), "done 1")...)
			})
		})
	}
}
