// Package prunejob carries out prune requests as jobs: it binds the decisions of
// retention and the use case prune to what runs any job.
package prunejob

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/inuse"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/retention"
	"holdfast.io/holdfast/internal/sink"
)

// DefaultGrace is how long a removed point can be taken back where the request does not
// say.
const DefaultGrace = 24 * time.Hour

// Sinks opens the sinks that the host's configuration names.
type Sinks interface {
	Open(ctx context.Context, name string) (sink.Sink, error)
}

// Kind carries out prune requests. It implements [job.Kind]. Its fields are not changed
// once it is in use.
type Kind struct {
	// Host is the host's id.
	Host  string
	Sinks Sinks
	// SinkPolicy says which of the sinks requests may name.
	SinkPolicy job.SinkPolicy
	// Uses say which points are in use.
	Uses *inuse.Registry
}

// Name implements [job.Kind].
func (k *Kind) Name() events.Kind { return events.Prune }

// Parse implements [job.Kind].
func (k *Kind) Parse(r job.Request) (job.Spec, error) {
	data, err := events.ParsePruneRequest(r.Event.Data())
	if err != nil {
		return nil, err
	}
	timeout, _ := time.ParseDuration(data.Timeout) // one that is none was refused
	within, _ := time.ParseDuration(data.Keep.Within)
	grace := DefaultGrace
	if data.Grace != "" {
		grace, _ = time.ParseDuration(data.Grace)
	}
	keep := data.Keep
	return &spec{
		kind: k, request: r, selection: selectionOf(data), grace: grace,
		policy: retention.Policy{Last: keep.Last, Hourly: keep.Hourly, Daily: keep.Daily, Weekly: keep.Weekly, Monthly: keep.Monthly,
			Yearly: keep.Yearly, Within: within, Tags: keep.Tags},
		options: job.Options{
			Timeout: timeout, AbortOnError: data.AbortOnError, DryRun: data.DryRun, Sink: cmp.Or(data.Sink, events.DefaultSink),
		},
	}, nil
}

// spec is one prune request. It implements [job.Spec].
type spec struct {
	kind      *Kind
	request   job.Request
	selection selection
	policy    retention.Policy
	grace     time.Duration
	options   job.Options
}

func (s *spec) Options() job.Options { return s.options }

// Refuse implements [job.Spec].
func (s *spec) Refuse() *job.Refusal {
	return s.kind.SinkPolicy.Refuse("/sink", s.options.Sink, s.request.Target)
}

// DecodePlan implements [job.Spec].
func (s *spec) DecodePlan(raw []byte) (job.Plan, error) {
	return job.DecodePlan(raw, planVersion, &plan{})
}

// Plan implements [job.Spec].
func (s *spec) Plan(ctx context.Context) (job.Plan, error) {
	from, err := s.kind.Sinks.Open(ctx, s.options.Sink)
	if err != nil {
		return nil, planError(err)
	}
	now := s.request.Stored
	d, err := s.decide(ctx, from, now)
	if err != nil {
		return nil, planError(err)
	}
	return d.plan(now, s), nil
}

// planError says of an error whether the same can be tried again later.
func planError(err error) error {
	if errors.Is(err, sink.ErrUnavailable) {
		return fmt.Errorf("%w: %w", job.ErrAway, err)
	}
	return err
}
