package dispatch

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus/consume"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/job"
)

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
		"an unknown sink": {events.HostSubject(events.Backup, testHost), headers(),
			`{"containers": {"all": true}, "sink": "other"}`, 0, events.ReasonUnknownSink, false},
		"a mode of no host": {events.HostSubject(events.Backup, testHost), headers(),
			`{"containers": {"all": true}, "quiesce": "stop"}`, 0, events.ReasonPolicy, false},
		"a broadcast, too late": {events.AllSubject(events.Backup), headers(), allContainers, 2 * time.Hour, events.ReasonExpired, false},
		"a body that is too big": {events.HostSubject(events.Backup, testHost), nil, strings.Repeat("x", maxDeadBody+1), 0,
			events.ReasonMalformed, true},
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
				h.do(h.deliver(&consume.Message{Subject: c.subject, Headers: c.headers, Body: []byte(c.body), Time: time.Now().Add(-c.time)}))
				job := jobID
				if strings.HasSuffix(c.subject, ".any") {
					job = events.JobID("/test", "id-1", events.HostAny)
					// Another host that takes the message finds what stands there.
					if _, _, err := h.store.Get(h.Context(), "any."+job+".job"); err != nil {
						h.Error(err)
					}
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
		h.do(h.deliver(&consume.Message{Subject: "holdfast.req.backup.host." + testHost, Body: []byte("x"),
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
				if s.delay < job.RetryDelay || s.delay >= 2*job.RetryDelay {
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
			if s.delay < job.RetryDelay || s.delay >= 2*job.RetryDelay {
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
