package plan

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"holdfast.io/holdfast/internal/engine"
)

// Lifeline is what a worker's own life hangs on. A container that it leads to
// may be neither paused nor stopped: the backup would stop itself.
type Lifeline struct {
	// Self is the id of the worker's own container; empty if it runs in none.
	Self string
	// Peers are the other ends of the worker's connections, by what they are for:
	// "the Engine", "NATS", "the sink default".
	Peers map[string][]netip.AddrPort
}

// Protected finds the containers that a lifeline leads to, and says why by
// their ids. It is a pure function. Where it cannot tell, it protects: a
// published port counts whatever address it is published on.
func Protected(containers []engine.Container, l Lifeline) map[string]string {
	protected := map[string]string{}
	for _, c := range containers {
		if c.ID == l.Self {
			protected[c.ID] = "it is the worker's own container"
			continue
		}
		for _, what := range slices.Sorted(maps.Keys(l.Peers)) {
			if slices.ContainsFunc(l.Peers[what], func(peer netip.AddrPort) bool { return answers(c, peer) }) {
				protected[c.ID] = fmt.Sprintf("the worker reaches %s through it", what)
				break
			}
		}
	}
	return protected
}

// answers reports whether a connection to peer may end in the container.
func answers(c engine.Container, peer netip.AddrPort) bool {
	if slices.Contains(c.Addresses, peer.Addr().String()) {
		return true
	}
	return slices.Contains(c.Ports, peer.Port())
}
