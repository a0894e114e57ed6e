package consume_test

import (
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/bus/consume"
)

func TestKeepAliveOutlastsTheAckWait(t *testing.T) {
	t.Parallel()
	o := bustest.Embedded(t)
	b := bustest.Provisioned(t, o)
	_, js := bustest.Operator(t, o)
	bustest.SetAckWait(t, js, events.StreamRequests, "host_web01", time.Second)
	bustest.Publish(t, b, "a")
	own := consume.Work(b, host)[0]
	own.SetHeartbeat(300 * time.Millisecond)
	m := bustest.Next(t, own)

	stop := m.KeepAlive(t.Context())
	if again, err := own.Next(bustest.Within(t, 3*time.Second)); err == nil {
		t.Fatalf("delivered again while it is kept: %+v", again)
	}
	stop()
	stop()
	if again := bustest.Next(t, own); again.Delivered != 2 {
		t.Errorf("delivered %d times", again.Delivered)
	}
}

// The heartbeat that falls into an outage is sent when the server is back, not a
// whole interval later.
func TestKeepAliveOutlastsAnOutage(t *testing.T) {
	t.Parallel()
	p, o := bustest.External(t)
	b := bustest.Provisioned(t, o)
	_, js := bustest.Operator(t, o)
	bustest.SetAckWait(t, js, events.StreamRequests, "host_web01", 9*time.Second)
	bustest.Publish(t, b, "a")
	own := consume.Work(b, host)[0]
	own.SetHeartbeat(5 * time.Second)
	m := bustest.Next(t, own)
	defer m.KeepAlive(t.Context())()
	time.Sleep(3 * time.Second)
	p.Stop()
	time.Sleep(2500 * time.Millisecond) // the beat at 5 s fails, the next one would be too late
	p.Start()
	if again, err := own.Next(bustest.Within(t, 7*time.Second)); err == nil {
		t.Fatalf("delivered again while it is kept: %+v", again)
	}
	bustest.Done(t, m)
}

func TestDoneIsConfirmed(t *testing.T) {
	bustest.OnBoth(t, func(t *testing.T, o bus.Options) {
		b := bustest.Provisioned(t, o)
		_, js := bustest.Operator(t, o)
		bustest.Publish(t, b, "a")
		bustest.Done(t, bustest.Next(t, consume.Work(b, host)[0]))
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
	p, o := bustest.External(t)
	b := bustest.Provisioned(t, o)
	bustest.Publish(t, b, "a")
	own := consume.Work(b, host)[0]
	m := bustest.Next(t, own)
	p.Stop()
	ended := make(chan error, 1)
	go func() { ended <- m.Done(bustest.Within(t, bustest.Patience)) }()
	time.Sleep(500 * time.Millisecond)
	p.Start()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if again, err := own.Next(bustest.Within(t, time.Second)); err == nil {
		t.Errorf("acknowledged, and delivered again: %+v", again)
	}
}

func TestDoneWithoutAConsumerFails(t *testing.T) {
	t.Parallel()
	o := bustest.Embedded(t)
	b := bustest.Provisioned(t, o)
	_, js := bustest.Operator(t, o)
	bustest.Publish(t, b, "a")
	m := bustest.Next(t, consume.Work(b, host)[0])
	if err := js.DeleteConsumer(t.Context(), events.StreamRequests, "host_web01"); err != nil {
		t.Fatal(err)
	}
	if err := m.Done(bustest.Within(t, bustest.Patience)); err == nil ||
		!strings.Contains(err.Error(), "consumer that the message came from is gone") {
		t.Errorf("%v", err)
	}
}

func TestRejectGivesTheReason(t *testing.T) {
	o := bustest.Embedded(t)
	b := bustest.Provisioned(t, o)
	nc, _ := bustest.Operator(t, o)
	advisories, err := nc.SubscribeSync("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	bustest.Publish(t, b, "a")
	own := consume.Work(b, host)[0]
	if err := bustest.Next(t, own).Reject(bustest.Within(t, bustest.Patience), "policy"); err != nil {
		t.Fatal(err)
	}
	advisory, err := advisories.NextMsg(5 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(advisory.Data), `"reason":"policy"`) {
		t.Errorf("%s", advisory.Data)
	}
	if again, err := own.Next(bustest.Within(t, 200*time.Millisecond)); err == nil {
		t.Errorf("rejected, and delivered again: %+v", again)
	}
}

func TestLater(t *testing.T) {
	b := bustest.Provisioned(t, bustest.Embedded(t))
	bustest.Publish(t, b, "a")
	own := consume.Work(b, host)[0]
	for _, delay := range []time.Duration{0, time.Second} {
		m := bustest.Next(t, own)
		began := time.Now()
		if err := m.Later(delay); err != nil {
			t.Fatal(err)
		}
		again := bustest.Next(t, own)
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
	o := bustest.Embedded(t)
	dead, heir := bustest.Provisioned(t, o), bustest.Connect(t, o)
	send := map[string]string{events.StreamRequests: events.HostSubject(events.Backup, host),
		events.StreamBroadcast: events.AllSubject(events.Backup)}
	for i, stream := range []string{events.StreamRequests, events.StreamBroadcast} {
		if _, err := dead.PublishRequest(t.Context(), send[stream], bustest.Request(events.Backup, stream)); err != nil {
			t.Fatal(err)
		}
		left := bustest.Next(t, consume.Work(dead, host)[i])
		own := consume.Work(heir, host)[i]
		if m, err := own.Next(bustest.Within(t, 100*time.Millisecond)); err == nil {
			t.Fatalf("delivered twice: %+v", m)
		}
		if err := consume.Redeliver(heir, host, left.Reply); err != nil {
			t.Fatal(err)
		}
		again := bustest.Next(t, own)
		if again.Delivered < 2 || again.Sequence != left.Sequence { // 3 if it came before anybody waited
			t.Errorf("%+v", again)
		}
		bustest.Done(t, again)
		if err := consume.Redeliver(heir, host, left.Reply); err != nil {
			t.Fatal(err)
		}
		if m, err := own.Next(bustest.Within(t, 100*time.Millisecond)); err == nil {
			t.Errorf("settled, and delivered again: %+v", m)
		}
	}
}

// What the ledger holds for a subject may be anything.
func TestRedeliverToItsOwnConsumersOnly(t *testing.T) {
	o := bustest.Embedded(t)
	b := bustest.Provisioned(t, o)
	nc, _ := bustest.Operator(t, o)
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
		if err := consume.Redeliver(b, host, reply); err == nil {
			t.Errorf("%q", reply)
		}
	}
	for _, host := range []string{"", "*", "web.01"} {
		if err := consume.Redeliver(b, host, "$JS.ACK.HOLDFAST_REQUESTS.host_"+host+".1.2.3.4.5"); err == nil {
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
	if err := consume.Redeliver(b, host, "$JS.ACK.hub.a1B2.HOLDFAST_REQUESTS.host_web01.1.2.3.4.5"); err != nil {
		t.Error(err)
	}
}

func TestRedeliverWhileTheServerIsAway(t *testing.T) {
	p, o := bustest.External(t)
	b := bustest.Connect(t, o)
	p.Stop()
	bustest.Eventually(t, "the connection is lost", func() bool { return b.PeerAddr() == "" })
	if err := consume.Redeliver(b, host, "$JS.ACK.HOLDFAST_REQUESTS.host_web01.1.2.3.4.5"); err == nil {
		t.Error("sent to nobody")
	}
}
