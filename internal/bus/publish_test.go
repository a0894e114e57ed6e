package bus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/bustest"
)

const resultSubject = "holdfast.evt.web01.job.backup.completed"

func TestPublishIsStoredOnce(t *testing.T) {
	bustest.OnBoth(t, func(t *testing.T, o bus.Options) {
		b := bustest.Provisioned(t, o)
		_, js := bustest.Operator(t, o)
		for range 3 {
			if err := b.PublishEvent(t.Context(), resultSubject, bustest.Result("job-completed")); err != nil {
				t.Fatal(err)
			}
			if err := b.PublishDeadLetter(t.Context(), "holdfast.dlq.web01", "REQUESTS-1", []byte(`{}`)); err != nil {
				t.Fatal(err)
			}
		}
		for _, stream := range []string{events.StreamEvents, events.StreamDLQ} {
			if n := bustest.Messages(t, js, stream); n != 1 {
				t.Errorf("%s holds %d messages", stream, n)
			}
		}
	})
}

func TestPublishRequestReceipt(t *testing.T) {
	b := bustest.Provisioned(t, bustest.Embedded(t))
	subject := events.HostSubject(events.Backup, host)
	other := bustest.Request(events.Backup, "a")
	if err := other.SetData("application/json", map[string]string{"for": "something else"}); err != nil {
		t.Fatal(err)
	}
	for i, test := range []struct {
		subject string
		ev      event.Event
		want    bus.Receipt
	}{
		{subject, bustest.Request(events.Backup, "a"), bus.Receipt{Stream: events.StreamRequests, Sequence: 1}},
		{subject, bustest.Request(events.Backup, "a"), bus.Receipt{Stream: events.StreamRequests, Sequence: 2}},
		// The worker must see it to refuse it.
		{subject, other, bus.Receipt{Stream: events.StreamRequests, Sequence: 3}},
		{events.HostSubject(events.Backup, "web02"), bustest.Request(events.Backup, "a"),
			bus.Receipt{Stream: events.StreamRequests, Sequence: 4}},
		{events.AllSubject(events.Backup), bustest.Request(events.Backup, "a"), bus.Receipt{Stream: events.StreamBroadcast, Sequence: 1}},
	} {
		got, err := b.PublishRequest(t.Context(), test.subject, test.ev)
		if err != nil || got != test.want {
			t.Errorf("%d: %+v, %v; want %+v", i, got, err, test.want)
		}
	}
}

func TestPublishFinalErrors(t *testing.T) {
	t.Parallel()
	bustest.OnBoth(t, func(t *testing.T, o bus.Options) {
		b := bustest.Provisioned(t, o)
		large := func(size int) event.Event {
			ev := bustest.Request(events.Backup, "large")
			if err := ev.SetData("application/octet-stream", bytes.Repeat([]byte("x"), size)); err != nil {
				t.Fatal(err)
			}
			return ev
		}
		for name, test := range map[string]struct {
			subject string
			ev      event.Event
			want    error
		}{
			"a misspelt kind":              {"holdfast.req.bakcup.host.web01", bustest.Request(events.Backup, "a"), bus.ErrNotProvisioned},
			"a request over 256 KiB":       {"holdfast.req.backup.host.web01", large(256 << 10), bus.ErrTooLarge},
			"a broadcast over 256 KiB":     {"holdfast.req.backup.all", large(256 << 10), bus.ErrTooLarge},
			"an event over the payload":    {resultSubject, large(1 << 20), bus.ErrTooLarge},
			"an event just under the same": {resultSubject, large(1<<20 - 4096), nil},
		} {
			began := time.Now()
			_, err := b.PublishRequest(bustest.Within(t, bustest.Patience), test.subject, test.ev)
			if !errors.Is(err, test.want) {
				t.Errorf("%s: %v", name, err)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("%s: tried for %s", name, took)
			}
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if err := b.PublishEvent(t.Context(), resultSubject, bustest.Result("a")); !errors.Is(err, bus.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestPublishWithoutStreams(t *testing.T) {
	b := bustest.Connect(t, bustest.Embedded(t))
	if err := b.PublishEvent(bustest.Within(t, bustest.Patience), resultSubject, bustest.Result("a")); !errors.Is(err, bus.ErrNotProvisioned) {
		t.Errorf("%v", err)
	}
}

func TestFullStreamRefusesRequests(t *testing.T) {
	for name, fill := range map[string]func(*jetstream.StreamConfig){
		"messages": func(c *jetstream.StreamConfig) { c.MaxMsgs = 2 },
		"bytes":    func(c *jetstream.StreamConfig) { c.MaxBytes = 600 },
	} {
		t.Run(name, func(t *testing.T) {
			o := bustest.Embedded(t)
			b := bustest.Provisioned(t, o)
			_, js := bustest.Operator(t, o)
			stream, err := js.Stream(t.Context(), events.StreamRequests)
			if err != nil {
				t.Fatal(err)
			}
			config := stream.CachedInfo().Config
			fill(&config)
			if _, err := js.UpdateStream(t.Context(), config); err != nil {
				t.Fatal(err)
			}
			for i := range 3 {
				_, err = b.PublishRequest(bustest.Within(t, bustest.Patience), events.HostSubject(events.Backup, host),
					bustest.Request(events.Backup, fmt.Sprint(i)))
				if i == 0 && err != nil {
					t.Fatal(err)
				}
			}
			if !errors.Is(err, bus.ErrFull) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestPublishOutlastsTheServer(t *testing.T) {
	t.Parallel()
	p, o := bustest.External(t)
	b := bustest.Provisioned(t, o)
	_, js := bustest.Operator(t, o)
	p.Stop()
	if err := b.PublishEvent(bustest.Within(t, 300*time.Millisecond), resultSubject, bustest.Result("lost")); !errors.Is(err,
		context.DeadlineExceeded) {
		t.Errorf("while the server is away: %v", err)
	} else {
		t.Log(err)
	}
	if err := b.PublishProgress("holdfast.progress.web01.job", bustest.Result("p")); err == nil {
		t.Error("progress is not refused while the server is away")
	}
	published := make(chan error, 1)
	go func() {
		published <- b.PublishEvent(bustest.Within(t, bustest.Patience), resultSubject, bustest.Result("a"))
	}()
	time.Sleep(500 * time.Millisecond)
	p.Start()
	if err := <-published; err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "the operator is back", func() bool { return js.Conn().IsConnected() })
	if n := bustest.Messages(t, js, events.StreamEvents); n != 1 {
		t.Errorf("%d events are stored", n)
	}
}
