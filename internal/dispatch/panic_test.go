package dispatch

import (
	"context"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/ledger"
)

// panicking is an Engine whose answers about one container the program cannot stand.
type panicking struct {
	*enginetest.Fake
	on string // the container's id
	// what panics: "list", "inspect", "commit" or "save"
	what string
}

func (p panicking) fault(what, id string) {
	if p.what == what && (id == p.on || what == "list") {
		var d *engine.ContainerDetail
		d.Name = "nothing is there"
	}
}

func (p panicking) Containers(ctx context.Context) ([]engine.Container, error) {
	p.fault("list", "")
	return p.Fake.Containers(ctx)
}

func (p panicking) Inspect(ctx context.Context, id string) (*engine.ContainerDetail, error) {
	p.fault("inspect", id)
	return p.Fake.Inspect(ctx, id)
}

func (p panicking) Commit(ctx context.Context, id string, o engine.CommitOptions) (string, error) {
	p.fault("commit", id)
	return p.Fake.Commit(ctx, id, o)
}

// A panic costs the item that it meets, and nothing else; nothing is left standing.
func TestAPanicCostsOneItem(t *testing.T) {
	for _, what := range []string{"inspect", "commit"} {
		for name, data := range map[string]string{"one by one": allContainers, "together": allTogether} {
			t.Run(what+" "+name, func(t *testing.T) {
				withHost(t, 2, func(h *host) {
					h.container("a")
					bad := h.container("bad")
					h.container("c")
					h.backups.Runner.Engine = panicking{h.engine, bad, what}
					h.start()
					s := h.do(h.backup(data))
					time.Sleep(time.Hour)
					ended := h.ended()
					if s.verb != "done" || len(ended.Items) != 3 {
						t.Fatalf("the message was settled with %s, and the job ended as %+v", s.verb, ended)
					}
					if o := ended.Items[1]; o.Status != events.OutcomeFailed || data == allContainers && o.Code != events.CodeInternal {
						t.Errorf("the item ended as %+v", o)
					}
					if stored := ended.Counts.Completed; data == allContainers && stored != 2 {
						t.Errorf("%d of the others are stored", stored)
					}
					if state := h.engine.State(bad); state != events.StateRunning {
						t.Errorf("the container is %s", state)
					}
					for _, ev := range h.server.published() {
						if strings.Contains(string(ev.Data()), "goroutine") {
							t.Errorf("%s has the stack", ev.Type())
						}
					}
					h.backups.Runner.Engine = h.engine // what it held, it holds no more
					h.do(h.backup(allContainers, "ce-id", "id-2"))
					if ended := h.ended(); ended.Status != events.StatusSucceeded {
						t.Errorf("the next job ended as %+v", ended)
					}
				})
			})
		}
	}
}

func TestAPanicInPlanningEndsTheJob(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.backups.Runner.Engine = panicking{h.engine, "", "list"}
		h.start()
		h.do(h.backup(allContainers))
		h.want("backup.failed "+jobID, "done 1")
		if ended := h.ended(); !strings.Contains(ended.Message, "fault of Holdfast") {
			t.Errorf("it says %q", ended.Message)
		}
	})
}

// A worker that dies three times before a job has a plan gives it up.
func TestThreeDeathsBeforeThePlan(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.container("web")
		m := h.backup(allContainers)
		for range job.MaxTries {
			if _, err := h.runner.Jobs.Claim(h.Context(), ledger.Request{Job: jobID, Digest: digestOf(h, m), Stored: m.Time}); err != nil {
				t.Fatal(err)
			}
		}
		h.start()
		h.do(m)
		h.want("backup.failed "+jobID, "done 1")
	})
}

// A worker that dies as it inspects an item has begun it.
func TestAnItemIsBegunBeforeItIsInspected(t *testing.T) {
	withHost(t, 1, func(h *host) {
		id := h.container("web")
		begun := map[int]ledger.Begun{}
		h.engine.Plan(enginetest.Fault{Op: enginetest.Inspect, On: id, During: func() {
			begun, _ = h.runner.Jobs.Begun(context.Background(), jobID)
		}})
		h.start()
		h.do(h.backup(allContainers))
		if begun[0].Tries != 1 {
			t.Errorf("begun are %+v", begun)
		}
	})
}
