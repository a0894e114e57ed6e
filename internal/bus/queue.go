package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/events"
)

// Queued is a request to one host that lies in its stream: nobody has taken it,
// or whoever has it has not settled it.
type Queued struct {
	Subject  string
	Sequence uint64
	// Time is when the stream stored it.
	Time    time.Time
	Headers map[string][]string
	Body    []byte
}

// QueuedHosts returns the ids of the hosts that requests lie for, sorted. It costs
// one exchange with the server, however many requests there are.
func (b *Bus) QueuedHosts(ctx context.Context) ([]string, error) {
	hosts, err := b.lastTokens(ctx, events.StreamRequests, hostSubject("*")("*"))
	if err != nil {
		return nil, fmt.Errorf("look for requests that wait: %w", err)
	}
	return hosts, nil
}

// LockedHosts returns the ids of the hosts whose lock is held, sorted: those that
// a worker serves, and for some seconds those that it served. It costs one
// exchange with the server.
func (b *Bus) LockedHosts(ctx context.Context) ([]string, error) {
	hosts, err := b.lastTokens(ctx, bucketStream(events.BucketLocks), bucketSubject(events.BucketLocks, "*"))
	if err != nil {
		return nil, fmt.Errorf("look who serves: %w", err)
	}
	return hosts, nil
}

// lastTokens returns what the subjects that a stream holds messages of end in,
// each once and sorted.
func (b *Bus) lastTokens(ctx context.Context, stream, filter string) ([]string, error) {
	var answer struct {
		State struct {
			Subjects map[string]uint64 `json:"subjects"`
		} `json:"state"`
	}
	if err := b.api(ctx, "STREAM.INFO."+stream, map[string]string{"subjects_filter": filter}, &answer); err != nil {
		return nil, err
	}
	tokens := map[string]bool{}
	for subject := range answer.State.Subjects {
		tokens[subject[strings.LastIndexByte(subject, '.')+1:]] = true
	}
	return slices.Sorted(maps.Keys(tokens)), nil
}

// NextQueued returns the oldest request that lies for a host, of those after a
// sequence, or nil if there is none. While the server is away it tries on until
// ctx ends.
func (b *Bus) NextQueued(ctx context.Context, host string, after uint64) (*Queued, error) {
	m, err := b.find(ctx, events.StreamRequests, query{NextFor: hostSubject(host)("*"), Sequence: after + 1})
	if err != nil {
		return nil, fmt.Errorf("read the requests that wait for host %s: %w", host, err)
	}
	if m == nil {
		return nil, nil
	}
	return &Queued{Subject: m.subject, Sequence: m.sequence, Time: m.time, Headers: m.header, Body: m.data}, nil
}

// api asks the server's JetStream API, where the library's own way would take
// more exchanges or permissions.
func (b *Bus) api(ctx context.Context, endpoint string, question, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	raw, err := json.Marshal(question)
	if err != nil {
		return err
	}
	m, err := b.request(ctx, "$JS.API."+endpoint, raw)
	if err != nil {
		return err
	}
	var failed struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &failed); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	if failed.Error != nil {
		return named(failed.Error)
	}
	if err := json.Unmarshal(m.Data, answer); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	return nil
}
