package bus_test

import (
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
)

func TestKeepAliveOutlastsTheAckWait(t *testing.T) {
	t.Parallel()
	o := embeddedServer(t)
	b := provisioned(t, o)
	b.SetHeartbeat(300 * time.Millisecond)
	_, js := operator(t, o)
	setAckWait(t, js, events.StreamRequests, "host_web01", time.Second)
	publish(t, b, "a")
	own := b.Work(host)[0]
	m := next(t, own, 10*time.Second)

	stop := m.KeepAlive(t.Context())
	if again, err := own.Next(within(t, 3*time.Second)); err == nil {
		t.Fatalf("delivered again while it is kept: %+v", again)
	}
	stop()
	stop()
	if again := next(t, own, 5*time.Second); again.Delivered != 2 {
		t.Errorf("delivered %d times", again.Delivered)
	}
}

// The heartbeat that falls into an outage is sent when the server is back, not a
// whole interval later.
func TestKeepAliveOutlastsAnOutage(t *testing.T) {
	t.Parallel()
	p, o := process(t)
	b := provisioned(t, o)
	b.SetHeartbeat(5 * time.Second)
	_, js := operator(t, o)
	setAckWait(t, js, events.StreamRequests, "host_web01", 9*time.Second)
	publish(t, b, "a")
	own := b.Work(host)[0]
	m := next(t, own, 10*time.Second)
	defer m.KeepAlive(t.Context())()
	time.Sleep(3 * time.Second)
	p.Stop()
	time.Sleep(2500 * time.Millisecond) // the beat at 5 s fails, the next one would be too late
	p.Start()
	if again, err := own.Next(within(t, 7*time.Second)); err == nil {
		t.Fatalf("delivered again while it is kept: %+v", again)
	}
	done(t, m)
}

func TestDoneIsConfirmed(t *testing.T) {
	onBoth(t, func(t *testing.T, o bus.Options) {
		b := provisioned(t, o)
		_, js := operator(t, o)
		publish(t, b, "a")
		done(t, next(t, b.Work(host)[0], 10*time.Second))
		stream, err := js.Stream(t.Context(), events.StreamRequests)
		if err != nil {
			t.Fatal(err)
		}
		if n := stream.CachedInfo().State.Msgs; n != 0 {
			t.Errorf("%d messages are left", n)
		}
	})
}

func TestDoneOutlastsTheServer(t *testing.T) {
	t.Parallel()
	p, o := process(t)
	b := provisioned(t, o)
	publish(t, b, "a")
	own := b.Work(host)[0]
	m := next(t, own, 10*time.Second)
	p.Stop()
	ended := make(chan error, 1)
	go func() { ended <- m.Done(within(t, 30*time.Second)) }()
	time.Sleep(500 * time.Millisecond)
	p.Start()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if again, err := own.Next(within(t, time.Second)); err == nil {
		t.Errorf("acknowledged, and delivered again: %+v", again)
	}
}

func TestDoneWithoutAConsumerFails(t *testing.T) {
	t.Parallel()
	o := embeddedServer(t)
	b := provisioned(t, o)
	_, js := operator(t, o)
	publish(t, b, "a")
	m := next(t, b.Work(host)[0], 10*time.Second)
	if err := js.DeleteConsumer(t.Context(), events.StreamRequests, "host_web01"); err != nil {
		t.Fatal(err)
	}
	if err := m.Done(within(t, 30*time.Second)); err == nil || !strings.Contains(err.Error(), "consumer that the message came from is gone") {
		t.Errorf("%v", err)
	}
}

