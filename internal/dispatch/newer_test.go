package dispatch

import (
	"context"
	"fmt"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/ledger"
)

// A job of which a newer version wrote the plan is left to it: nothing is published,
// and what the ledger has stays as it is.
func TestAPlanOfANewerVersion(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.container("web")
		m := h.backup(allContainers)
		claim, err := h.runner.Jobs.Claim(h.Context(), ledger.Request{Job: jobID, Digest: digestOf(h, m), Stored: m.Time})
		if err == nil {
			err = claim.SetPlan(h.Context(), []byte(`{"version":99,"steps":["new"]}`))
		}
		if err != nil {
			t.Fatal(err)
		}
		h.start()
		s := h.do(m)
		if s.verb != "later" || s.delay < time.Minute {
			t.Errorf("the message was settled with %s, for %s", s.verb, s.delay)
		}
		h.want("later 1")
		h.wantUntouched()
		if raw, _, err := h.store.Get(h.Context(), testHost+"."+jobID+".plan.0"); err != nil || string(raw) != `{"version":99,"steps":["new"]}` {
			t.Errorf("the plan is %s now, %v", raw, err)
		}
	})
}

// A job of which something cannot be read ends, and is not redelivered for ever; so
// does one that was cancelled.
func TestADamagedPlanEndsTheJob(t *testing.T) {
	for _, cancelled := range []bool{false, true} {
		withHost(t, 1, func(h *host) {
			h.container("web")
			m := h.backup(allContainers)
			claim, err := h.runner.Jobs.Claim(h.Context(), ledger.Request{Job: jobID, Digest: digestOf(h, m), Stored: m.Time})
			if err == nil {
				err = claim.SetPlan(h.Context(), []byte(`{"version":`))
			}
			want := events.StatusFailed
			if cancelled && err == nil {
				want = events.StatusCancelled
				_, err = h.runner.Jobs.Cancel(h.Context(), jobID)
			}
			if err != nil {
				t.Fatal(err)
			}
			h.start()
			h.do(m)
			h.want("backup.failed "+jobID, "done 1")
			if ended := h.ended(); ended.Status != want || ended.Message == "" {
				t.Errorf("it ended as %+v", ended)
			}
		})
	}
}

// narrow is a store that takes less than any server should.
type narrow struct{ ledger.Store }

func (n narrow) Put(ctx context.Context, key string, value []byte, expected uint64, ttl time.Duration) (uint64, error) {
	if len(value) > 8<<10 {
		return 0, fmt.Errorf("%d bytes: %w", len(value), ledger.ErrTooLarge)
	}
	return n.Store.Put(ctx, key, value, expected, ttl)
}

// What is too large for the server is final, and ends the job.
func TestTooLargeIsFinal(t *testing.T) {
	withHost(t, 1, func(h *host) {
		for i := range 100 {
			h.container(fmt.Sprint("web", i))
		}
		h.runner.Jobs.Store = narrow{h.store}
		h.start()
		h.do(h.backup(allContainers))
		h.want("backup.failed "+jobID, "done 1")
		h.wantUntouched()
	})
}
