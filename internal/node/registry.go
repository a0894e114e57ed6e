package node

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"

	"go.uber.org/zap"

	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/prime"
	"holdfast.io/holdfast/internal/registry"
	"holdfast.io/holdfast/internal/state"
	"holdfast.io/holdfast/internal/transport"
)

// openRegistry begins what the Engine pushes snapshots to. Without it they are saved.
func (n *Node) openRegistry() {
	n.direct = &transport.Direct{Engine: n.engine}
	err := n.tryRegistry()
	if err != nil {
		n.o.Log.Warn("the Engine has no registry to push to; images are saved", zap.Error(err))
	}
}

func (n *Node) tryRegistry() error {
	own, err := n.dir.Registry()
	known := err == nil && own.User != "" && own.Password != ""
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !known {
		own = state.Registry{User: "holdfast", Password: rand.Text()}
	}
	credentials := engine.Credentials{User: own.User, Password: own.Password}
	server, err := registry.Listen(registry.Options{Port: own.Port, Credentials: credentials, Log: n.o.Log})
	if err != nil {
		return err
	}
	if !known {
		if own.Port, err = portOf(server.Addr()); err == nil {
			err = n.dir.KeepRegistry(own)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("keep how the Engine reaches it: %w", err), server.Close())
		}
	}
	n.registry, n.push = server, &transport.Push{Engine: n.engine, Server: server, Credentials: credentials}
	return nil
}

// openPrimer makes what has the Engine learn bases while no job runs.
func (n *Node) openPrimer() {
	if n.push == nil || !n.o.Prime {
		return
	}
	n.primer = &prime.Primer{Engine: n.engine, EngineID: n.about.ID, Push: n.push, Transport: n.saves(), Sinks: n.Sinks,
		Sweeper: n.sweeper, Memory: n.dir, Wait: prime.DefaultWait, Log: n.o.Log}
}

func portOf(addr string) (int, error) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(port)
}