func TestRejectGivesTheReason(t *testing.T) {
	o := embeddedServer(t)
	b := provisioned(t, o)
	nc, _ := operator(t, o)
	advisories, err := nc.SubscribeSync("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	publish(t, b, "a")
	own := b.Work(host)[0]
	if err := next(t, own, 10*time.Second).Reject(within(t, 10*time.Second), "policy"); err != nil {
		t.Fatal(err)
	}
	advisory, err := advisories.NextMsg(5 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(advisory.Data), `"reason":"policy"`) {
		t.Errorf("%s", advisory.Data)
	}
	if again, err := own.Next(within(t, 200*time.Millisecond)); err == nil {
		t.Errorf("rejected, and delivered again: %+v", again)
	}
}

func TestLater(t *testing.T) {
	b := provisioned(t, embeddedServer(t))
	publish(t, b, "a")
	own := b.Work(host)[0]
	for _, delay := range []time.Duration{0, time.Second} {
		m := next(t, own, 5*time.Second)
		began := time.Now()
		if err := m.Later(delay); err != nil {
			t.Fatal(err)
		}
		again := next(t, own, 5*time.Second)
		if waited := time.Since(began); waited < delay || waited > delay+time.Second {
			t.Errorf("delay %s: came after %s", delay, waited)
		}
		if err := again.Later(0); err != nil {
			t.Fatal(err)
		}
	}
}

// A worker takes over what another one of the host left behind.
func TestRedeliver(t *testing.T) {
	o := embeddedServer(t)
	dead, heir := provisioned(t, o), connect(t, o)
	send := map[string]string{events.StreamRequests: events.HostSubject(events.Backup, host), events.StreamBroadcast: events.AllSubject(events.Backup)}
	for i, stream := range []string{events.StreamRequests, events.StreamBroadcast} {
		if _, err := dead.PublishRequest(t.Context(), send[stream], request(events.Backup, stream)); err != nil {
			t.Fatal(err)
		}
		left := next(t, dead.Work(host)[i], 5*time.Second)
		own := heir.Work(host)[i]
		if m, err := own.Next(within(t, 100*time.Millisecond)); err == nil {
			t.Fatalf("delivered twice: %+v", m)
		}
		if err := heir.Redeliver(host, left.Reply); err != nil {
			t.Fatal(err)
		}
		again := next(t, own, 5*time.Second)
		if again.Delivered != 2 || again.Sequence != left.Sequence {
			t.Errorf("%+v", again)
		}
		done(t, again)
		if err := heir.Redeliver(host, left.Reply); err != nil {
			t.Fatal(err)
		}
		if m, err := own.Next(within(t, 100*time.Millisecond)); err == nil {
			t.Errorf("settled, and delivered again: %+v", m)
		}
	}
}

// What the ledger holds for a subject may be anything.
func TestRedeliverToItsOwnConsumersOnly(t *testing.T) {
	o := embeddedServer(t)
	b := provisioned(t, o)
	nc, _ := operator(t, o)
	sent, err := nc.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, reply := range []string{
		"",
		">",
		"holdfast.req.backup.host.web01",
		"$JS.API.STREAM.DELETE.HOLDFAST_REQUESTS",
		"$JS.ACK.HOLDFAST_REQUESTS.host_web02.1.2.3.4.5",
		"$JS.ACK.HOLDFAST_REQUESTS.host_*.1.2.3.4.5",
		"$JS.ACK.HOLDFAST_REQUESTS.cancel_web01.1.2.3.4.5",
		"$JS.ACK.HOLDFAST_REQUESTS.any.1.2.3.4.5",
		"$JS.ACK.HOLDFAST_EVENTS.host_web01.1.2.3.4.5",
		"$JS.ACK.HOLDFAST_REQUESTS.host_web01",
		"$JS.ACK.HOLDFAST_REQUESTS.host_web01.>",
		"$JS.ACK.HOLDFAST_REQUESTS.host_web01.1.2.3.4",
		"$JS.ACK.HOLDFAST_REQUESTS.host_web01.1.2.3.4.5.6",
		"$JS.ACK.HOLDFAST_REQUESTS.host_web01.1.2.3.4.x",
		"$JS.ACK.HOLDFAST_REQUESTS.host_web01.1.2.3.4.5\n",
		"$JS.ACK.HOLDFAST_REQUESTS.host_web01.1.2.3.4.5 6\r\nPUB x 0\r\n",
		"x$JS.ACK.HOLDFAST_REQUESTS.host_web01.1.2.3.4.5",
		"$JS.ACK.hub.HOLDFAST_REQUESTS.host_web01.1.2.3.4.5",
	} {
		if err := b.Redeliver(host, reply); err == nil {
			t.Errorf("%q", reply)
		}
	}
	for _, host := range []string{"", "*", "web.01"} {
		if err := b.Redeliver(host, "$JS.ACK.HOLDFAST_REQUESTS.host_"+host+".1.2.3.4.5"); err == nil {
			t.Errorf("host %q", host)
		}
	}
	for {
		m, err := sent.NextMsg(100 * time.Millisecond)
		if err != nil {
			break
		}
		if string(m.Data) == "-NAK" { // the server has news of its own
			t.Errorf("sent to %s", m.Subject)
		}
	}
	// The form of a server that names its domain and the account.
	if err := b.Redeliver(host, "$JS.ACK.hub.a1B2.HOLDFAST_REQUESTS.host_web01.1.2.3.4.5"); err != nil {
		t.Error(err)
	}
}

func TestRedeliverWhileTheServerIsAway(t *testing.T) {
	p, o := process(t)
	b := connect(t, o)
	p.Stop()
	eventually(t, "the connection is lost", func() bool { return b.PeerAddr() == "" })
	if err := b.Redeliver(host, "$JS.ACK.HOLDFAST_REQUESTS.host_web01.1.2.3.4.5"); err == nil {
		t.Error("sent to nobody")
	}
}
