package nats_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/bus/consume"
	"holdfast.io/holdfast/internal/bus/fleet"
	"holdfast.io/holdfast/internal/bus/provision"
)

func TestWorkerTakesAndSettlesRequests(t *testing.T) {
	f := newFleet(t)
	op, requester, worker := f.connect(operator), f.bus(operator), f.bus(web01)
	work, cancels := consume.Work(worker, "web01"), consume.Cancels(worker, "web01")
	for _, test := range []struct {
		subject          string
		stream, consumer string
		source           *consume.Source
	}{
		{events.HostSubject(events.Backup, "web01"), events.StreamRequests, "host_web01", work[0]},
		{events.AllSubject(events.Backup), events.StreamBroadcast, "host_web01", work[1]},
		{events.AnySubject(events.Verify), events.StreamRequests, "any", work[2]},
		{events.HostSubject(events.Cancel, "web01"), events.StreamRequests, "cancel_web01", cancels[0]},
		{events.AllSubject(events.Cancel), events.StreamBroadcast, "cancel_web01", cancels[1]},
	} {
		t.Run(test.subject, func(t *testing.T) {
			taken := make(chan *consume.Message, 1)
			ctx := within(t, bustest.Patience)
			go func() {
				m, err := test.source.Next(ctx)
				if err != nil {
					t.Error(err)
				}
				taken <- m
			}()
			eventually(t, "the pull lies at the server", func() bool { return op.consumer(test.stream, test.consumer).NumWaiting == 1 })
			publish(t, requester, test.subject)
			m := <-taken
			if m == nil || m.Subject != test.subject || m.Delivered != 1 {
				t.Fatalf("taken: %+v", m)
			}
			if err := m.Done(within(t, bustest.Patience)); err != nil {
				t.Fatal(err)
			}
			if c := op.consumer(test.stream, test.consumer); c.AckFloor.Consumer != 1 || c.NumAckPending != 0 {
				t.Errorf("not settled: %+v", c)
			}
		})
	}
}

func TestWorkerKeepsTakesOverAndGivesBack(t *testing.T) {
	f := newFleet(t)
	op, worker, standby := f.connect(operator), f.bus(web01), f.connect(web01)
	source := consume.Work(worker, "web01")[0]
	publish(t, f.bus(publisher), events.HostSubject(events.Backup, "web01"))
	m := take(t, source)

	// Word that it is worked on is confirmed, so it has arrived.
	standby.must(m.Reply, "+WPI")

	// Another worker of the same host has it delivered again.
	if err := consume.Redeliver(f.bus(web01), "web01", m.Reply); err != nil {
		t.Fatal(err)
	}
	if m = take(t, source); m.Delivered != 2 {
		t.Errorf("delivery %d", m.Delivered)
	}
	if err := m.Later(0); err != nil {
		t.Fatal(err)
	}
	if m = take(t, source); m.Delivered != 3 {
		t.Errorf("delivery %d", m.Delivered)
	}
	if err := m.Reject(within(t, bustest.Patience), "refused"); err != nil {
		t.Fatal(err)
	}
	if c := op.consumer(events.StreamRequests, "host_web01"); c.NumAckPending != 0 || c.NumPending != 0 {
		t.Errorf("not settled: %+v", c)
	}
}

func TestWorkerHearsThatThereIsNothing(t *testing.T) {
	f := newFleet(t)
	worker := f.connect(web01)
	for pull, want := range map[string]string{
		`{"batch":1,"no_wait":true}`:          "404",
		`{"batch":1,"expires":200000000}`:     "408",
		`{"batch":1,"expires":"not a number"`: "400",
	} {
		m, err := worker.ask("$JS.API.CONSUMER.MSG.NEXT.HOLDFAST_REQUESTS.host_web01", pull)
		if err != nil || m.Header.Get("Status") != want {
			t.Errorf("%s: %+v, %v; want %s", pull, m, err, want)
		}
	}
}

