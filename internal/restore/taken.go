package restore

import (
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// claims is what of the host a container asks for that only one can have.
type claims struct {
	HostConfig struct {
		PortBindings map[string][]struct {
			HostIP   string `json:"HostIp"`
			HostPort string
		}
	}
	NetworkSettings struct {
		Networks map[string]struct {
			IPAMConfig *struct{ IPv4Address, IPv6Address string }
		}
	}
}

// addresses looks whether other containers have the ports and addresses that the
// container asks for. They are claimed at its start only, and an older container in
// whose place it comes gives them up before.
func (f *preflight) addresses(item *Item, s *Source) {
	var asked claims
	if json.Unmarshal(s.Document, &asked) != nil {
		return // that it cannot be read was said
	}
	for _, name := range slices.Sorted(maps.Keys(asked.NetworkSettings.Networks)) {
		n := asked.NetworkSettings.Networks[name]
		if n.IPAMConfig == nil {
			continue
		}
		item.KeepSubnets = item.KeepSubnets || n.IPAMConfig.IPv4Address != "" || n.IPAMConfig.IPv6Address != ""
		for _, address := range []string{n.IPAMConfig.IPv4Address, n.IPAMConfig.IPv6Address} {
			has := func(c engine.Container) bool { return address != "" && slices.Contains(c.Addresses, address) }
			if other := f.holder(item, has); other != "" && item.As == events.RestoreStart {
				item.fail(events.CodeAddressTaken, "container %s has the address %s: stop it", other, address)
			}
		}
	}
	if item.As != events.RestoreStart {
		return
	}
	for _, port := range slices.Sorted(maps.Keys(asked.HostConfig.PortBindings)) {
		for _, b := range asked.HostConfig.PortBindings[port] {
			if other := f.holder(item, func(c engine.Container) bool { return holdsPort(c, b.HostIP, b.HostPort) }); other != "" {
				item.fail(events.CodePortTaken, "container %s has port %s of the host, which container %s publishes %s on: stop it",
					other, b.HostPort, item.Name, port)
			}
		}
	}
}

// holder is the name of a container, other than the one that is replaced, that has
// something; empty if none has.
func (f *preflight) holder(item *Item, has func(engine.Container) bool) string {
	for _, c := range f.host.Containers {
		if c.ID != item.Replaces && has(c) {
			return c.Name
		}
	}
	return ""
}

// holdsPort reports whether a container publishes on a port of an address; an empty
// address is all of them, and a port of "" or 0 is chosen by the Engine.
func holdsPort(c engine.Container, address, port string) bool {
	wanted, err := strconv.ParseUint(strings.TrimSpace(port), 10, 16)
	if err != nil || wanted == 0 {
		return false
	}
	at, err := netip.ParseAddr(address)
	all := err != nil || at.IsUnspecified()
	return slices.ContainsFunc(c.Ports, func(p netip.AddrPort) bool {
		return uint64(p.Port()) == wanted && (all || p.Addr().IsUnspecified() || p.Addr() == at)
	})
}
