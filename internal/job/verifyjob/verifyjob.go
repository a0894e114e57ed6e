// Package verifyjob carries out verify requests as jobs: it binds the use case verify
// to what runs any job.
package verifyjob

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/inuse"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/verify"
)

// Sinks opens the sinks that the host's configuration names.
type Sinks interface {
	Open(ctx context.Context, name string) (sink.Sink, error)
}

// Kind carries out verify requests. It implements [job.Kind]. Its fields are not
// changed once it is in use.
type Kind struct {
	// Host is the host's id.
	Host   string
	Runner *verify.Runner
	Sinks  Sinks
	// SinkPolicy says which of the sinks requests may name.
	SinkPolicy job.SinkPolicy
	// Uses is where it is said which points are read, so that nobody removes them.
	Uses *inuse.Registry
}

// Name implements [job.Kind].
func (k *Kind) Name() events.Kind { return events.Verify }

// Parse implements [job.Kind].
func (k *Kind) Parse(r job.Request) (job.Spec, error) {
	data, err := events.ParseVerifyRequest(r.Event.Data())
	if err != nil {
		return nil, err
	}
	timeout, _ := time.ParseDuration(data.Timeout) // one that is none was refused
	return &spec{kind: k, request: r, data: data, level: cmp.Or(data.Level, events.VerifyFull), options: job.Options{
		Timeout: timeout, AbortOnError: data.AbortOnError, DryRun: data.DryRun, Sink: cmp.Or(data.Sink, events.DefaultSink),
	}}, nil
}

// spec is one verify request. It implements [job.Spec].
type spec struct {
	kind    *Kind
	request job.Request
	data    *events.VerifyRequest
	level   events.VerifyLevel
	options job.Options
}

func (s *spec) Options() job.Options { return s.options }

// Refuse implements [job.Spec].
func (s *spec) Refuse() *job.Refusal {
	if s.request.Target == events.TargetAny && s.level == events.VerifyDrill {
		return job.Refuse(events.ReasonKindMismatch, "/level",
			"is a drill, which runs containers, and a request for one may not be sent to any host: ask a host by its name")
	}
	return s.kind.SinkPolicy.Refuse("/sink", s.options.Sink, s.request.Target)
}

// DecodePlan implements [job.Spec].
func (s *spec) DecodePlan(raw []byte) (job.Plan, error) {
	return job.DecodePlan(raw, verify.PlanVersion, &verify.Plan{})
}

// Plan implements [job.Spec].
func (s *spec) Plan(ctx context.Context) (job.Plan, error) {
	from, err := s.kind.Sinks.Open(ctx, s.options.Sink)
	var all []verify.Candidate
	if err == nil {
		all, err = verify.Survey(ctx, from)
	}
	switch {
	case errors.Is(err, sink.ErrUnavailable):
		return nil, fmt.Errorf("%w: look what is in sink %s: %w", job.ErrAway, s.options.Sink, err)
	case err != nil:
		return nil, fmt.Errorf("look what is in sink %s: %w", s.options.Sink, err)
	}
	return verify.Select(time.Now(), s.data, all, s.data.DryRun), nil
}
