// Package lifeline finds what a worker's own life hangs on: the container that it
// runs in, and what answers at the other ends of its connections. What follows
// from that package plan decides.
package lifeline

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/plan"
)

// Connection is a connection of the worker.
type Connection struct {
	// What it is for: "the Engine", "NATS".
	What string
	// Addresses are where its other end may be; none for a socket file.
	Addresses []netip.AddrPort
	// Socket is the path of a socket file; empty for none.
	Socket string
}

// Find finds the lifeline of this process at this moment. Only what may matter is
// looked for, given the Engine's containers.
func Find(ctx context.Context, containers []engine.Container, connections []Connection) plan.Lifeline {
	const proc = "/proc"
	own, network := self(filepath.Join(proc, "self"))
	f := finder{proc: proc, onHost: network == ""}
	for _, c := range containers {
		f.onHost = f.onHost || c.ID == network && c.UsesHostNetwork()
		f.hostNetworks = f.hostNetworks || c.UsesHostNetwork() && c.State != "exited"
	}
	l := plan.Lifeline{Self: own, Network: network}
	if !slices.ContainsFunc(containers, func(c engine.Container) bool { return c.ID == own }) {
		l.Self = "" // of another Engine, or of something that is no Docker Engine
	}
	for _, c := range connections {
		l.Peers = append(l.Peers, f.peers(ctx, c)...)
	}
	return l
}

type finder struct {
	proc string
	// onHost is set if this process uses the host's own network.
	onHost bool
	// hostNetworks is set if a container does.
	hostNetworks bool
}

func (f finder) peers(ctx context.Context, c Connection) []plan.Peer {
	var peers []plan.Peer
	for _, address := range c.Addresses {
		peers = append(peers, f.peer(ctx, c.What, address))
	}
	if c.Socket == "" {
		return peers
	}
	if pid := peerProcess(ctx, c.Socket); pid > 0 {
		if l := processOf(filepath.Join(f.proc, strconv.Itoa(pid))); l != nil && l.Container != "" {
			peers = append(peers, plan.Peer{What: c.What, Listener: l})
		}
	}
	return peers
}

func (f finder) peer(ctx context.Context, what string, address netip.AddrPort) plan.Peer {
	p := plan.Peer{What: what, Address: address, Local: isLocal(address.Addr())}
	switch {
	case !f.hostNetworks:
	case f.onHost && p.Local:
		p.Listener = listenerAt(f.proc, address)
	case !f.onHost && !p.Local:
		p.Near = isNear(ctx, address)
	}
	return p
}

// isLocal reports whether an address belongs to the network that this process
// uses. If that cannot be told, it does.
func isLocal(addr netip.Addr) bool {
	if addr.IsLoopback() || addr.IsUnspecified() {
		return true
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	return slices.ContainsFunc(own, func(a net.Addr) bool {
		text, _, _ := strings.Cut(a.String(), "/")
		ip, err := netip.ParseAddr(text)
		return err == nil && ip.Unmap() == addr
	})
}
