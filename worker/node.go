package main

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/embedded"
	"holdfast.io/holdfast/internal/dispatch"
	"holdfast.io/holdfast/internal/docker"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink/configured"
	"holdfast.io/holdfast/internal/sink/file"
	"holdfast.io/holdfast/internal/state"
)

// node is a worker in this process, with all that it needs: the state dir, the
// message server if it is our own, the Engine and the sinks.
type node struct {
	cfg    *config
	log    *zap.Logger
	host   string
	dir    *state.Dir
	server *embedded.Server // nil if a server is configured
	bus    *bus.Bus
	engine *docker.Engine
	sinks  *configured.Set
	tidier *backup.Tidier
	worker *dispatch.Worker
}

// startNode puts a worker together, ready to run. With wait set it waits for an
// Engine and a message server that are not there yet. It reports
// state.ErrLocked if another process serves the state dir.
func startNode(ctx context.Context, cfg *config, log *zap.Logger, wait bool) (n *node, err error) {
	n = &node{cfg: cfg, log: log}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	if n.dir, err = state.Hold(cfg.StateDir); err != nil {
		return n, err
	}
	if n.engine, err = docker.Connect(cfg.Docker.Host); err != nil {
		return n, err
	}
	if n.host, err = hostID(ctx, cfg, n.engine, log, wait); err != nil {
		return n, err
	}
	if err = n.openSinks(); err != nil {
		return n, err
	}
	if err = n.connect(ctx, wait); err != nil {
		return n, err
	}
	if err = n.adopt(); err != nil {
		return n, err
	}
	n.worker = &dispatch.Worker{
		Host: n.host,
		Backuper: &backup.Backuper{
			Engine:      n.engine,
			Locks:       n.tidier.Locks,
			Notes:       n.tidier.Notes,
			Tidier:      n.tidier,
			NoProgress:  10 * time.Minute,
			Room:        file.FreeIn,
			Compression: point.Compression{Level: cfg.Compression.Level},
			Version:     programVersion(),
			Log:         log,
		},
		Sinks:     n.sinks,
		Policy:    dispatch.Policy{Quiesce: cfg.Policy.Quiesce},
		Lifeline:  n.lifeline,
		Publisher: n.bus,
		Slots:     dispatch.NewSlots(cfg.Slots),
		Log:       log,
	}
	return n, nil
}

// adopt has what earlier attempts left behind undone, by their notes.
func (n *node) adopt() error {
	notes, err := n.dir.Notes()
	if err != nil {
		return err
	}
	n.tidier = &backup.Tidier{Engine: n.engine, Locks: &backup.Locks{}, Notes: notes, Sinks: n.sinks, Log: n.log}
	left, err := notes.List()
	if err != nil {
		n.log.Error("what some attempts left behind cannot be undone", zap.Error(err))
	}
	for _, note := range left {
		if err := n.tidier.Adopt(note, true); err != nil {
			return err
		}
	}
	return nil
}

// hostID is the configured id, or the Engine's name.
func hostID(ctx context.Context, cfg *config, engine *docker.Engine, log *zap.Logger, wait bool) (string, error) {
	about, err := engine.About(ctx)
	if err != nil && wait {
		log.Warn("waiting for the Docker Engine", zap.String("address", engine.Host()), zap.Error(err))
		about, err = backoff.Retry(ctx, func() (backup.About, error) { return engine.About(ctx) }, backoff.WithMaxElapsedTime(0))
	}
	if err != nil {
		return "", fmt.Errorf("%w\nIs the Engine running, and may this user reach it? 'holdfast doctor' looks closer", err)
	}
	if cfg.Host.ID != "" {
		return cfg.Host.ID, nil
	}
	return events.HostID(about.Name), nil
}

// openSinks sets up the configured sinks, or the default one in the state dir.
func (n *node) openSinks() error {
	if n.cfg.usesStateDirSink() {
		if err := n.dir.MakeDefaultSink(); err != nil {
			return err
		}
	}
	var err error
	n.sinks, err = configured.New(n.cfg.sinkLocations(), n.dir)
	return err
}

// connect reaches the configured message server, or starts our own, and sees to
// it that the streams are there.
func (n *node) connect(ctx context.Context, wait bool) error {
	options := n.cfg.busOptions()
	if n.cfg.NATS.URL == "" {
		var err error
		if n.server, err = embedded.Start(ctx, n.dir.NATS(), n.log); err != nil {
			return err
		}
		options = n.server.Options()
	}
	options.Logger, options.Wait = n.log, wait
	var err error
	if n.bus, err = bus.Connect(ctx, options); err != nil {
		return err
	}
	if n.server == nil {
		return nil // the operator provisions; the host's consumers are made when they are first used
	}
	// Our own server follows our own settings.
	if _, err = n.bus.Provision(ctx, bus.ProvisionOptions{Hosts: []string{n.host}, Update: true}); err != nil {
		return err
	}
	return n.dir.Announce(state.Endpoint{
		URL: options.URL, User: options.User, Password: options.Password,
		Host: n.host, Sink: n.sinks.Location(events.DefaultSink),
	})
}

// lifeline is what must not be paused or stopped for a backup.
func (n *node) lifeline(ctx context.Context) backup.Lifeline {
	l := backup.Lifeline{Self: docker.Self(), Peers: map[string][]netip.AddrPort{}}
	l.Peers["the Engine"] = n.engine.Peers(ctx)
	if n.server == nil {
		if peer, err := netip.ParseAddrPort(n.bus.PeerAddr()); err == nil {
			l.Peers["NATS"] = []netip.AddrPort{netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())}
		}
	}
	return l
}

// run works until ctx ends, and then to the end of what was begun.
func (n *node) run(ctx context.Context) {
	tidying, stop := context.WithCancel(context.WithoutCancel(ctx))
	var tidier sync.WaitGroup
	tidier.Go(func() { n.tidier.Run(tidying) })
	defer tidier.Wait()
	defer stop()
	defer n.tidyUp()
	n.worker.Run(ctx, sources(n.bus.Work(n.host)), sources(n.bus.Cancels(n.host)), n.cfg.ShutdownGrace)
}

// tidyBound is how long a worker that ends undoes what its jobs left behind. What
// takes longer is undone by the next one.
const tidyBound = 10 * time.Second

func (n *node) tidyUp() {
	ctx, cancel := context.WithTimeout(context.Background(), tidyBound)
	defer cancel()
	if n.tidier.Wait(ctx) != nil {
		n.log.Warn("not all is undone; the next worker goes on with it", zap.Strings("notes", n.tidier.Left()))
	}
}

func sources(from []*bus.Source) []dispatch.Source {
	to := make([]dispatch.Source, len(from))
	for i, s := range from {
		to[i] = s
	}
	return to
}

// close ends everything, in the reverse order.
func (n *node) close() {
	if n.bus != nil {
		if err := n.bus.Close(); err != nil {
			n.log.Debug("the connection to the message server did not end in order", zap.Error(err))
		}
	}
	if n.server != nil {
		if err := n.server.Shutdown(); err != nil {
			n.log.Warn("the message server did not end in order", zap.Error(err))
		}
	}
	if n.engine != nil {
		_ = n.engine.Close()
	}
	if n.dir != nil {
		if err := n.dir.Close(); err != nil {
			n.log.Warn("the state dir could not be left in order", zap.Error(err))
		}
	}
}
