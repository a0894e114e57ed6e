package consume_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/bus/consume"
)

func TestNextTakesOneMessage(t *testing.T) {
	bustest.OnBoth(t, func(t *testing.T, o bus.Options) {
		b := bustest.Provisioned(t, o)
		_, js := bustest.Operator(t, o)
		for i := range 3 {
			bustest.Publish(t, b, fmt.Sprint(i))
		}
		own := consume.Work(b, host)[0]
		for i := range 3 {
			m := bustest.Next(t, own)
			if got := idOf(t, m); got != fmt.Sprint(i) {
				t.Errorf("message %d is %s", i, got)
			}
			if got, want := consumerState(t, js, events.StreamRequests, "host_web01"), (state{uint64(2 - i), 1}); got != want {
				t.Errorf("after message %d was taken: %+v, want %+v", i, got, want)
			}
			if m.Stream != events.StreamRequests || m.Subject != "holdfast.req.backup.host.web01" ||
				m.Sequence != uint64(i+1) || m.Delivered != 1 || time.Since(m.Time) > time.Minute {
				t.Errorf("%+v", m)
			}
			bustest.Done(t, m)
		}
		if _, err := own.Next(bustest.Within(t, 200*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with nothing to take: %v", err)
		}
	})
}

func TestSourcesTakeWhatIsTheirs(t *testing.T) {
	b := bustest.Provisioned(t, bustest.Embedded(t))
	work, cancels := consume.Work(b, host), consume.Cancels(b, host)
	sources := map[string]*consume.Source{
		"own": work[0], "broadcast": work[1], "any": work[2], "own cancel": cancels[0], "broadcast cancel": cancels[1],
	}
	for _, test := range []struct {
		kind    events.Kind
		subject string
		source  string
	}{
		{events.Backup, "holdfast.req.backup.host.web01", "own"},
		{events.Restore, "holdfast.req.restore.host.web01", "own"},
		{events.Cancel, "holdfast.req.cancel.host.web01", "own cancel"},
		{events.Backup, "holdfast.req.backup.all", "broadcast"},
		{events.Prune, "holdfast.req.prune.all", "broadcast"},
		{events.Cancel, "holdfast.req.cancel.all", "broadcast cancel"},
		{events.Verify, "holdfast.req.verify.any", "any"},
		{events.Cancel, "holdfast.req.cancel.any", "any"},
		{events.Backup, "holdfast.req.backup.host.web02", ""},
	} {
		if _, err := b.PublishRequest(t.Context(), test.subject, bustest.Request(test.kind, "x")); err != nil {
			t.Fatal(err)
		}
		for name, s := range sources {
			if name == test.source {
				m := bustest.Next(t, s)
				if m.Subject != test.subject {
					t.Errorf("%s: got %s, want %s", name, m.Subject, test.subject)
				}
				bustest.Done(t, m)
			} else if m, err := s.Next(bustest.Within(t, 20*time.Millisecond)); err == nil {
				t.Errorf("%s: unexpected %s", name, m.Subject)
			}
		}
	}
}

func TestUnsettledMessageComesBack(t *testing.T) {
	o := bustest.Embedded(t)
	b := bustest.Provisioned(t, o)
	_, js := bustest.Operator(t, o)
	bustest.SetAckWait(t, js, events.StreamRequests, "host_web01", 300*time.Millisecond)
	bustest.Publish(t, b, "a")
	own := consume.Work(b, host)[0]
	for delivery := uint64(1); delivery <= 3; delivery++ {
		if m := bustest.Next(t, own); m.Delivered != delivery {
			t.Errorf("delivery %d says %d", delivery, m.Delivered)
		}
	}
}

// A poisonous message looks like an answer of the server.
func TestMessageThatLooksLikeAStatus(t *testing.T) {
	o := bustest.Embedded(t)
	b := bustest.Provisioned(t, o)
	_, js := bustest.Operator(t, o)
	if _, err := js.PublishMsg(t.Context(), &nats.Msg{
		Subject: "holdfast.req.backup.host.web01",
		Header:  nats.Header{"Status": {"408"}, "Description": {"Consumer Deleted"}},
	}); err != nil {
		t.Fatal(err)
	}
	if m := bustest.Next(t, consume.Work(b, host)[0]); m.Sequence != 1 {
		t.Errorf("%+v", m)
	}
}

// Cancelled at any moment, Next never keeps a message for itself: whatever it
// does not return can be had at once by the next call.
func TestCancelledNextLosesNothing(t *testing.T) {
	bustest.OnBoth(t, func(t *testing.T, o bus.Options) {
		b := bustest.Provisioned(t, o)
		_, js := bustest.Operator(t, o)
		own := consume.Work(b, host)[0]
		const messages = 200
		go func() {
			for i := range messages {
				_, _ = b.PublishRequest(t.Context(), events.HostSubject(events.Backup, host), bustest.Request(events.Backup, fmt.Sprint(i)))
				time.Sleep(rand.N(2 * time.Millisecond))
			}
		}()
		seen, cancelled := map[uint64]bool{}, 0
		for began := time.Now(); len(seen) < messages; {
			if time.Since(began) > 45*time.Second { // below the acknowledgement wait
				t.Fatalf("%d of %d messages after %d cancelled calls", len(seen), messages, cancelled)
			}
			ctx, cancel := context.WithTimeout(t.Context(), rand.N(2*time.Millisecond))
			m, err := own.Next(ctx)
			cancel()
			if err != nil {
				cancelled++
				continue
			}
			if seen[m.Sequence] {
				t.Errorf("message %d twice", m.Sequence)
			}
			seen[m.Sequence] = true
			bustest.Done(t, m)
		}
		if cancelled == 0 {
			t.Error("no call was cancelled")
		}
		t.Logf("%d calls were cancelled", cancelled)
		c, err := js.Consumer(t.Context(), events.StreamRequests, "host_web01")
		if err != nil || c.CachedInfo().NumWaiting > 1 {
			t.Errorf("%d pulls are open, %v", c.CachedInfo().NumWaiting, err)
		}
	})
}

// What arrives for a pull that nobody waits for any more goes back at once.
func TestMessageThatNobodyWaitsForGoesBack(t *testing.T) {
	o := bustest.Embedded(t)
	b := bustest.Provisioned(t, o)
	_, js := bustest.Operator(t, o)
	own := consume.Work(b, host)[0]
	if _, err := own.Next(bustest.Within(t, 50*time.Millisecond)); err == nil {
		t.Fatal("a message")
	}
	bustest.Publish(t, b, "a")
	bustest.Eventually(t, "the message is delivered for the open pull", func() bool {
		c, err := js.Consumer(t.Context(), events.StreamRequests, "host_web01")
		return err == nil && c.CachedInfo().Delivered.Consumer == 1 && c.CachedInfo().NumWaiting == 0
	})
	if m := bustest.Next(t, consume.Work(b, host)[0]); m.Delivered != 2 {
		t.Errorf("delivered %d times", m.Delivered)
	}
}

// A pull that is open when the bus closes keeps no message either.
func TestCloseGivesBack(t *testing.T) {
	_, o := bustest.External(t)
	other := bustest.Provisioned(t, o)
	nc, _ := bustest.Operator(t, o)
	rest := consume.Work(other, host)[0]
	for i := range 30 {
		b := bustest.Connect(t, o)
		ended := make(chan error, 1)
		go func() {
			m, err := consume.Work(b, host)[0].Next(t.Context())
			if err == nil { // it came before the end, and is the caller's to give back
				err = nc.Publish(m.Reply, []byte("-NAK"))
			}
			ended <- err
		}()
		published := make(chan error, 1)
		go func() {
			time.Sleep(10*time.Millisecond + rand.N(time.Millisecond))
			_, err := other.PublishRequest(t.Context(), events.HostSubject(events.Backup, host), bustest.Request(events.Backup, fmt.Sprint(i)))
			published <- err
		}()
		time.Sleep(10*time.Millisecond + rand.N(2*time.Millisecond))
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil && !errors.Is(err, bus.ErrClosed) {
			t.Errorf("the open Next: %v", err)
		}
		if err := <-published; err != nil {
			t.Fatal(err)
		}
		bustest.Done(t, bustest.Next(t, rest))
	}
}

func TestNextAfterClose(t *testing.T) {
	b := bustest.Provisioned(t, bustest.Embedded(t))
	own := consume.Work(b, host)[0]
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := own.Next(t.Context()); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("%v", err)
	}
}
