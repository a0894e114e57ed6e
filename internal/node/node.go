package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/embedded"
	"holdfast.io/holdfast/internal/bus/kv"
	"holdfast.io/holdfast/internal/bus/provision"
	"holdfast.io/holdfast/internal/docker"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/ledger"
	"holdfast.io/holdfast/internal/lifeline"
	"holdfast.io/holdfast/internal/plan"
	"holdfast.io/holdfast/internal/prime"
	"holdfast.io/holdfast/internal/registry"
	"holdfast.io/holdfast/internal/sign"
	"holdfast.io/holdfast/internal/sink/open"
	"holdfast.io/holdfast/internal/state"
	"holdfast.io/holdfast/internal/transport"
	"holdfast.io/holdfast/internal/undo"
)

const (
	// statePoll is how often a standby checks whether the state dir is free.
	statePoll = 250 * time.Millisecond
	// sweepBound is how long a process that ends goes on to undo.
	sweepBound = 10 * time.Second
	// sweepPatience is after how many failures in a row nobody waits for an undoing:
	// after nearly two seconds.
	sweepPatience = 4
	// offlineGrace is how long a node waits for the message server before it undoes
	// what its undo records name without asking whether another worker has taken over.
	offlineGrace = 5 * time.Second
)

// Node is one worker process. Its fields are set once Start has returned.
type Node struct {
	// Host is the id of the host.
	Host string
	// Engine is the Docker Engine; nil if the options bring an Engine of their own.
	Engine *docker.Engine
	Sinks  *open.Set
	Bus    *bus.Bus

	o                  Options
	engine             engine.Engine // the one that is served
	dir                *state.Dir
	server             *embedded.Server // nil if a server is configured
	about              engine.About
	owner, predecessor string
	sweeper            *undo.Sweeper
	sweeping           chan struct{} // closed when the sweeper has ended
	stopSweeping       context.CancelFunc
	jobs               *ledger.Jobs
	registry           *registry.Server // that the Engine pushes to; nil if it could not be begun
	push               *transport.Push  // nil if there is no registry
	primer             *prime.Primer    // nil if there is no registry, or nothing is to be primed
	direct             *transport.Direct
	role               role
}

// Start puts a node together, ready to run. What an earlier process left is undone
// from then on. It reports state.ErrLocked if another process has the state dir,
// unless o.Wait.
func Start(ctx context.Context, o Options) (n *Node, err error) {
	n = &Node{o: o}
	defer func() {
		if err != nil {
			n.Close()
		}
	}()
	if n.dir, err = n.hold(ctx); err != nil {
		return n, err
	}
	if n.owner, n.predecessor, err = n.dir.NewOwner(); err != nil {
		return n, err
	}
	if err = n.openEngine(); err != nil {
		return n, err
	}
	if err = n.meetEngine(ctx); err != nil {
		return n, err
	}
	if err = n.openSinks(); err != nil {
		return n, err
	}
	n.openRegistry()
	if err = n.beginSweeping(); err != nil {
		return n, err
	}
	n.openPrimer()
	if err = n.connect(ctx); err != nil {
		return n, err
	}
	n.jobs = &ledger.Jobs{
		Store: &ledger.Forgetful{Store: kv.Jobs(n.Bus), Host: n.Host, Log: o.Log},
		Host:  n.Host, Owner: n.owner,
	}
	return n, nil
}

