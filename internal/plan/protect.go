package plan

import (
	"fmt"
	"net/netip"
	"slices"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// Lifeline is what a worker's own life hangs on. A container that it leads to
// may be neither paused nor stopped: the backup would stop itself.
type Lifeline struct {
	// Self is the id of the worker's own container; empty if it runs in none, or if
	// that cannot be told.
	Self string
	// Network is the id of the container whose network the worker uses: its own, or
	// one that shares it; empty if it runs in none.
	Network string
	// Peers are the other ends of the worker's connections.
	Peers []Peer
}

// Peer is the other end of a connection of the worker.
type Peer struct {
	// What it is for: "the Engine", "NATS".
	What string
	// Address is where it is; the zero value for a socket file.
	Address netip.AddrPort
	// Local is set if the address belongs to the network that the worker itself uses.
	Local bool
	// Near is set if the address may be one of the worker's host.
	Near bool
	// Listener is the process that answers there, if that can be told.
	Listener *Listener
}

// Listener is a process that answers a connection of the worker.
type Listener struct {
	// Container is the id of the container that it runs in; empty for none.
	Container string
}

// Protected finds the containers that a lifeline may lead to, and says why by
// their ids. It is a pure function. Where it cannot tell, it protects.
func Protected(containers []engine.Container, l Lifeline) map[string]string {
	p := protection{containers: containers, why: map[string]string{}}
	p.self(l)
	for _, peer := range l.Peers {
		p.peer(l, peer)
	}
	return p.why
}

// protection is a set of protected containers that is being found.
type protection struct {
	containers []engine.Container
	why        map[string]string // by container id
}

// add protects a container, unless it is protected already or not on this Engine.
func (p *protection) add(id, why string) {
	if _, known := p.find(id); known && p.why[id] == "" {
		p.why[id] = why
	}
}

func (p *protection) find(id string) (engine.Container, bool) {
	i := slices.IndexFunc(p.containers, func(c engine.Container) bool { return c.ID == id })
	if i < 0 || id == "" {
		return engine.Container{}, false
	}
	return p.containers[i], true
}

// sharing returns the containers that use the network of a container, without it.
func (p *protection) sharing(id string) []engine.Container {
	var sharing []engine.Container
	for _, c := range p.containers {
		if owner, shares := c.NetworkOf(); shares && owner == id {
			sharing = append(sharing, c)
		}
	}
	return sharing
}

// self protects the worker's own container, and the one whose network it uses. If
// several containers share that network, and it is not known which is the worker's,
// it protects them all.
func (p *protection) self(l Lifeline) {
	p.add(l.Self, "it is the worker's own container")
	if l.Network == "" {
		return
	}
	sharing := p.sharing(l.Network)
	if l.Self == "" && len(sharing) == 0 {
		p.add(l.Network, "it is the worker's own container")
	}
	if l.Self == "" {
		for _, c := range sharing {
			p.add(c.ID, "it may be the worker's own container, as it shares the worker's network")
		}
	}
	p.add(l.Network, "the worker uses its network")
}

// peer protects what may answer at the other end of a connection.
func (p *protection) peer(l Lifeline, peer Peer) {
	through := fmt.Sprintf("the worker reaches %s through it", peer.What)
	if peer.Listener != nil {
		p.add(peer.Listener.Container, through)
	}
	if !peer.Address.IsValid() {
		return
	}
	perhapsThrough := fmt.Sprintf("the worker may reach %s through it", peer.What)
	if owner, ok := p.find(l.Network); ok && peer.Local && !owner.UsesHostNetwork() {
		p.add(owner.ID, through)
		for _, s := range p.sharing(owner.ID) {
			p.add(s.ID, perhapsThrough+", as it shares the worker's network")
		}
		return
	}
	certain := p.answering(peer, through, perhapsThrough) || peer.Listener != nil
	if !certain && (peer.Local || peer.Near) {
		p.hostNetwork(perhapsThrough)
	}
}

// answering protects the containers that have the peer's address or publish its
// port, and those that share their networks. It reports whether one certainly
// answers there.
func (p *protection) answering(peer Peer, through, perhapsThrough string) (certain bool) {
	match := answers
	if slices.ContainsFunc(p.containers, func(c engine.Container) bool { return hasAddress(c, peer.Address) == yes }) {
		match = hasAddress
	}
	for _, c := range p.containers {
		switch match(c, peer.Address) {
		case no:
			continue
		case perhaps:
			p.add(c.ID, perhapsThrough+", as it publishes the port on another address")
		case yes:
			certain = true
			p.add(c.ID, through)
		}
		for _, s := range p.sharing(c.ID) {
			p.add(s.ID, fmt.Sprintf("%s, as it shares the network of %s", perhapsThrough, c.Name))
		}
	}
	return certain
}

// hostNetwork protects the containers that use the host's network: what answers at
// an address of the host may be in any of them.
func (p *protection) hostNetwork(why string) {
	for _, c := range p.containers {
		if c.UsesHostNetwork() && running(c.State) {
			p.add(c.ID, why+", as it uses the host's network")
		}
	}
}

// running reports whether a container in this state has a process, perhaps a
// frozen one.
func running(s events.State) bool {
	return s == events.StateRunning || s == events.StatePaused || s == events.StateRestarting
}

// match says whether a connection ends in a container.
type match int

const (
	no match = iota
	perhaps
	yes
)

// hasAddress says whether peer has an address of the container's own.
func hasAddress(c engine.Container, peer netip.AddrPort) match {
	if slices.Contains(c.Addresses, peer.Addr().String()) {
		return yes
	}
	return no
}

// answers says whether a connection to an address of the host ends in the
// container. A port that is published on another address counts as perhaps: both
// can be addresses of the host.
func answers(c engine.Container, peer netip.AddrPort) match {
	found := no
	for _, port := range c.Ports {
		switch {
		case port.Port() != peer.Port():
		case port.Addr().IsUnspecified() || port.Addr() == peer.Addr():
			return yes
		default:
			found = perhaps
		}
	}
	return found
}
