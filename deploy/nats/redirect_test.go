package nats_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/bus/consume"
)

// TestAnswersComeBackOnlyToTheirAsker has each user name somebody else's subject
// for the answer to what it may ask. Within one account the server would publish
// there, whatever the user's own permissions are.
func TestAnswersComeBackOnlyToTheirAsker(t *testing.T) { onBoth(t, answersComeBackOnlyToTheirAsker) }

func answersComeBackOnlyToTheirAsker(t *testing.T, f *testFleet) {
	op, other := f.connect(operator), f.connect(db01)
	f.inFlight(t)
	everything, inbox, otherInbox := op.subscribe("holdfast.>"), op.subscribe(op.NewInbox()), other.subscribe(other.NewInbox())
	otherStatus := other.subscribe("holdfast.status.db01")
	before := op.state()
	elsewhere := []string{
		"holdfast.evt.db01.job.backup.completed", "holdfast.progress.db01.job", "holdfast.dlq.db01", "holdfast.status.db01",
		"holdfast.req.backup.host.db01", "$KV.HOLDFAST_JOBS.db01.job.end", "$KV.HOLDFAST_LOCKS.db01",
		"$JS.API.CONSUMER.DELETE.HOLDFAST_REQUESTS.host_db01", "$JS.API.CONSUMER.MSG.NEXT.HOLDFAST_REQUESTS.host_db01",
		inbox.Subject, otherInbox.Subject,
	}
	for user, questions := range map[string]map[string]string{
		web01: {
			"$JS.API.CONSUMER.MSG.NEXT.HOLDFAST_REQUESTS.cancel_web01": `{"batch":1,"no_wait":true}`,
			"$JS.API.STREAM.MSG.GET.HOLDFAST_REQUESTS":                 `{"seq":1}`,
			"$JS.API.CONSUMER.INFO.HOLDFAST_REQUESTS.host_web01":       ``,
			"$JS.ACK.HOLDFAST_REQUESTS.host_web01.1.1.1.1.0":           `+WPI`,
		},
		publisher: {
			"$JS.API.STREAM.MSG.GET.HOLDFAST_EVENTS": `{"seq":1}`, "$JS.API.STREAM.NAMES": ``,
			"$JS.API.CONSUMER.INFO.HOLDFAST_REQUESTS.host_db01": ``,
		},
		observer: {"$JS.API.STREAM.MSG.GET.HOLDFAST_EVENTS": `{"seq":1}`, "$JS.API.CONSUMER.NAMES.HOLDFAST_REQUESTS": ``},
	} {
		c := f.connect(user)
		for subject, body := range questions {
			t.Run(user+"/"+subject, func(t *testing.T) {
				for _, reply := range elsewhere {
					if err := c.PublishRequest(subject, reply, []byte(body)); err != nil {
						t.Fatal(err)
					}
				}
				// The same question, asked rightly: the answers to those before are
				// on their way when this one arrives.
				if _, err := c.ask(subject, body); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
	for _, s := range []*nats.Subscription{everything, inbox, otherInbox, otherStatus} {
		silent(t, s)
	}
	if after := op.state(); !maps.Equal(before, after) {
		t.Errorf("the server held\n%v\nand now holds\n%v", before, after)
	}
}

// TestNobodyHasAnswersAcknowledge guards the one place where the answer to a
// question is passed on between accounts as it is: an acknowledgement's. An
// answer without a body, such as that there is no message, would be one.
func TestNobodyHasAnswersAcknowledge(t *testing.T) { onBoth(t, nobodyHasAnswersAcknowledge) }

func nobodyHasAnswersAcknowledge(t *testing.T, f *testFleet) {
	op := f.connect(operator)
	f.inFlight(t)
	before := op.state()
	for user, questions := range map[string]map[string]string{
		web01: {
			"$JS.API.CONSUMER.MSG.NEXT.HOLDFAST_REQUESTS.cancel_web01": `{"batch":1,"no_wait":true}`,
			"$JS.ACK.HOLDFAST_REQUESTS.host_web01.1.1.1.1.0":           `+WPI`,
		},
		publisher: {"holdfast.status.db01": ``, "$JS.API.STREAM.MSG.GET.HOLDFAST_EVENTS": `{"seq":1}`},
		observer:  {"holdfast.status.db01": ``, "$JS.API.STREAM.MSG.GET.HOLDFAST_EVENTS": `{"seq":1}`},
	} {
		c := f.connect(user)
		for subject, body := range questions {
			t.Run(user+"/"+subject, func(t *testing.T) {
				for sequence := 1; sequence <= 4; sequence++ {
					reply := fmt.Sprintf("$JS.ACK.HOLDFAST_REQUESTS.host_db01.1.%d.1.1.0", sequence)
					if err := c.PublishRequest(subject, reply, []byte(body)); err != nil {
						t.Fatal(err)
					}
					select {
					case err := <-c.violations:
						if !strings.Contains(err.Error(), fmt.Sprintf("Publish with Reply of %q", reply)) {
							t.Errorf("the server reports %v", err)
						}
					case <-time.After(bustest.Patience):
						t.Error("the server has no objection")
					}
				}
			})
		}
	}
	if after := op.state(); !maps.Equal(before, after) {
		t.Errorf("the server held\n%v\nand now holds\n%v", before, after)
	}
}

// TestWithinOneAccountAnswersGoAnywhere shows what the accounts are for, and
// that the tests above would notice it.
func TestWithinOneAccountAnswersGoAnywhere(t *testing.T) {
	f := newFleet(t)
	op := f.connect(operator)
	heard := op.subscribe("holdfast.evt.>")
	const forged = "holdfast.evt.db01.job.backup.completed"
	op.refused(t, forged)
	if err := op.PublishRequest("$JS.API.STREAM.INFO.HOLDFAST_EVENTS", forged, nil); err != nil {
		t.Fatal(err)
	}
	if m := next(t, heard); m.Subject != forged {
		t.Errorf("heard %s", m.Subject)
	}
}

// TestTracesGoNowhere has a user name a subject of another host for what the
// server reports about a message's way.
func TestTracesGoNowhere(t *testing.T) {
	f := newFleet(t)
	op := f.connect(operator)
	everything := op.subscribe("holdfast.>")
	for user, subject := range map[string]string{
		web01: "$KV.HOLDFAST_LOCKS.web01", publisher: "$JS.API.STREAM.NAMES", observer: "$JS.API.CONSUMER.NAMES.HOLDFAST_REQUESTS",
	} {
		f.connect(user).must(subject, "", "Nats-Trace-Dest", "holdfast.evt.db01.job.x")
	}
	op.state() // what was sent before its answers has arrived
	silent(t, everything)
}

// TestWhatTheServerCannotTell keeps README.md true.
func TestWhatTheServerCannotTell(t *testing.T) {
	f := newFleet(t)
	// Whose event it is stands in the subject; the event itself may claim anything.
	ev := newEvent("io.holdfast.backup.completed.v1")
	ev.SetSource("/holdfast/db01")
	if err := f.bus(web01).PublishEvent(within(t, bustest.Patience), "holdfast.evt.web01.job.backup.completed", ev); err != nil {
		t.Errorf("a false source is refused: %v", err)
	}
	// Whoever knows another's message id can use it up.
	f.connect(web01).must("holdfast.evt.web01.job.x", "", "Nats-Msg-Id", "id")
	if m := f.connect(db01).must("holdfast.evt.db01.job.x", "", "Nats-Msg-Id", "id"); !strings.Contains(string(m.Data), `"duplicate": true`) {
		t.Errorf("an id that another host used up: %s", m.Data)
	}
	// Every worker may settle what any of them took from the shared consumer.
	publish(t, f.bus(operator), "holdfast.req.verify.any")
	m := take(t, consume.Work(f.bus(db01), "db01")[2])
	f.connect(web01).must(m.Reply, "+ACK")
	// What a worker says of itself to $SRV is not looked at.
}
