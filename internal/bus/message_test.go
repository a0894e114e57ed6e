package bus_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

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

// Whoever knows the reply subject can have the message delivered again.
func TestReplySubject(t *testing.T) {
	o := embeddedServer(t)
	b := provisioned(t, o)
	nc, _ := operator(t, o)
	publish(t, b, "a")
	own := b.Work(host)[0]
	m := next(t, own, 5*time.Second)
	if err := nc.PublishMsg(&nats.Msg{Subject: m.Reply, Data: []byte("-NAK")}); err != nil {
		t.Fatal(err)
	}
	if again := next(t, own, 5*time.Second); again.Delivered != 2 {
		t.Errorf("delivered %d times", again.Delivered)
	}
}
