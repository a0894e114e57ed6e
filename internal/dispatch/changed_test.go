package dispatch

import (
	"context"
	"testing"

	"holdfast.io/holdfast/events"
)

// What happens to a container between the plan and its turn.
func TestTheHostChangesAfterThePlan(t *testing.T) {
	const (
		named   = `{"containers": {"names": ["job", "web"]}}`
		matched = `{"containers": {"match": ["^job", "^web"]}}`
		strict  = `{"containers": {"match": ["^job", "^web"]}, "abortOnError": true}`
		joined  = `{"containers": {"match": ["^job", "^web"]}, "together": true}`
		joinedN = `{"containers": {"names": ["job", "web"]}, "together": true}`
	)
	remove := func(h *host, id string) { h.engine.Remove(id) }
	replace := func(h *host, id string) { h.engine.Remove(id); h.container("job") }
	removing := func(h *host, id string) { h.engine.Set(id, events.StateRemoving) }
	dead := func(h *host, id string) { h.engine.Set(id, events.StateDead) }
	restart := func(h *host, id string) { h.engine.Restart(id) }
	for name, c := range map[string]struct {
		data      string
		change    func(h *host, id string)
		code      events.Code // of the changed container; empty if it is stored
		retryable bool
		others    bool // the other one is stored
		status    events.Status
	}{
		"named and removed":               {named, remove, events.CodeNotFound, false, true, events.StatusPartial},
		"named and replaced":              {named, replace, events.CodeReplaced, true, true, events.StatusPartial},
		"named and being removed":         {named, removing, events.CodeUncommittable, false, true, events.StatusPartial},
		"found and removed":               {matched, remove, events.CodeGone, false, true, events.StatusSucceeded},
		"found and removed, and to abort": {strict, remove, events.CodeGone, false, true, events.StatusSucceeded},
		"found and replaced":              {matched, replace, events.CodeReplaced, true, true, events.StatusPartial},
		"found and being removed":         {matched, removing, events.CodeGone, false, true, events.StatusSucceeded},
		"found and dead":                  {matched, dead, events.CodeGone, false, true, events.StatusSucceeded},
		"found and restarted":             {matched, restart, "", false, true, events.StatusSucceeded},
		"together, found and removed":     {joined, remove, events.CodeGone, false, true, events.StatusSucceeded},
		"together, found and replaced":    {joined, replace, events.CodeReplaced, true, false, events.StatusFailed},
		"together, named and removed":     {joinedN, remove, events.CodeNotFound, false, false, events.StatusFailed},
	} {
		t.Run(name, func(t *testing.T) {
			withHost(t, 1, func(h *host) {
				id := h.container("job")
				h.container("web")
				changed := false
				h.server.refuse = func(_ context.Context, what string) error {
					if what == "backup.accepted" && !changed {
						changed = true
						c.change(h, id)
					}
					return nil
				}
				h.start()
				m := h.backup(c.data)
				h.do(m)
				ended := h.ended()
				if ended.Status != c.status || len(ended.Items) != 2 {
					t.Fatalf("it ended as %+v", ended)
				}
				job, web := ended.Items[0], ended.Items[1]
				if job.Code != c.code || (job.Status == events.OutcomeSkipped) != (c.code == events.CodeGone) {
					t.Errorf("the container ended as %+v", job)
				}
				if (web.Status == events.OutcomeCompleted) != c.others {
					t.Errorf("the other container ended as %+v", web)
				}
				if gone := ended.Counts.Gone; gone != ended.Counts.Skipped || gone == 1 != (c.code == events.CodeGone) {
					t.Errorf("the counts are %+v", ended.Counts)
				}
				for _, ev := range h.server.published() {
					var failed events.ItemFailed
					if events.ResultOf(ev.Type()) == events.ResultItemFailed && ev.DataAs(&failed) == nil &&
						failed.Code == c.code && failed.Retryable != c.retryable {
						t.Errorf("%+v is retryable: %v", failed, failed.Retryable)
					}
				}
				n := len(h.server.published())
				h.doAgain(m)
				h.wantRepeated(n)
			})
		})
	}
}

func TestAnImageIsRemovedAfterThePlan(t *testing.T) {
	for data, want := range map[string]events.Code{
		`{"images": {"match": ["^old"]}}`:       events.CodeGone,
		`{"images": {"names": ["old:latest"]}}`: events.CodeNotFound,
	} {
		withHost(t, 1, func(h *host) {
			id := h.engine.AddImage("old:latest")
			h.server.refuse = func(ctx context.Context, what string) error {
				if what == "backup.accepted" {
					_ = h.engine.RemoveImage(ctx, "old:latest")
				}
				return nil
			}
			h.start()
			h.do(h.backup(data))
			if o := h.ended().Items[0]; o.Code != want || o.Item.ID != id {
				t.Errorf("%s ended as %+v, want %s", data, o, want)
			}
		})
	}
}
