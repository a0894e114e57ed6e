package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/job/backupjob"
)

// pruneAfter has a prune follow every backup.
var pruneAfter = &backupjob.PruneAfter{Keep: events.Keep{Last: 3}, Grace: "24h0m0s"}

// prunes are the requests to prune that were published, by their ids.
func (h *host) prunes() map[string]events.PruneRequest {
	h.Helper()
	requests := map[string]events.PruneRequest{}
	for _, ev := range h.server.published() {
		if ev.Type() != events.Prune.RequestType() {
			continue
		}
		r, err := events.ParsePruneRequest(ev.Data())
		if err != nil {
			h.Fatalf("the request %s would be rejected: %v", ev.Data(), err)
		}
		if before, again := requests[ev.ID()]; again {
			old, _ := json.Marshal(before)
			now, _ := json.Marshal(r)
			if string(old) != string(now) {
				h.Errorf("the request %s was %s and is %s", ev.ID(), old, now)
			}
		}
		requests[ev.ID()] = *r
	}
	return requests
}

// A prune follows a backup, of what that has stored and of nothing else. It is asked
// for before the backup's own request is acknowledged, and again, as the same, when
// that comes again.
func TestPruneFollowsBackup(t *testing.T) {
	withHost(t, 2, func(h *host) {
		h.backups.PruneAfter = pruneAfter
		h.container("b")
		h.container("a")
		broken := h.container("c")
		h.engine.Plan(enginetest.Fault{Op: enginetest.Commit, On: broken, Times: 3, Err: errBroken})
		h.start()
		d := h.backup(`{"containers": {"all": true}, "images": {"all": true}}`)
		h.do(d)
		h.doAgain(d)
		requests := h.prunes()
		if len(requests) != 2 {
			t.Fatalf("the requests are %+v", requests)
		}
		for id, r := range requests {
			if r.Keep.Last != 3 || r.Grace != "24h0m0s" || r.Sink != events.DefaultSink || !slices.Equal(r.Hosts, []string{testHost}) {
				t.Errorf("%s is %+v", id, r)
			}
			if c := r.Containers; c != nil && !slices.Equal(c.Names, []string{"a", "b"}) || r.Images != nil && !slices.Equal(r.Images.Names, []string{baseImage}) {
				t.Errorf("%s is of %+v and %+v", id, r.Containers, r.Images)
			}
		}
		lines := h.server.lines()
		end := slices.IndexFunc(lines, func(l string) bool { return l[:min(len(l), 16)] == "backup.completed" })
		ask := slices.IndexFunc(lines, func(l string) bool { return l[:min(len(l), 15)] == "prune.requested" })
		settled := slices.IndexFunc(lines, func(l string) bool { return l == "done 1" })
		if end < 0 || ask < end || settled < ask {
			t.Errorf("it happened %q", lines)
		}
	})
}

// Nothing follows a dry run, nor a job that stored nothing; and what cannot be asked
// for costs the backup nothing.
func TestPruneDoesNotFollow(t *testing.T) {
	withHost(t, 2, func(h *host) {
		h.backups.PruneAfter = pruneAfter
		h.container("a")
		h.start()
		h.do(h.backup(`{"containers": {"all": true}, "dryRun": true}`))
		h.do(h.backup(`{"containers": {"names": ["none"]}}`, "ce-id", "second"))
		if requests := h.prunes(); len(requests) != 0 {
			t.Errorf("the requests are %+v", requests)
		}
		h.server.refuse = func(_ context.Context, what string) error {
			if what == "prune.requested" {
				return errors.New("permission denied")
			}
			return nil
		}
		h.do(h.backup(`{"containers": {"all": true}}`, "ce-id", "third"))
		if end := h.ended(); end.Status != events.StatusSucceeded {
			t.Errorf("the backup ended as %+v", end)
		}
	})
}
