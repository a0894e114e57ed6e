// Package backupjob carries out backup requests as jobs: it binds the use case backup
// to what runs any job.
package backupjob

import (
	"context"
	"fmt"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/copies"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/inuse"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/ledger"
	"holdfast.io/holdfast/internal/plan"
	"holdfast.io/holdfast/internal/sink"
)

// Sinks opens the sinks that the host's configuration names.
type Sinks interface {
	Open(ctx context.Context, name string) (sink.Sink, error)
	// Used is Open of a sink that was used before, and returns nil for another one.
	Used(ctx context.Context, name string) (sink.Sink, error)
}

// Kind carries out backup requests. It implements [job.Kind]. Its fields are not
// changed once it is in use.
type Kind struct {
	// Host is the host's id.
	Host   string
	Runner *backup.Runner
	// Copies gets points to sinks that were away, or too slow, while they were captured, and
	// Uses is where it is said that they are read meanwhile.
	Copies *copies.Runner
	Uses   *inuse.Registry
	Sinks  Sinks
	// SinkPolicy says which of the sinks requests may name, and Policy what else they may.
	SinkPolicy job.SinkPolicy
	Policy     Policy
	// PruneAfter is what is removed after a backup; nil for nothing.
	PruneAfter *PruneAfter
	// Lifeline returns what the worker's own life hangs on at this moment, given the
	// containers on the Engine.
	Lifeline func(ctx context.Context, containers []engine.Container) plan.Lifeline
}

// Name implements [job.Kind].
func (k *Kind) Name() events.Kind { return events.Backup }

// Parse implements [job.Kind].
func (k *Kind) Parse(r job.Request) (job.Spec, error) {
	data, err := events.ParseBackupRequest(r.Event.Data())
	if err != nil {
		return nil, err
	}
	timeout, _ := time.ParseDuration(data.Timeout) // one that is none was refused
	sinks := data.AllSinks()
	o := job.Options{Timeout: timeout, AbortOnError: data.AbortOnError, DryRun: data.DryRun, Sink: sinks[0]}
	if len(sinks) > 1 {
		o.Sinks = sinks
	}
	return &spec{kind: k, request: r, data: data, options: o}, nil
}

// spec is one backup request. It implements [job.Spec].
type spec struct {
	kind    *Kind
	request job.Request
	data    *events.BackupRequest
	options job.Options
}

func (s *spec) Options() job.Options { return s.options }

// DecodePlan implements [job.Spec].
func (s *spec) DecodePlan(raw []byte) (job.Plan, error) {
	p := &plan.Plan{}
	if _, err := job.DecodePlan(raw, plan.Version, p); err != nil {
		return nil, err
	}
	if err := p.Check(); err != nil {
		return nil, fmt.Errorf("%w: the stored plan: %w", ledger.ErrDamaged, err)
	}
	return p, nil
}

// Plan implements [job.Spec].
func (s *spec) Plan(ctx context.Context) (job.Plan, error) {
	k := s.kind
	inventory, err := s.inventory(ctx)
	if err != nil {
		return nil, err
	}
	var selectable []engine.Container
	if s.data.Containers != nil {
		selectable = inventory.Containers
	}
	labels, err := s.imageLabels(ctx, selectable)
	if err != nil {
		return nil, err
	}
	namespaces, err := s.namespaces(ctx, selectable)
	if err != nil {
		return nil, err
	}
	about, err := k.Runner.Engine.About(ctx)
	if err != nil {
		return nil, planError(err, "ask the Engine what it is")
	}
	p := plan.Make(time.Now(), s.data, inventory, plan.Rules{
		Quiesce:      k.Policy.Quiesce,
		Allowed:      k.Policy.Containers,
		HooksAllowed: k.Runner.HooksAllowed,
		ImageLabels:  labels,
		Namespaces:   namespaces,
		Warnings:     plan.EngineWarnings(about),
		Protected:    plan.Protected(selectable, k.Lifeline(ctx, selectable)),
		Binds:        k.Policy.Binds,
		SkipMissing:  s.request.Target == events.TargetAll,
		Explain:      s.data.DryRun,
	})
	if s.data.DryRun {
		s.foresee(ctx, p, inventory.Containers)
	}
	return p, nil
}
