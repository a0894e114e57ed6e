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

// claimsOf reads what a container asks for. That it cannot be read is said elsewhere.
func claimsOf(s *Source) (asked claims) {
	if json.Unmarshal(s.Document, &asked) != nil {
		return claims{}
	}
	return asked
}

// static returns the addresses that the container asks for, by their networks.
func (c *claims) static() map[string][]string {
	all := map[string][]string{}
	for name, n := range c.NetworkSettings.Networks {
		if n.IPAMConfig == nil {
			continue
		}
		for _, address := range []string{n.IPAMConfig.IPv4Address, n.IPAMConfig.IPv6Address} {
			if address != "" {
				all[name] = append(all[name], address)
			}
		}
	}
	return all
}

// addresses looks whether other containers have the ports and addresses that the
// container asks for. They are claimed at its start only, and an older container in
// whose place it comes gives them up before.
func (f *preflight) addresses(item *Item, s *Source) {
	asked := claimsOf(s)
	if item.As != events.RestoreStart {
		return
	}
	static := asked.static()
	for _, name := range slices.Sorted(maps.Keys(static)) {
		for _, address := range static[name] {
			has := func(c engine.Container) bool { return slices.Contains(c.Addresses, address) }
			if other := f.holder(item, has); other != "" {
				item.fail(events.CodeAddressTaken, "container %s has the address %s: stop it", other, address)
			}
			if n := f.networkThere(name); n != nil && !holdsAddress(n, address) {
				item.fail(events.CodeUnsuitable, "container %s asks for the address %s, which network %s of this host does not have: "+
					"make the network anew", item.Name, address, name)
			}
		}
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

// holder is the name of a container, other than those that are stopped for the item, that
// has something; empty if none has.
func (f *preflight) holder(item *Item, has func(engine.Container) bool) string {
	for _, c := range f.host.Containers {
		if !item.stops(c.ID) && has(c) {
			return c.Name
		}
	}
	return ""
}

// networkThere is the network of this name, which may be one that is to be made; nil if
// there is none.
func (f *preflight) networkThere(name string) *engine.Network {
	i := slices.IndexFunc(f.host.Networks, func(n engine.Network) bool { return n.Name == name })
	if i < 0 {
		return nil
	}
	return &f.host.Networks[i]
}

// holdsAddress reports whether an address is one of a network's, as far as is known.
func holdsAddress(n *engine.Network, address string) bool {
	a, err := netip.ParseAddr(address)
	return err != nil || len(n.IPAM.Subnets) == 0 || slices.ContainsFunc(n.IPAM.Subnets, func(s engine.Subnet) bool {
		prefix, err := netip.ParsePrefix(s.Subnet)
		return err != nil || prefix.Contains(a)
	})
}

// overlapping returns a network whose addresses overlap with those of one that is to be
// made, and which of them; nil if there is none. The Engine would refuse that one.
func (f *preflight) overlapping(n *engine.Network) (other *engine.Network, subnet string) {
	for i := range f.host.Networks {
		for _, theirs := range f.host.Networks[i].IPAM.Subnets {
			for _, s := range n.IPAM.Subnets {
				a, err1 := netip.ParsePrefix(s.Subnet)
				b, err2 := netip.ParsePrefix(theirs.Subnet)
				if err1 == nil && err2 == nil && a.Overlaps(b) {
					return &f.host.Networks[i], s.Subnet
				}
			}
		}
	}
	return nil, ""
}

// user is the name of a running container, other than those that are stopped for the
// item, that uses a volume; empty if none does.
func (i *Item) user(all []engine.Container, volume string) string {
	for _, c := range all {
		if !i.stops(c.ID) && c.Uses(volume) {
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
