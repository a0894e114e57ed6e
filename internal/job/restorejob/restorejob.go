// Package restorejob carries out restore requests as jobs: it binds the use case restore
// to what runs any job.
package restorejob

import (
	"cmp"
	"context"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/inuse"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/plan"
	"holdfast.io/holdfast/internal/restore"
	"holdfast.io/holdfast/internal/sink"
)

// Sinks opens the sinks that the host's configuration names.
type Sinks interface {
	Open(ctx context.Context, name string) (sink.Sink, error)
}

// Kind carries out restore requests. It implements [job.Kind]. Its fields are not
// changed once it is in use.
type Kind struct {
	// Host is the host's id.
	Host   string
	Runner *restore.Runner
	// Backups stores what volumes hold before that is replaced.
	Backups    *backup.Runner
	Sinks      Sinks
	SinkPolicy job.SinkPolicy
	// Lifeline returns what the worker's own life hangs on at this moment, given the
	// containers on the Engine.
	Lifeline func(ctx context.Context, containers []engine.Container) plan.Lifeline
	// Uses keeps points from being pruned while they are read.
	Uses *inuse.Registry
}

// Name implements [job.Kind].
func (k *Kind) Name() events.Kind { return events.Restore }

// defaultGate is how long a started container must run.
const defaultGate = 10 * time.Second

// Parse implements [job.Kind].
func (k *Kind) Parse(r job.Request) (job.Spec, error) {
	data, err := events.ParseRestoreRequest(r.Event.Data())
	if err != nil {
		return nil, err
	}
	timeout, _ := time.ParseDuration(data.Timeout) // one that is none was refused
	gate, _ := time.ParseDuration(cmp.Or(data.Gate, defaultGate.String()))
	return &spec{kind: k, request: r, data: data, gate: gate, options: job.Options{
		Timeout: timeout, AbortOnError: data.AbortOnError, DryRun: data.DryRun, Sink: cmp.Or(data.Sink, events.DefaultSink),
	}}, nil
}

// spec is one restore request. It implements [job.Spec].
type spec struct {
	kind    *Kind
	request job.Request
	data    *events.RestoreRequest
	gate    time.Duration
	options job.Options
}

// Options implements [job.Spec].
func (s *spec) Options() job.Options { return s.options }

// Refuse implements [job.Spec].
func (s *spec) Refuse() *job.Refusal {
	return s.kind.SinkPolicy.Refuse("/sink", s.options.Sink, s.request.Target)
}

// DecodePlan implements [job.Spec].
func (s *spec) DecodePlan(raw []byte) (job.Plan, error) {
	return job.DecodePlan(raw, restore.PlanVersion, &restore.Plan{})
}

// wish is what the request asks for.
func (s *spec) wish() restore.Wish {
	w := restore.Wish{
		Job: s.request.Job, As: cmp.Or(s.data.As, events.RestoreStart), Name: s.data.Name, Replace: s.data.Replace,
		Volumes: events.VolumesEmpty, Networks: cmp.Or(s.data.Networks, events.NetworksExisting), Gate: s.gate.String(),
		Dependants: cmp.Or(s.data.Dependants, events.DependantsRefuse),
	}
	if s.data.Volumes != nil {
		w.Volumes = cmp.Or(s.data.Volumes.Mode, events.VolumesEmpty)
	}
	return w
}
