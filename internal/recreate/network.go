package recreate

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
)

// bridge is the Engine's default network.
const bridge = "bridge"

// isPredefined reports whether a network mode, or a network's name, is one that every
// Engine has.
func isPredefined(mode string) bool {
	return slices.Contains([]string{"", "default", bridge, "host", "none"}, mode)
}

// results are members of an endpoint that come of its being connected. An address is
// asked for in IPAMConfig alone.
var results = []string{
	"NetworkID", "EndpointID", "Gateway", "IPAddress", "IPPrefixLen", "IPv6Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "DNSNames",
}

// networks asks for the container's endpoints. The network mode and the endpoints call
// a network by the same name, or the Engine would lose the settings of one of them.
func (d *draft) networks() {
	was := members(at(d.doc, "NetworkSettings", "Networks"))
	mode := text(d.host["NetworkMode"])
	if disabled, _ := d.config["NetworkDisabled"].(bool); disabled || d.sharesNetwork() || mode == "host" || mode == "none" {
		return
	}
	main := d.mainNetwork(mode, was)
	if !isPredefined(mode) {
		d.host["NetworkMode"] = main
		if main != mode {
			d.differ("/HostConfig/NetworkMode", mode, main, becauseName)
		}
	}
	macs := map[string]string{}
	for _, name := range sortedNames(was) {
		d.endpoints[name] = d.endpoint(name, members(was[name]))
		if mac := d.macAddress(name, main, members(was[name])); mac != "" {
			macs[name] = mac
		}
		if !isPredefined(name) {
			d.need(NeedNetwork, name, name, pointer("NetworkSettings", "Networks", name))
			d.checkNetwork(name)
		}
	}
	d.macAddresses(macs, main)
	d.sysctls(main)
	if len(was) == 0 {
		d.call.Disconnect = []string{main}
		if !isPredefined(main) {
			d.need(NeedNetwork, main, main, "/HostConfig/NetworkMode")
		}
	}
	d.connectLater(main)
}

// mainNetwork returns the name of the network that the mode means. The mode may call it
// by its id.
func (d *draft) mainNetwork(mode string, networks object) string {
	if isPredefined(mode) {
		return bridge
	}
	if _, ok := networks[mode]; ok {
		return mode
	}
	for _, name := range sortedNames(networks) {
		if strings.HasPrefix(text(at(networks, name, "NetworkID")), mode) {
			return name
		}
	}
	if d.ctx != nil {
		for _, n := range d.ctx.Networks {
			if strings.HasPrefix(n.ID, mode) {
				return n.Name
			}
		}
	}
	return mode
}

// endpoint is the configuration of an endpoint, without what comes of its being
// connected. Members that only newer Engines know stay.
func (d *draft) endpoint(name string, was object) object {
	now := members(clone(was))
	for _, member := range append(slices.Clone(results), "MacAddress") {
		delete(now, member)
	}
	config := members(now["IPAMConfig"])
	for _, member := range sortedNames(config) {
		if isEmpty(config[member]) {
			delete(config, member)
		}
	}
	if len(config) == 0 {
		delete(now, "IPAMConfig")
	}
	var aliases []string
	if !isPredefined(name) {
		aliases = ownAliases(d.doc, was)
	}
	delete(now, "Aliases")
	if len(aliases) > 0 {
		now["Aliases"] = textList(aliases)
	}
	var links []string
	for _, link := range texts(was["Links"]) {
		child, alias := splitLink(link)
		links = append(links, d.other(child, pointer("NetworkSettings", "Networks", name, "Links"))+":"+alias)
	}
	if delete(now, "Links"); links != nil {
		now["Links"] = textList(links)
	}
	if priority, ok := now["GwPriority"]; ok && !d.target.Speaks("1.48") {
		if !isEmpty(priority) {
			d.differ(pointer("NetworkSettings", "Networks", name, "GwPriority"), priority, nil, becauseOlder)
		}
		delete(now, "GwPriority")
	}
	return now
}

// ownAliases returns an endpoint's aliases without those that Engines up to API 1.44
// add to them: the short id and the host name.
func ownAliases(doc, endpoint object) []string {
	added := []string{shortID(doc), text(at(doc, "Config", "Hostname"))}
	return slices.DeleteFunc(texts(endpoint["Aliases"]), func(a string) bool { return slices.Contains(added, a) })
}