func TestWorkerKeepsLedgerAndLock(t *testing.T) {
	f := newFleet(t)
	worker := f.connect(web01)
	const lock, head = "$KV.HOLDFAST_LOCKS.web01", "$KV.HOLDFAST_JOBS.web01.job.job"

	taken := worker.put(lock, "owner 1", 0, "Nats-TTL", "1s")
	if m, err := worker.ask(lock, "owner 2", nats.ExpectedLastSubjSeqHdr, "0"); err != nil ||
		!strings.Contains(string(m.Data), "wrong last sequence") {
		t.Errorf("a lock that is taken: %s, %v", m.Data, err)
	}
	worker.put(lock, "owner 1", taken, "Nats-TTL", "1s")
	if got := worker.stored("KV_HOLDFAST_LOCKS", `{"last_by_subj":"`+lock+`"}`); string(got.Data) != "owner 1" {
		t.Errorf("the lock holds %q", got.Data)
	}
	eventually(t, "the lock lapses", func() bool {
		m, err := worker.ask("$JS.API.STREAM.MSG.GET.KV_HOLDFAST_LOCKS", `{"last_by_subj":"`+lock+`"}`)
		return err == nil && strings.Contains(string(m.Data), "no message found")
	})

	worker.put("$KV.HOLDFAST_LOCKS.collect.sink", "web01", 0, "Nats-TTL", "10s")
	if m, err := f.connect(db01).ask("$KV.HOLDFAST_LOCKS.collect.sink", "db01", nats.ExpectedLastSubjSeqHdr, "0"); err != nil ||
		!strings.Contains(string(m.Data), "wrong last sequence") {
		t.Errorf("a sink that another host removes layers from: %s, %v", m.Data, err)
	}

	revision := worker.put(head, "attempt 1", 0)
	worker.put(head, "attempt 2", revision)
	worker.put("$KV.HOLDFAST_JOBS.web01.job.item.1", "done", 0)
	entry := worker.stored("KV_HOLDFAST_JOBS", `{"seq":1,"next_by_subj":"$KV.HOLDFAST_JOBS.web01.>"}`)
	if entry.Subject != head || string(entry.Data) != "attempt 2" {
		t.Errorf("the ledger holds %+v", entry)
	}
	worker.must(head, "", "KV-Operation", "DEL")
	worker.put("$KV.HOLDFAST_JOBS.any.job.job", "that of any host", 0)
	for _, bucket := range []string{"KV_HOLDFAST_JOBS", "KV_HOLDFAST_LOCKS"} {
		worker.must("$JS.API.STREAM.INFO."+bucket, "")
	}
}

func TestWorkerPublishesAsItsHost(t *testing.T) {
	f := newFleet(t)
	worker, see := f.bus(web01), f.connect(observer)
	heard, progress := see.subscribe("holdfast.evt.>"), see.subscribe("holdfast.progress.>")
	for _, eventType := range []string{"io.holdfast.backup.completed.v1", "io.holdfast.request.unserved.v1"} {
		subject := events.EventSubject("web01", "job", eventType)
		if err := worker.PublishEvent(within(t, bustest.Patience), subject, newEvent(eventType)); err != nil {
			t.Fatal(err)
		}
		if m := next(t, heard); m.Subject != subject {
			t.Errorf("heard %s, not %s", m.Subject, subject)
		}
	}
	if err := worker.PublishProgress(events.ProgressSubject("web01", "job"), newEvent("progress")); err != nil {
		t.Fatal(err)
	}
	next(t, progress)
	if err := worker.PublishDeadLetter(within(t, bustest.Patience), events.DeadLetterSubject("web01"), "id", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if m := f.connect(operator).stored(events.StreamDLQ, `{"last_by_subj":"holdfast.dlq.web01"}`); string(m.Data) != "{}" {
		t.Errorf("the dead letter is %q", m.Data)
	}
}

// TestWorkerLooksAround has one see the requests that nobody serves, and whether
// all is provisioned.
func TestWorkerLooksAround(t *testing.T) {
	f := newFleet(t)
	publish(t, f.bus(publisher), events.HostSubject(events.Backup, "web01"))
	f.connect(db01).put("$KV.HOLDFAST_LOCKS.db01", "owner", 0, "Nats-TTL", "10s")
	ctx, worker := within(t, bustest.Patience), f.bus(db01)
	if hosts, err := fleet.Of(worker).WaitingHosts(ctx); err != nil || !slices.Equal(hosts, []string{"web01"}) {
		t.Errorf("requests lie for %s: %v", hosts, err)
	}
	if hosts, err := fleet.Of(worker).LockedHosts(ctx); err != nil || !slices.Equal(hosts, []string{"db01"}) {
		t.Errorf("the hosts %s are served: %v", hosts, err)
	}
	if m, err := fleet.Of(worker).NextWaiting(ctx, "web01", 0); err != nil || m == nil || m.Subject != "holdfast.req.backup.host.web01" {
		t.Errorf("the oldest request is %+v: %v", m, err)
	}
	changes, err := provision.Check(ctx, f.bus(web01), []string{"web01"})
	if err != nil || len(changes) > 0 {
		t.Errorf("what it finds not to be as it should: %+v, %v", changes, err)
	}
}

// storedMsg is a message as the server reads it from a stream.
type storedMsg struct {
	Subject string
	Seq     uint64
	Data    []byte
}

// stored reads one message of a stream.
func (c *conn) stored(stream, which string) storedMsg {
	c.t.Helper()
	var answer struct{ Message storedMsg }
	if err := json.Unmarshal(c.must("$JS.API.STREAM.MSG.GET."+stream, which).Data, &answer); err != nil {
		c.t.Fatal(err)
	}
	return answer.Message
}

// put writes a key of a bucket if its revision is still the expected one, and
// returns the new one.
func (c *conn) put(key, value string, expected uint64, header ...string) uint64 {
	c.t.Helper()
	m := c.must(key, value, append(header, nats.ExpectedLastSubjSeqHdr, fmt.Sprint(expected))...)
	var ack struct{ Seq uint64 }
	if err := json.Unmarshal(m.Data, &ack); err != nil || ack.Seq == 0 {
		c.t.Fatalf("%s: %s, %v", key, m.Data, err)
	}
	return ack.Seq
}
