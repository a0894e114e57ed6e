package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/topology"
)

// IsEnrolled reports whether the host is enrolled: whether a request to it will
// be taken by a worker, now or when that runs again. It reports
// bus.ErrNotProvisioned if there is no stream for requests.
func (f Fleet) IsEnrolled(ctx context.Context, host string) (bool, error) {
	_, err := f.JetStream().Consumer(ctx, events.StreamRequests, topology.HostDurable(host))
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		return false, nil
	}
	return false, fmt.Errorf("look up host %s: %w", host, bus.Named(err))
}

// Enrolled returns the ids of the hosts that are enrolled, sorted: those that a
// worker has ever served here, or that were provisioned. It reports bus.ErrDenied if
// the permissions do not let them be listed, and bus.ErrNotProvisioned if there is no
// stream for requests.
func (f Fleet) Enrolled(ctx context.Context) ([]string, error) {
	var hosts []string
	for offset := 0; ; {
		var page struct {
			Total     int      `json:"total"`
			Consumers []string `json:"consumers"`
		}
		err := f.API(ctx, "CONSUMER.NAMES."+events.StreamRequests, map[string]int{"offset": offset}, &page)
		if errors.Is(err, nats.ErrNoResponders) { // so it is in an account that does not import it
			err = fmt.Errorf("%w (%w)", bus.ErrDenied, err)
		}
		if err != nil {
			return nil, fmt.Errorf("list the enrolled hosts: %w", err)
		}
		for _, name := range page.Consumers {
			if host, ok := strings.CutPrefix(name, topology.HostDurable("")); ok {
				hosts = append(hosts, host)
			}
		}
		if offset += len(page.Consumers); len(page.Consumers) == 0 || offset >= page.Total {
			slices.Sort(hosts)
			return hosts, nil
		}
	}
}

// LockedHosts returns the ids of the hosts whose lock is held, sorted: those that
// a worker serves, and for some seconds those that it served. It costs one
// exchange with the server.
func (f Fleet) LockedHosts(ctx context.Context) ([]string, error) {
	hosts, err := f.lastTokens(ctx, topology.BucketStream(events.BucketLocks), topology.BucketSubject(events.BucketLocks, "*"))
	if err != nil {
		return nil, fmt.Errorf("look who serves: %w", err)
	}
	return hosts, nil
}

// lastTokens returns what the subjects that a stream holds messages of end in,
// each once and sorted.
func (f Fleet) lastTokens(ctx context.Context, stream, filter string) ([]string, error) {
	subjects, err := f.Subjects(ctx, stream, filter)
	if err != nil {
		return nil, err
	}
	for i, s := range subjects {
		subjects[i] = s[strings.LastIndexByte(s, '.')+1:]
	}
	slices.Sort(subjects)
	return slices.Compact(subjects), nil
}
