package read_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/bus/read"
)

func follow(t *testing.T, b *bus.Bus, job string) *read.Subscription {
	t.Helper()
	s, err := read.Follow(bustest.Within(t, bustest.Patience), b, host, job)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func store(t *testing.T, b *bus.Bus, job, id string) {
	t.Helper()
	subject := events.EventSubject(host, job, events.Backup.ResultType(events.ResultItemCompleted))
	if err := b.PublishEvent(bustest.Within(t, bustest.Patience), subject, bustest.Result(id)); err != nil {
		t.Error(err)
	}
}

func expect(t *testing.T, s *read.Subscription, ids ...string) {
	t.Helper()
	for _, id := range ids {
		ev, err := s.Next(bustest.Within(t, bustest.Patience))
		if err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		if ev.ID() != id {
			t.Fatalf("got %s, want %s", ev.ID(), id)
		}
	}
}

func TestFollowDeliversWhatWasAndWhatComes(t *testing.T) {
	bustest.OnBoth(t, func(t *testing.T, o bus.Options) {
		b := bustest.Provisioned(t, o)
		store(t, b, "job", "before")
		store(t, b, "other", "another job's")
		s := follow(t, b, "job")
		expect(t, s, "before")
		if err := bustest.Connect(t, o).PublishProgress(events.ProgressSubject(host, "job"), bustest.Result("progress")); err != nil {
			t.Fatal(err)
		}
		expect(t, s, "progress")
		store(t, b, "job", "after")
		expect(t, s, "after")
		if ev, err := s.Next(bustest.Within(t, 100*time.Millisecond)); err == nil {
			t.Errorf("unexpected %s", ev.ID())
		}
	})
}

func TestFollowEveryJobOfAHost(t *testing.T) {
	b := bustest.Provisioned(t, bustest.Embedded(t))
	s := follow(t, b, "*")
	store(t, b, "one", "1")
	store(t, b, "two", "2")
	expect(t, s, "1", "2")
}

func TestFollowNeedsNoConsumer(t *testing.T) {
	o := bustest.Embedded(t)
	b := bustest.Provisioned(t, o)
	bustest.NeedsNoConsumer(t, o)
	store(t, b, "job", "before")
	s := follow(t, b, "job")
	store(t, b, "job", "after")
	expect(t, s, "before", "after")
}

// An event is not waited for until the next look at the stream.
func TestFollowHearsOfNews(t *testing.T) {
	t.Parallel()
	b := bustest.Provisioned(t, bustest.Embedded(t))
	s := follow(t, b, "job")
	for i := range 2 {
		time.Sleep(3 * time.Second) // by now the reader looks every 5 s
		began := time.Now()
		store(t, b, "job", fmt.Sprint(i))
		expect(t, s, fmt.Sprint(i))
		if after := time.Since(began); after > time.Second {
			t.Errorf("event %d came after %s", i, after)
		}
	}
}

// Whoever may read the stream, but not listen, gets all events too.
func TestFollowWithoutHearing(t *testing.T) {
	t.Parallel()
	_, o := bustest.External(t, bustest.Config{Permissions: `subscribe: { deny: "holdfast.evt.>" }`})
	b := bustest.Provisioned(t, o)
	s := follow(t, b, "job")
	time.Sleep(time.Second)
	store(t, b, "job", "1")
	expect(t, s, "1")
}

// A message of the greatest size is read whole.
func TestFollowALargeEvent(t *testing.T) {
	b := bustest.Provisioned(t, bustest.Embedded(t))
	s := follow(t, b, "job")
	ev := bustest.Result("large")
	if err := ev.SetData("application/json", strings.Repeat("x", 1000<<10)); err != nil {
		t.Fatal(err)
	}
	if err := b.PublishEvent(t.Context(), events.EventSubject(host, "job", events.Backup.ResultType(events.ResultCompleted)), ev); err != nil {
		t.Fatal(err)
	}
	got, err := s.Next(bustest.Within(t, bustest.Patience))
	if err != nil || !bytes.Equal(got.Data(), ev.Data()) {
		t.Errorf("%d of %d bytes, %v", len(got.Data()), len(ev.Data()), err)
	}
}

// Nothing is missing, doubled or out of order, although the server is stopped and
// killed while the events are published.
func TestFollowOutlastsTheServer(t *testing.T) {
	t.Parallel()
	p, o := bustest.External(t)
	publisher := bustest.Provisioned(t, o)
	s := follow(t, bustest.Connect(t, o), "job")
	const count = 300
	var publishing sync.WaitGroup
	defer publishing.Wait() // for the answer to the last one, which may come after the event
	publishing.Go(func() {
		for i := range count {
			store(t, publisher, "job", fmt.Sprint(i))
		}
	})
	for i := range count {
		switch i {
		case 50:
			p.Stop()
			p.Start()
		case 150:
			p.Kill()
			p.Start()
		}
		expect(t, s, fmt.Sprint(i))
	}
}

// The last event of a job is followed by none that could show that it is missing.
func TestFollowFindsTheLastEventAfterAnOutage(t *testing.T) {
	t.Parallel()
	p, o := bustest.External(t)
	publisher := bustest.Provisioned(t, o)
	s := follow(t, bustest.Connect(t, o), "job")
	store(t, publisher, "job", "first")
	expect(t, s, "first")
	p.Restart()
	store(t, publisher, "job", "last")
	expect(t, s, "last")
}

// A follower that does not read keeps its place over an outage.
func TestFollowSlowly(t *testing.T) {
	t.Parallel()
	p, o := bustest.External(t)
	publisher := bustest.Provisioned(t, o)
	s := follow(t, bustest.Connect(t, o), "job")
	for i := range 100 {
		store(t, publisher, "job", fmt.Sprint(i))
	}
	p.Restart()
	time.Sleep(time.Second)
	for i := range 100 {
		expect(t, s, fmt.Sprint(i))
	}
}

func TestFollowPassesOverWhatIsNoEvent(t *testing.T) {
	o := bustest.Embedded(t)
	b := bustest.Provisioned(t, o)
	_, js := bustest.Operator(t, o)
	s := follow(t, b, "job")
	if _, err := js.Publish(t.Context(), "holdfast.evt.web01.job.x", []byte("rubbish")); err != nil {
		t.Fatal(err)
	}
	storeBadHeaders(t, o, js, "holdfast.evt.web01.job.x")
	store(t, b, "job", "event")
	expect(t, s, "event")
}

// storeBadHeaders stores a message whose headers no client library would send.
func storeBadHeaders(t *testing.T, o bus.Options, js jetstream.JetStream, subject string) {
	t.Helper()
	before := stateOf(t, js, events.StreamEvents).Msgs
	conn, err := net.Dial("tcp", strings.TrimPrefix(o.URL, "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const headers = "NATS/1.0\r\nno colon\r\n\r\n"
	fmt.Fprintf(conn, "CONNECT {\"verbose\":false,\"headers\":true,\"user\":%q,\"pass\":%q}\r\n", o.User, o.Password)
	fmt.Fprintf(conn, "HPUB %s %d %d\r\n%s\r\n", subject, len(headers), len(headers), headers)
	bustest.Eventually(t, "the message is stored", func() bool { return stateOf(t, js, events.StreamEvents).Msgs > before })
}

func stateOf(t *testing.T, js jetstream.JetStream, stream string) jetstream.StreamState {
	t.Helper()
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State
}

func TestFollowEnds(t *testing.T) {
	o := bustest.Embedded(t)
	if _, err := read.Follow(t.Context(), bustest.Connect(t, o), host, "job"); !errors.Is(err, bus.ErrNotProvisioned) {
		t.Errorf("without streams: %v", err)
	}
	bustest.Provisioned(t, o)
	for name, end := range map[string]func(*bus.Bus, *read.Subscription) error{
		"by its own Close": func(_ *bus.Bus, s *read.Subscription) error { return s.Close() },
		"with the bus":     func(b *bus.Bus, _ *read.Subscription) error { return b.Close() },
	} {
		b := bustest.Connect(t, o)
		s := follow(t, b, "job")
		if err := end(b, s); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Next(bustest.Within(t, bustest.Patience)); !errors.Is(err, bus.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
