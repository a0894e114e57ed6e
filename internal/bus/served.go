package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/events"
)

// HostServed reports whether the host is enrolled: whether a request to it will
// be taken by a worker, now or when that runs again. It reports
// ErrNotProvisioned if there is no stream for requests.
func (b *Bus) HostServed(ctx context.Context, host string) (bool, error) {
	_, err := b.js.Consumer(ctx, events.StreamRequests, hostDurable(host))
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		return false, nil
	}
	return false, fmt.Errorf("look up host %s: %w", host, named(err))
}
