package consume

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"holdfast.io/holdfast/internal/bus/topology"
)

// The library's own ways to take one message do not fit: its Fetch and Next stop
// listening when their context ends, and a message on its way is lost for the
// acknowledgement wait; they notice a reconnect only by missing heartbeats; its
// iterators ignore an answer that says that the consumer is gone. The protocol
// is small: one request, answered by one message or one status.

// pullExpiry is how long the server holds a pull. Its answer at the end is also
// the sign that it still lives, so that no heartbeats are needed: a source that
// idles costs two messages in that time.
const pullExpiry = time.Minute

// pullGrace is how long after its expiry a pull without an answer is given up.
const pullGrace = 5 * time.Second

// pullBody asks for one message.
var pullBody = fmt.Appendf(nil, `{"batch":1,"expires":%d}`, pullExpiry.Nanoseconds())

func pullSubject(c topology.Consumer) string {
	return "$JS.API.CONSUMER.MSG.NEXT." + c.Stream + "." + c.Config.Durable
}

// pull is a request for one message that the server holds.
type pull struct {
	reply   string
	session <-chan struct{} // it ends with the session
	expires time.Time
}

func (p *pull) lives(now time.Time) bool {
	return p != nil && !ended(p.session) && now.Before(p.expires)
}

// status is what the server answers to a pull in place of a message.
type status string

const (
	statusNone      status = "" // it is a message
	statusTimeout   status = "408"
	statusNoAnswers status = "503"
)

// statusOf tells the two apart by the place for an acknowledgement, which only a
// message has: an empty message could bear any header.
func statusOf(m *nats.Msg) status {
	if m.Reply != "" {
		return statusNone
	}
	return status(m.Header.Get("Status"))
}

func ended(session <-chan struct{}) bool {
	select {
	case <-session:
		return true
	default:
		return false
	}
}