// hold takes the state dir, if need be as soon as another process leaves it.
func (n *Node) hold(ctx context.Context) (*state.Dir, error) {
	dir, err := state.Hold(n.o.StateDir)
	if !errors.Is(err, state.ErrLocked) || !n.o.Wait {
		return dir, err
	}
	n.o.Log.Info("standing by: another process serves from this state dir", zap.String("stateDir", n.o.StateDir))
	for {
		select {
		case <-time.After(statePoll):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if dir, err = state.Hold(n.o.StateDir); !errors.Is(err, state.ErrLocked) {
			return dir, err
		}
	}
}

func (n *Node) openEngine() (err error) {
	if n.o.Engine != nil {
		n.engine = n.o.Engine
		return nil
	}
	if n.Engine, err = docker.Connect(n.o.DockerHost); err != nil {
		return err
	}
	n.engine = n.Engine
	return nil
}

// engineAddress says to people where the Engine is.
func (n *Node) engineAddress() string {
	if n.Engine == nil {
		return "in this process"
	}
	return n.Engine.Host()
}

// meetEngine asks the Engine who it is. The host's id is the configured one, or
// the Engine's name.
func (n *Node) meetEngine(ctx context.Context) (err error) {
	n.about, err = n.engine.About(ctx)
	if err != nil && n.o.Wait {
		n.o.Log.Warn("waiting for the Docker Engine", zap.String("address", n.engineAddress()), zap.Error(err))
		n.about, err = backoff.Retry(ctx, func() (engine.About, error) { return n.engine.About(ctx) }, backoff.WithMaxElapsedTime(0))
	}
	if err != nil {
		return fmt.Errorf("%w\nIs the Engine running, and may this user reach it? 'holdfast doctor' looks closer", err)
	}
	if n.Host = n.o.HostID; n.Host == "" {
		n.Host = events.HostID(n.about.Name)
	}
	return nil
}

func (n *Node) openSinks() (err error) {
	if n.o.MakeSink {
		if err := n.dir.MakeDefaultSink(); err != nil {
			return err
		}
	}
	keys, err := n.keys()
	if err != nil {
		return err
	}
	n.Sinks, err = open.New(n.o.Sinks, n.dir, keys)
	return err
}

// keys returns the worker's keys, and makes them at its first start.
func (n *Node) keys() (open.Keys, error) {
	own, err := state.FindKeys(n.o.StateDir)
	if errors.Is(err, fs.ErrNotExist) {
		own, err = NewKeys(own, n.Host)
		if err == nil {
			err = n.dir.KeepKeys(own)
		}
	}
	if err != nil {
		return open.Keys{}, fmt.Errorf("the worker's keys: %w", err)
	}
	signer, err := sign.NewSigner(own.Private)
	if err != nil {
		return open.Keys{}, fmt.Errorf("the worker's keys in %s: %w", n.o.StateDir, err)
	}
	return open.Keys{Signer: signer, Own: own.All()}, nil
}

// NewKeys returns the keys that come after others: with a new one to sign with.
func NewKeys(before state.Keys, host string) (after state.Keys, err error) {
	if after.Private, err = sign.NewKey("holdfast " + host); err != nil {
		return state.Keys{}, err
	}
	signer, err := sign.NewSigner(after.Private)
	if err != nil {
		return state.Keys{}, err
	}
	after.Public, after.Retired = signer.Public()+" "+host, before.All()
	return after, nil
}

// beginSweeping lets the sweeper run for as long as the process lives.
func (n *Node) beginSweeping() error {
	records, err := n.dir.Records()
	if err != nil {
		return err
	}
	n.sweeper = &undo.Sweeper{Engine: n.engine, Sinks: n.Sinks, Store: records, Locks: &undo.Locks{}, Patience: sweepPatience,
		Volumes: volumes{n.helper(), n.Sinks}, HookOutput: n.o.HookOutput, Log: n.o.Log}
	ctx, stop := context.WithCancel(context.Background())
	n.stopSweeping, n.sweeping = stop, make(chan struct{})
	go func() {
		defer close(n.sweeping)
		n.sweeper.Run(ctx)
	}()
	return nil
}

func (n *Node) endSweeping() {
	ctx, cancel := context.WithTimeout(context.Background(), sweepBound)
	defer cancel()
	_ = n.sweeper.Wait(ctx) // what is left is named below
	if left := n.sweeper.Left(); len(left) > 0 {
		n.o.Log.Warn("not all is undone; the next worker or command goes on with it", zap.Strings("records", left))
	}
	n.stopSweeping()
	<-n.sweeping
}

// connect connects to the configured message server, or starts our own and provisions
// it. While the server is away nobody can say whether another worker has taken over,
// so after offlineGrace the records are undone without asking: no container may stay
// paused for that long.
func (n *Node) connect(ctx context.Context) (err error) {
	options := n.o.NATS
	if options.URL == "" {
		dir, err := n.dir.NATS()
		if err != nil {
			return err
		}
		if n.server, err = embedded.Start(ctx, dir, n.o.Log); err != nil {
			return err
		}
		options = n.server.Options()
	}
	options.Logger, options.Wait = n.o.Log, n.o.Wait
	offline := time.AfterFunc(offlineGrace, func() {
		if err := n.adopt(ctx, func(undo.Record) bool { return true }); err != nil {
			n.o.Log.Error("what an earlier worker left cannot be undone", zap.Error(err))
		}
	})
	defer offline.Stop()
	if n.Bus, err = bus.Connect(ctx, options); err != nil {
		return err
	}
	if n.server == nil {
		return nil // the operator provisions; the host's consumers are made when they are first used
	}
	// Our own server follows our own settings.
	if _, err = provision.Run(ctx, n.Bus, provision.Options{Hosts: []string{n.Host}, Update: true}); err != nil {
		return err
	}
	settings, err := json.Marshal(n.Sinks.Config(events.DefaultSink))
	if err != nil {
		return fmt.Errorf("encode the settings of the default sink: %w", err)
	}
	return n.dir.Announce(state.Endpoint{
		URL: options.URL, User: options.User, Password: options.Password,
		Host: n.Host, Sink: n.Sinks.Location(events.DefaultSink), SinkSettings: settings,
	})
}

// lifeline is what must not be paused or stopped for a backup.
func (n *Node) lifeline(ctx context.Context, containers []engine.Container) plan.Lifeline {
	var connections []lifeline.Connection
	if n.Engine != nil {
		socket, _ := strings.CutPrefix(n.Engine.Host(), "unix://")
		connections = append(connections, lifeline.Connection{What: "the Engine", Addresses: n.Engine.Peers(ctx), Socket: socket})
	}
	if n.server == nil {
		connections = append(connections, lifeline.Connection{What: "NATS", Addresses: n.Bus.Peers()})
	}
	return lifeline.Find(ctx, containers, connections)
}

// process says to people where this worker runs.
func process() string {
	name, err := os.Hostname()
	if err != nil {
		name = "unknown"
	}
	return fmt.Sprintf("process %d on %s", os.Getpid(), name)
}

// Close ends everything, in the reverse order. What cannot be undone within some
// seconds stays in the undo records, for the next process.
func (n *Node) Close() {
	if n.registry != nil {
		_ = n.registry.Close() // nothing is pushed any more
	}
	if n.sweeper != nil {
		n.endSweeping()
	}
	if n.Bus != nil {
		if err := n.Bus.Close(); err != nil {
			n.o.Log.Debug("the connection to the message server did not end in order", zap.Error(err))
		}
	}
	if n.server != nil {
		if err := n.server.Shutdown(); err != nil {
			n.o.Log.Warn("the message server did not end in order", zap.Error(err))
		}
	}
	if n.Engine != nil {
		_ = n.Engine.Close()
	}
	if n.dir != nil {
		if err := n.dir.Close(); err != nil {
			n.o.Log.Warn("the state dir could not be left in order", zap.Error(err))
		}
	}
}