// macAddress returns the address that an endpoint was asked to have; empty if the
// Engine made it.
func (d *draft) macAddress(name, main string, ep object) string {
	asked, mac := text(d.config["MacAddress"]), text(ep["MacAddress"])
	if name == main && asked != "" {
		return asked
	}
	if mac == "" || !d.sourceSpeaks("1.44") || madeFrom(mac, text(ep["IPAddress"])) {
		return "" // before API 1.44 nobody could ask for more than the one above
	}
	if text(ep["EndpointID"]) == "" {
		return mac // never connected, so nothing was made
	}
	if name == main && !d.sourceSpeaks("1.52") {
		return "" // up to API 1.51 the document has it above if it was asked for
	}
	if d.sourceSpeaks("1.48") { // Engines from 28 on make addresses at random
		d.differ(pointer("NetworkSettings", "Networks", name, "MacAddress"), mac, nil, "the Engine does not tell whether somebody asked for it, "+
			"so it makes a new one")
		return ""
	}
	return mac
}

// madeFrom reports whether a MAC address is what Engines up to 27 make of an IPv4
// address: 02:42 and its bytes.
func madeFrom(mac, address string) bool {
	ip, err := netip.ParseAddr(address)
	if err != nil || !ip.Is4() {
		return false
	}
	b := ip.As4()
	made := []byte{0x02, 0x42, b[0], b[1], b[2], b[3]}
	return strings.EqualFold(mac, hexPairs(made))
}

func hexPairs(b []byte) string {
	const digits = "0123456789abcdef"
	var pairs []string
	for _, v := range b {
		pairs = append(pairs, string([]byte{digits[v>>4], digits[v&15]}))
	}
	return strings.Join(pairs, ":")
}

// macAddresses asks for MAC addresses as the target's API does it: up to 1.43 for the
// main network's alone, beside the endpoints.
func (d *draft) macAddresses(macs map[string]string, main string) {
	delete(d.config, "MacAddress")
	for _, name := range sortedNames(d.endpoints) {
		mac := macs[name]
		switch {
		case mac == "":
		case d.target.Speaks("1.44"):
			members(d.endpoints[name])["MacAddress"] = mac
		case name == main:
			d.config["MacAddress"] = mac
		default:
			d.differ(pointer("NetworkSettings", "Networks", name, "MacAddress"), mac, nil, "this Engine's API ("+d.target.APIVersion+
				") takes an address for the container's main network only")
		}
	}
}

// sysctls asks for settings of a network interface as the target's API does it: from
// 1.48 on those of eth0 belong to the main network's endpoint.
func (d *draft) sysctls(main string) {
	if !d.target.Speaks("1.48") {
		return
	}
	const option = "com.docker.network.endpoint.sysctls"
	sysctls := members(d.host["Sysctls"])
	var moved []string
	for _, name := range sortedNames(sysctls) {
		parts := strings.SplitN(name, ".", 5)
		if len(parts) < 5 || parts[0] != "net" || !strings.HasPrefix(parts[3], "eth") {
			continue
		}
		member := pointer("HostConfig", "Sysctls", name)
		endpoint := members(d.endpoints[main])
		if parts[3] != "eth0" || endpoint == nil {
			d.refuse(member, "this Engine takes settings of an interface only with the network that it belongs to, which is not known")
			continue
		}
		parts[3] = "IFNAME"
		moved = append(moved, strings.Join(parts, ".")+"="+text(sysctls[name]))
		d.differ(member, sysctls[name], nil, becauseSysctl)
		delete(sysctls, name)
	}
	if len(moved) == 0 {
		return
	}
	endpoint := members(d.endpoints[main])
	options := members(endpoint["DriverOpts"])
	if options == nil {
		options = object{}
	}
	if before := text(options[option]); before != "" {
		moved = append(moved, before)
	}
	options[option] = strings.Join(moved, ",")
	endpoint["DriverOpts"] = options
}

// checkNetwork refuses a network that a container cannot be connected to by hand.
func (d *draft) checkNetwork(name string) {
	if d.ctx == nil {
		return
	}
	for _, n := range d.ctx.Networks {
		if n.Name == name && (n.Ingress || n.Scope == "swarm" && !n.Attachable) {
			d.refuse(pointer("NetworkSettings", "Networks", name), "it is a swarm's network that containers cannot be connected to by hand")
		}
	}
}

// connectLater leaves all endpoints but one to be connected after the container was
// made where the target's API takes only one with the create call.
func (d *draft) connectLater(main string) {
	if d.target.Speaks("1.44") {
		return
	}
	first := main
	if _, ok := d.endpoints[main]; !ok && len(d.endpoints) > 0 {
		first = sortedNames(d.endpoints)[0]
	}
	for _, name := range sortedNames(d.endpoints) {
		if name == first {
			continue
		}
		raw, err := json.Marshal(d.endpoints[name])
		if err != nil { // what was decoded can be encoded
			d.refuse(pointer("NetworkSettings", "Networks", name), "it cannot be encoded: %v", err)
		}
		d.call.Connect = append(d.call.Connect, Connection{Network: name, Endpoint: raw})
		delete(d.endpoints, name)
	}
}
