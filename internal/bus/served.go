package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

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

// Enrolled returns the ids of the hosts that are enrolled, sorted: those that a
// worker has ever served here, or that were provisioned. It reports ErrDenied if
// the permissions do not let them be listed, and ErrNotProvisioned if there is no
// stream for requests.
func (b *Bus) Enrolled(ctx context.Context) ([]string, error) {
	var hosts []string
	for offset := 0; ; {
		names, total, err := b.consumerNames(ctx, events.StreamRequests, offset)
		if err != nil {
			return nil, fmt.Errorf("list the enrolled hosts: %w", err)
		}
		for _, name := range names {
			if host, ok := strings.CutPrefix(name, hostDurable("")); ok {
				hosts = append(hosts, host)
			}
		}
		if offset += len(names); len(names) == 0 || offset >= total {
			slices.Sort(hosts)
			return hosts, nil
		}
	}
}

// consumerNames returns one page of the names of a stream's consumers, and how
// many there are. The library's own way asks for more permissions: it looks the
// stream up first.
func (b *Bus) consumerNames(ctx context.Context, stream string, offset int) (names []string, total int, err error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	question := must(json.Marshal(map[string]int{"offset": offset}))
	m, err := b.request(ctx, "$JS.API.CONSUMER.NAMES."+stream, question)
	if err != nil {
		return nil, 0, err
	}
	var answer struct {
		Error     *jetstream.APIError `json:"error"`
		Total     int                 `json:"total"`
		Consumers []string            `json:"consumers"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return nil, 0, fmt.Errorf("read the server's answer: %w", err)
	}
	if answer.Error != nil {
		return nil, 0, named(answer.Error)
	}
	return answer.Consumers, answer.Total, nil
}
