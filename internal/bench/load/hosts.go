//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bench"
	"holdfast.io/holdfast/internal/bus/fleet"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/job/backupjob"
	"holdfast.io/holdfast/internal/node"
	"holdfast.io/holdfast/internal/sink/layered"
	"holdfast.io/holdfast/internal/sink/open"
)

const (
	// memoryDir is a folder in memory. What simulated hosts write goes there: they
	// would all have the one disk of this machine.
	memoryDir = "/dev/shm"
	// hostContainers is how many containers a simulated host has.
	hostContainers = 4
	// starters is how many simulated hosts start at a time.
	starters = 8
	// serveBound is how long all of them may take to serve.
	serveBound = 5 * time.Minute
)

// hosts are simulated hosts: each is the real worker, in this process, with an
// Engine in memory.
type hosts struct {
	names []string

	stopRun context.CancelFunc
	running sync.WaitGroup

	mu    sync.Mutex
	nodes []*node.Node
	err   error
}

func hostNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("sim-%03d", i)
	}
	return names
}

func containerName(i int) string { return fmt.Sprintf("c%d", i%hostContainers) }

// simulate starts hosts of these names with as many containers each, which end
// with the part, and returns when each of them serves.
func (l *lab) simulate(ctx context.Context, k *link, s *servers, names []string, containers int) (*hosts, error) {
	dir, err := os.MkdirTemp(memoryDir, "holdfast-load-")
	if err != nil {
		return nil, fmt.Errorf("make a folder in memory for the simulated hosts: %w", err)
	}
	l.atEnd(func(context.Context) error { return os.RemoveAll(dir) })
	run, stop := context.WithCancel(ctx)
	h := &hosts{names: names, stopRun: stop}
	l.atEnd(func(context.Context) error { return h.stop() })
	bench.Say("starting %d simulated hosts", len(names))
	var group sync.WaitGroup
	for i := range starters {
		group.Go(func() {
			for j := i; j < len(names) && run.Err() == nil; j += starters {
				h.start(run, s, filepath.Join(dir, names[j]), names[j], containers)
			}
		})
	}
	group.Wait()
	all := bench.Until(ctx, serveBound, func() bool {
		locked, err := fleet.Of(k.bus).LockedHosts(ctx)
		return h.failure() != nil || err == nil && len(locked) == len(names)
	})
	if err := errors.Join(h.failure(), ctx.Err()); err != nil {
		return nil, err
	}
	if !all {
		return nil, fmt.Errorf("not all hosts serve after %s", serveBound)
	}
	return h, nil
}

// start starts one host.
func (h *hosts) start(ctx context.Context, s *servers, dir, name string, containers int) {
	n, err := node.Start(ctx, node.Options{
		StateDir: filepath.Join(dir, "state"), NATS: s.busOptions(), Engine: simulatedEngine(name, containers), HostID: name,
		Sinks: map[string]open.Config{events.DefaultSink: {URL: filepath.Join(dir, "state", "sink"), Format: layered.Archive}}, MakeSink: true,
		Slots: 2, Compression: codec.Compression{Level: bench.Level},
		Kinds: []events.Kind{events.Backup, events.Cancel}, Policy: backupjob.Policy{Quiesce: []events.Quiesce{events.QuiescePause}},
		StallTimeout: 10 * time.Minute, RetryFor: 10 * time.Minute, ShutdownGrace: time.Second,
		Wait: true, Version: "simulated", Log: zap.NewNop(),
	})
	if err != nil {
		h.fail(fmt.Errorf("start host %s: %w", name, err))
		return
	}
	h.mu.Lock()
	h.nodes = append(h.nodes, n)
	h.mu.Unlock()
	h.running.Go(func() {
		if err := n.Run(ctx); err != nil {
			h.fail(fmt.Errorf("host %s: %w", name, err))
		}
	})
}

func simulatedEngine(name string, containers int) *enginetest.Fake {
	e := enginetest.NewFake(name)
	e.AddImage("app:1")
	for i := range containers {
		e.Add(enginetest.Spec{Name: fmt.Sprintf("c%d", i), Image: "app:1"}, events.StateRunning)
	}
	return e
}

func (h *hosts) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = errors.Join(h.err, err)
}

func (h *hosts) failure() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// stop ends all hosts.
func (h *hosts) stop() error {
	h.stopRun()
	h.running.Wait()
	var group sync.WaitGroup
	for _, n := range h.nodes {
		group.Go(n.Close)
	}
	group.Wait()
	return nil
}
