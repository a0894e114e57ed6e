// Package copyjob carries out copy requests as jobs: it binds the use case copies to what
// runs any job.
package copyjob

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/copies"
	"holdfast.io/holdfast/internal/inuse"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/sink"
)

// Sinks opens the sinks that the host's configuration names.
type Sinks interface {
	Open(ctx context.Context, name string) (sink.Sink, error)
}

// Kind carries out copy requests. It implements [job.Kind]. Its fields are not changed
// once it is in use.
type Kind struct {
	// Host is the host's id.
	Host   string
	Runner *copies.Runner
	Sinks  Sinks
	// SinkPolicy says which of the sinks requests may name.
	SinkPolicy job.SinkPolicy
	// Uses is where it is said which points are read, so that nobody removes them.
	Uses *inuse.Registry
}

// Name implements [job.Kind].
func (k *Kind) Name() events.Kind { return events.Copy }

// Parse implements [job.Kind].
func (k *Kind) Parse(r job.Request) (job.Spec, error) {
	data, err := events.ParseCopyRequest(r.Event.Data())
	if err != nil {
		return nil, err
	}
	timeout, _ := time.ParseDuration(data.Timeout) // one that is none was refused
	return &spec{kind: k, request: r, data: data, from: cmp.Or(data.From, events.DefaultSink), options: job.Options{
		Timeout: timeout, AbortOnError: data.AbortOnError, DryRun: data.DryRun, Sink: data.To,
	}}, nil
}

// spec is one copy request. It implements [job.Spec]. The sink of its options is the one
// that is copied to.
type spec struct {
	kind    *Kind
	request job.Request
	data    *events.CopyRequest
	from    string
	options job.Options
}

func (s *spec) Options() job.Options { return s.options }

// Refuse implements [job.Spec].
func (s *spec) Refuse() *job.Refusal {
	from := s.kind.SinkPolicy.Refuse("/from", s.from, s.request.Target)
	to := s.kind.SinkPolicy.Refuse("/to", s.options.Sink, s.request.Target)
	if from != nil && to != nil && from.Reason == to.Reason {
		from.Violations = append(from.Violations, to.Violations...)
	}
	return cmp.Or(from, to)
}

// DecodePlan implements [job.Spec].
func (s *spec) DecodePlan(raw []byte) (job.Plan, error) {
	return job.DecodePlan(raw, copies.PlanVersion, &copies.Plan{})
}

// Plan implements [job.Spec].
func (s *spec) Plan(ctx context.Context) (job.Plan, error) {
	from, to, err := s.open(ctx)
	if err != nil {
		return nil, looked(err)
	}
	if from.ID() == to.ID() {
		return nil, fmt.Errorf("sinks %s and %s are one and the same", s.from, s.options.Sink)
	}
	all, err := copies.Survey(ctx, from, to)
	if err != nil {
		return nil, looked(err)
	}
	return copies.Select(copies.Choice{Request: s.data, Host: s.kind.Host, Now: time.Now(), Explain: s.data.DryRun}, all), nil
}

// looked says of an error of a look at the sinks whether the same can be tried again.
func looked(err error) error {
	if errors.Is(err, sink.ErrUnavailable) {
		return fmt.Errorf("%w: %w", job.ErrAway, err)
	}
	return err
}

// open opens both sinks.
func (s *spec) open(ctx context.Context) (from, to copies.Sink, err error) {
	for name, into := range map[string]*copies.Sink{s.from: &from, s.options.Sink: &to} {
		opened, err := s.kind.Sinks.Open(ctx, name)
		if err != nil {
			return from, to, err
		}
		*into = copies.Sink{Name: name, Sink: opened}
	}
	return from, to, nil
}
