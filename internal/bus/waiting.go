package bus

import (
	"context"
	"iter"
	"strings"
	"time"

	"holdfast.io/holdfast/events"
)

// WaitingRequest is a message to one host that nobody has settled yet. It may be
// worked on, and need not be a valid request.
type WaitingRequest struct {
	Subject string
	// Host is the id of the host that it was sent to.
	Host     string
	Sequence uint64
	// Time is when the stream stored it.
	Time    time.Time
	Headers map[string][]string
	Body    []byte
}

// Waiting yields the requests to one host each, of all hosts, that lie in their
// stream, the oldest first, and takes none of them. It tries on until ctx ends
// while the server is away. It reports ErrNotProvisioned or ErrClosed, and ends
// after the first error.
func (b *Bus) Waiting(ctx context.Context) iter.Seq2[WaitingRequest, error] {
	return func(yield func(WaitingRequest, error) bool) {
		for m, err := range b.walk(ctx, events.StreamRequests, events.HostSubject("*", "*")) {
			if err != nil {
				yield(WaitingRequest{}, err)
				return
			}
			r := WaitingRequest{
				Subject:  m.subject,
				Host:     m.subject[strings.LastIndexByte(m.subject, '.')+1:],
				Sequence: m.sequence,
				Time:     m.time,
				Headers:  m.header,
				Body:     m.data,
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}
