package topology

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/events"
)

// AckWait is how long a dead holder's message waits for its next delivery.
const AckWait = time.Minute

// MaxFleet is how many hosts there may be. It bounds the pulls that wait, and the
// messages that are worked on, at a consumer that all hosts share.
const MaxFleet = 10_000

// Consumer is a durable consumer of the contract.
type Consumer struct {
	Stream string
	Config jetstream.ConsumerConfig
}

// durable returns a consumer on which only an acknowledgement ends a message.
// There is no limit of deliveries: a good job would be condemned by an outage.
func durable(stream, name string, policy jetstream.DeliverPolicy, subjects ...string) Consumer {
	return Consumer{stream, jetstream.ConsumerConfig{
		Durable:        name,
		FilterSubjects: subjects,
		DeliverPolicy:  policy,
		AckPolicy:      jetstream.AckExplicitPolicy,
		AckWait:        AckWait,
		MaxDeliver:     -1,
		MaxWaiting:     512,
		MaxAckPending:  1000,
	}}
}

// WorkConsumers returns where one host's requests come from that need a slot: its
// own, and those to all hosts from its enrolment on.
func WorkConsumers(host string) []Consumer {
	return []Consumer{
		durable(events.StreamRequests, HostDurable(host), jetstream.DeliverAllPolicy, kinds(hostSubject(host), events.Cancel)...),
		durable(events.StreamBroadcast, HostDurable(host), jetstream.DeliverNewPolicy, kinds(events.AllSubject, events.Cancel)...),
	}
}

// CancelConsumers returns where one host's cancellations come from.
func CancelConsumers(host string) []Consumer {
	return []Consumer{
		durable(events.StreamRequests, "cancel_"+host, jetstream.DeliverAllPolicy, events.HostSubject(events.Cancel, host)),
		durable(events.StreamBroadcast, "cancel_"+host, jetstream.DeliverNewPolicy, events.AllSubject(events.Cancel)),
	}
}

// AnyConsumer returns where the requests come from that any host may take.
func AnyConsumer() Consumer {
	c := durable(events.StreamRequests, "any", jetstream.DeliverAllPolicy, events.AnySubject("*"))
	c.Config.MaxWaiting = MaxFleet
	c.Config.MaxAckPending = MaxFleet
	return c
}

func HostDurable(host string) string { return "host_" + host }
