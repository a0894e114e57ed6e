package consume

import (
	"fmt"
	"regexp"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/topology"
)

// deliverySubject finds the stream and the consumer in the subject where a
// delivery is settled. Newer servers can put their domain and the account before
// them.
var deliverySubject = regexp.MustCompile(`^\$JS\.ACK\.(?:[^.\s*>]+\.[^.\s*>]+\.)?([^.\s*>]+)\.([^.\s*>]+)(?:\.[0-9]+){5}$`)

// Redeliver has a message delivered again at once that another worker of the host
// took and did not settle. The reply is that delivery's [Message.Reply], from
// wherever it was kept: it is refused unless it belongs to a consumer of the
// host's work. Nothing happens if the message is settled. Redeliver does not wait
// for the server; while that is away, it fails.
func Redeliver(b *bus.Bus, host, reply string) error {
	if !ownDelivery(host, reply) {
		return fmt.Errorf("%q does not settle a delivery to host %q", reply, host)
	}
	if err := b.Conn().Publish(reply, []byte("-NAK")); err != nil {
		return fmt.Errorf("have a message delivered again: %w", bus.Named(err))
	}
	return nil
}

func ownDelivery(host, reply string) bool {
	found := deliverySubject.FindStringSubmatch(reply)
	if found == nil || !events.ValidHostID(host) {
		return false
	}
	stream, consumer := found[1], found[2]
	return consumer == topology.HostDurable(host) && (stream == events.StreamRequests || stream == events.StreamBroadcast)
}
