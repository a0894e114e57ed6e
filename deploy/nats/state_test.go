package nats_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/bus/consume"
)

// state is what the server holds, by stream and by consumer. Whatever a denied
// operation did to a stream, a consumer, a request or a key shows in it.
type state map[string]string

// state asks as the operator.
func (c *conn) state() state {
	c.t.Helper()
	ctx := within(c.t, bustest.Patience)
	js := c.jetstream()
	all := state{}
	streams := js.ListStreams(ctx)
	for s := range streams.Info() {
		name := s.Config.Name
		all[name] = fmt.Sprintf("%d messages of %d", s.State.Msgs, s.State.LastSeq)
		stream, err := js.Stream(ctx, name)
		if err != nil {
			c.t.Fatal(err)
		}
		consumers := stream.ListConsumers(ctx)
		for i := range consumers.Info() {
			all[name+"/"+i.Name] = fmt.Sprintf("%d waiting, %d delivered, %d settled, %d unsettled, %d redelivered, %d pulls",
				i.NumPending, i.Delivered.Consumer, i.AckFloor.Consumer, i.NumAckPending, i.NumRedelivered, i.NumWaiting)
		}
		if err := consumers.Err(); err != nil {
			c.t.Fatal(err)
		}
	}
	if err := streams.Err(); err != nil {
		c.t.Fatal(err)
	}
	return all
}

// consumer returns what the server knows of a consumer, as the operator.
func (c *conn) consumer(stream, name string) *jetstream.ConsumerInfo {
	c.t.Helper()
	consumer, err := c.jetstream().Consumer(within(c.t, bustest.Patience), stream, name)
	if err != nil {
		c.t.Fatal(err)
	}
	return consumer.CachedInfo()
}

// publish stores a request.
func publish(t *testing.T, b *bus.Bus, subject string) {
	t.Helper()
	kind, _, err := events.ParseRequestSubject(subject)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.PublishRequest(within(t, bustest.Patience), subject, newEvent(kind.RequestType())); err != nil {
		t.Fatal(err)
	}
}

func newEvent(eventType string) event.Event {
	ev := event.New()
	ev.SetID(strconv.FormatInt(time.Now().UnixNano(), 36))
	ev.SetSource("/test")
	ev.SetType(eventType)
	return ev
}

// take has the source take one message.
func take(t *testing.T, source *consume.Source) *consume.Message {
	t.Helper()
	m, err := source.Next(within(t, bustest.Patience))
	if err != nil {
		t.Fatal(err)
	}
	return m
}
