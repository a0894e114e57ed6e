package bus

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/events"
)

// ackWait is how long a dead holder's message waits for its next delivery.
const ackWait = time.Minute

// maxFleet is how many hosts there may be. It bounds the pulls that wait, and the
// messages that are worked on, at a consumer that all hosts share.
const maxFleet = 10_000

// consumer is a durable consumer of the contract.
type consumer struct {
	stream string
	config consumerConfig
}

// durable returns a consumer on which only an acknowledgement ends a message.
// There is no limit of deliveries: a good job would be condemned by an outage.
func durable(stream, name string, policy jetstream.DeliverPolicy, subjects ...string) consumer {
	return consumer{stream, consumerConfig{
		Durable:        name,
		FilterSubjects: subjects,
		DeliverPolicy:  policy,
		AckPolicy:      jetstream.AckExplicitPolicy,
		AckWait:        ackWait,
		MaxDeliver:     -1,
		MaxWaiting:     512,
		MaxAckPending:  1000,
	}}
}

// workConsumers returns where one host's requests come from that need a slot: its
// own, and those to all hosts from its enrolment on.
func workConsumers(host string) []consumer {
	return []consumer{
		durable(events.StreamRequests, hostDurable(host), jetstream.DeliverAllPolicy, kinds(hostSubject(host), events.Cancel)...),
		durable(events.StreamBroadcast, hostDurable(host), jetstream.DeliverNewPolicy, kinds(events.AllSubject, events.Cancel)...),
	}
}

// cancelConsumers returns where one host's cancellations come from.
func cancelConsumers(host string) []consumer {
	return []consumer{
		durable(events.StreamRequests, "cancel_"+host, jetstream.DeliverAllPolicy, events.HostSubject(events.Cancel, host)),
		durable(events.StreamBroadcast, "cancel_"+host, jetstream.DeliverNewPolicy, events.AllSubject(events.Cancel)),
	}
}

// anyConsumer returns where the requests come from that any host may take.
func anyConsumer() consumer {
	c := durable(events.StreamRequests, "any", jetstream.DeliverAllPolicy, events.AnySubject("*"))
	c.config.MaxWaiting = maxFleet
	c.config.MaxAckPending = maxFleet
	return c
}

func hostDurable(host string) string { return "host_" + host }
