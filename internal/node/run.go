package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/bus/consume"
	"holdfast.io/holdfast/internal/bus/fleet"
	"holdfast.io/holdfast/internal/bus/kv"
	"holdfast.io/holdfast/internal/copies"
	"holdfast.io/holdfast/internal/dispatch"
	"holdfast.io/holdfast/internal/inuse"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/job/backupjob"
	"holdfast.io/holdfast/internal/job/copyjob"
	"holdfast.io/holdfast/internal/job/prunejob"
	"holdfast.io/holdfast/internal/job/restorejob"
	"holdfast.io/holdfast/internal/job/verifyjob"
	"holdfast.io/holdfast/internal/lease"
	"holdfast.io/holdfast/internal/ledger"
	"holdfast.io/holdfast/internal/restore"
	"holdfast.io/holdfast/internal/sink/file"
	"holdfast.io/holdfast/internal/transport"
	"holdfast.io/holdfast/internal/unserved"
	"holdfast.io/holdfast/internal/verify"
)

// releaseBound is how long releasing the lease may take.
const releaseBound = 3 * time.Second

// Run serves the host until ctx ends, and then to the end of what was begun. While
// another worker serves the host it stands by, and takes over from one that is not
// heard of any more. It reports lease.ErrOtherEngine if that other one has
// another Engine.
func (n *Node) Run(ctx context.Context) error {
	contender := lease.Contender{
		Locks: kv.Locks(n.Bus), Host: n.Host, Predecessor: n.predecessor, Log: n.o.Log,
		Holder: lease.Holder{Owner: n.owner, EngineID: n.about.ID, Process: process()},
		StandBy: func(holder lease.Holder) {
			n.o.Log.Info("standing by: another worker serves the host", zap.String("host", n.Host), zap.String("worker", holder.Process))
		},
	}
	n.role.set(nil)
	defer n.announce()()
	for {
		t, err := contender.Acquire(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		err = n.serve(ctx, t)
		if err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// serve serves the host until ctx ends or the lease is lost.
func (n *Node) serve(ctx context.Context, t *lease.Lease) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	detach := context.AfterFunc(t.Context(), func() { cancel(context.Cause(t.Context())) })
	defer detach()
	defer n.release(t)
	if err := n.adoptOwnRecords(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("undo what an earlier worker left: %w", err)
	}
	n.o.Log.Info("serving", zap.String("host", n.Host), zap.String("engine", n.engineAddress()),
		zap.Strings("sinks", n.Sinks.Names()), zap.Int("slots", n.o.Slots), zap.String("version", n.o.Version))
	open := n.adoptJobs(ctx)
	var running sync.WaitGroup
	for _, s := range n.services(open) {
		running.Go(func() { s(ctx) })
	}
	w := n.worker(t)
	n.role.set(w)
	defer n.role.set(nil)
	w.Run(ctx, sources(consume.Work(n.Bus, n.Host)), sources(consume.Cancels(n.Bus, n.Host)), n.o.ShutdownGrace)
	cancel(nil)
	running.Wait()
	return nil
}

// service runs beside the worker while the host is served: until ctx ends, or its
// work is done.
type service func(ctx context.Context)

// services are what runs beside the worker. open are the jobs of earlier workers.
func (n *Node) services(open []ledger.Job) []service {
	list := []service{func(ctx context.Context) { n.takeOver(ctx, open) }}
	if n.server == nil { // on our own server there is only this host
		watcher := &unserved.Watcher{Host: n.Host, Queue: fleet.Of(n.Bus), Log: n.o.Log}
		list = append(list, watcher.Run)
	}
	if n.primer != nil {
		list = append(list, n.primer.Run)
	}
	return list
}

// kinds are what the host can carry out. A new kind of request is one more line here.
func (n *Node) kinds() []job.Kind {
	return []job.Kind{
		n.backups(),
		n.verifications(),
		n.restores(),
		&prunejob.Kind{Host: n.Host, Sinks: n.Sinks, SinkPolicy: n.sinkPolicy(), Uses: n.uses()},
		n.copies(),
	}
}

// uses are the points that jobs of all hosts read.
func (n *Node) uses() *inuse.Registry { return &inuse.Registry{Locks: kv.Locks(n.Bus), Host: n.Host} }

// sinkPolicy says which sinks requests of any kind may name.
func (n *Node) sinkPolicy() job.SinkPolicy {
	return job.SinkPolicy{Host: n.Host, Sinks: n.Sinks, Allowed: n.o.AllowedSinks}
}

// worker puts together what serves the host under a lease.
func (n *Node) worker(t *lease.Lease) *dispatch.Worker {
	w := &dispatch.Worker{
		Host:    n.Host,
		Kinds:   n.kinds(),
		Allowed: n.o.Kinds,
		Runner: &job.Runner{
			Host:      n.Host,
			Timeouts:  n.o.Timeouts,
			RetryFor:  n.o.RetryFor,
			Publisher: n.Bus,
			Jobs:      n.jobs,
			Lease:     t,
			Sweeper:   n.sweeper,
			Slots:     job.NewSlots(n.o.Slots),
			Log:       n.o.Log,
		},
		Publisher: n.Bus,
		Log:       n.o.Log,
	}
	if n.primer != nil {
		w.Busy = n.primer.Busy
	}
	return w
}

// backups carries out backup requests.
func (n *Node) backups() *backupjob.Kind {
	return &backupjob.Kind{
		Host:       n.Host,
		Runner:     n.backup(),
		Copies:     n.copier(),
		Uses:       n.uses(),
		Sinks:      n.Sinks,
		SinkPolicy: n.sinkPolicy(),
		Policy:     n.o.Policy,
		PruneAfter: n.o.PruneAfter,
		Lifeline:   n.lifeline,
	}
}

// backup stores items as points.
func (n *Node) backup() *backup.Runner {
	r := &backup.Runner{
		Engine:       n.engine,
		Sweeper:      n.sweeper,
		Transport:    n.saves(),
		Push:         n.push,
		Direct:       n.direct,
		Volumes:      &transport.Volumes{Helpers: n.helper(), Compression: n.o.Compression},
		HooksAllowed: n.o.Hooks,
		HookOutput:   n.o.HookOutput,
		StallTimeout: n.o.StallTimeout,
		Version:      n.o.Version,
		Log:          n.o.Log,
	}
	if n.primer != nil {
		r.Bases = n.primer
	}
	return r
}

// saves moves images as docker save does.
func (n *Node) saves() *transport.Save {
	return &transport.Save{Engine: n.engine, Compression: n.o.Compression, Room: file.FreeIn}
}

// verifications carries out verify requests.
func (n *Node) verifications() *verifyjob.Kind {
	return &verifyjob.Kind{
		Host: n.Host,
		Runner: &verify.Runner{
			Engine:       n.engine,
			Sweeper:      n.sweeper,
			StallTimeout: n.o.StallTimeout,
			Version:      n.o.Version,
			Log:          n.o.Log,
		},
		Sinks:      n.Sinks,
		SinkPolicy: n.sinkPolicy(),
		Uses:       n.uses(),
	}
}

// copies carries out copy requests.
func (n *Node) copies() *copyjob.Kind {
	return &copyjob.Kind{
		Host:       n.Host,
		Runner:     n.copier(),
		Sinks:      n.Sinks,
		SinkPolicy: n.sinkPolicy(),
		Uses:       n.uses(),
	}
}

// copier copies points from one sink to another.
func (n *Node) copier() *copies.Runner {
	return &copies.Runner{Sweeper: n.sweeper, StallTimeout: n.o.StallTimeout, Log: n.o.Log}
}

// restores carries out restore requests.
func (n *Node) restores() *restorejob.Kind {
	return &restorejob.Kind{
		Host: n.Host,
		Runner: &restore.Runner{
			Engine: n.engine, Sweeper: n.sweeper, Volumes: n.helper(), Log: n.o.Log,
		},
		Backups:    n.backup(),
		Sinks:      n.Sinks,
		SinkPolicy: n.sinkPolicy(),
		Lifeline:   n.lifeline,
		Uses:       n.uses(),
	}
}

// release releases the lease, so that a worker that stands by takes over at once.
func (n *Node) release(t *lease.Lease) {
	ctx, cancel := context.WithTimeout(context.Background(), releaseBound)
	defer cancel()
	if err := t.Release(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		n.o.Log.Warn("the host's lock was not released; it expires by itself", zap.Error(err))
	}
}

func sources(from []*consume.Source) []dispatch.Source {
	to := make([]dispatch.Source, len(from))
	for i, s := range from {
		to[i] = s
	}
	return to
}
