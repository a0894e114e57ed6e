package fleet

import (
	"context"
	"fmt"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
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

// WaitingHosts returns the ids of the hosts that requests lie for, sorted. It costs
// one exchange with the server, however many requests there are.
func (f Fleet) WaitingHosts(ctx context.Context) ([]string, error) {
	hosts, err := f.lastTokens(ctx, events.StreamRequests, events.HostSubject("*", "*"))
	if err != nil {
		return nil, fmt.Errorf("look for requests that wait: %w", err)
	}
	return hosts, nil
}

// NextWaiting returns the oldest request that lies for a host, of those after a
// sequence, or nil if there is none, and takes it from nobody. While the server is
// away it retries until ctx ends. It reports bus.ErrNotProvisioned or bus.ErrClosed.
func (f Fleet) NextWaiting(ctx context.Context, host string, after uint64) (*WaitingRequest, error) {
	m, err := f.Find(ctx, events.StreamRequests, bus.Query{NextFor: events.HostSubject("*", host), Sequence: after + 1})
	if err != nil {
		return nil, fmt.Errorf("read the requests that wait for host %s: %w", host, err)
	}
	if m == nil {
		return nil, nil
	}
	return &WaitingRequest{Subject: m.Subject, Host: host, Sequence: m.Sequence, Time: m.Time, Headers: m.Header, Body: m.Data}, nil
}
