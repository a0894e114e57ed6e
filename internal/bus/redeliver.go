package bus

import (
	"fmt"
	"strings"

	"holdfast.io/holdfast/events"
)

// Redeliver has a message that another worker of the host took delivered again at
// once. The reply is the message's, see [Message]; one that is not of the host's
// own consumers is refused, since it may come from a place that others write to.
func (b *Bus) Redeliver(host, reply string) error {
	if !ownReply(host, reply) {
		return fmt.Errorf("%q is not where a message of host %s is settled", reply, host)
	}
	if err := b.nc.Publish(reply, []byte("-NAK")); err != nil {
		return fmt.Errorf("ask for a message of host %s again: %w", host, named(err))
	}
	return nil
}

// ownReply reports whether a reply belongs to one of the host's consumers. Its
// stream and its consumer follow $JS.ACK, or that and a domain and an account.
func ownReply(host, reply string) bool {
	if strings.ContainsAny(reply, "*> \t\r\n") {
		return false
	}
	tokens := strings.Split(reply, ".")
	if len(tokens) < 9 || tokens[0] != "$JS" || tokens[1] != "ACK" {
		return false
	}
	at := 2
	if len(tokens) > 9 {
		at = 4
	}
	stream, durable := tokens[at], tokens[at+1]
	return durable == hostDurable(host) && (stream == events.StreamRequests || stream == events.StreamBroadcast)
}
