package recreate

import (
	"path"
	"slices"
	"strings"
)

// Why a member of a container's configuration is not as it was.
const (
	becauseName      = "a network or container is called by its name, as its id is another one now"
	becauseImage     = "the container is made from the point's image"
	becauseChosen    = "the name was chosen"
	becauseShared    = "the other container was made again too, and has another id or host name"
	becauseShortID   = "the Engine calls the container by the beginning of its id, which is another one now"
	becauseHost      = "a container in the host's network has the host's name"
	becauseDefault   = "the old Engine had filled it in by itself, and this one fills in its own"
	becauseBuiltIn   = "Engines of other versions fill in other paths, and nobody had chosen any"
	becauseOlder     = "this Engine is older and does not know it"
	becauseNewer     = "this Engine is newer and no longer knows it"
	becauseUnknown   = "this Engine does not know it"
	becauseSpelling  = "Engines of other versions write the same in another way"
	becauseKernel    = "this Engine's host cannot limit it"
	becauseTwice     = "something else is mounted at the same place"
	becauseVolume    = "the content is in a volume of another name"
	becauseNoCopy    = "the volume gets its content from the point and not from the image"
	becauseAnonymous = "a volume without a name of its own is attached by the one that the Engine gave it: docker rm -v keeps it"
	becauseSysctl    = "this Engine takes it with the network's endpoint"
	becauseMAC       = "the Engine makes a new one unless somebody asked for it"
)

// allowance allows a member of an inspect document to differ.
type allowance struct {
	// member is the member's JSON Pointer, in which "*" stands for one name and a "**"
	// at the end for all that is below.
	member string
	// when narrows it; nil for always.
	when func(c *comparison, was, now any) bool
	// reason is why it differs; empty for what is no configuration but comes of the
	// container's being made and run, and is not told.
	reason string
}

// allowances are all differences that are allowed between the inspect document of a
// container and that of the one that was made again of it. The first that fits counts.
var allowances = []allowance{
	// What comes of the container's being made and run.
	{member: "/Id"},
	{member: "/Created"},
	{member: "/State/**"},
	{member: "/RestartCount"},
	{member: "/ExecIDs"},
	{member: "/ResolvConfPath"},
	{member: "/HostnamePath"},
	{member: "/HostsPath"},
	{member: "/LogPath"},
	{member: "/SizeRw"},
	{member: "/SizeRootFs"},
	{member: "/Driver"},
	{member: "/GraphDriver/**"},
	{member: "/Storage/**"},
	{member: "/ImageManifestDescriptor/**"},
	{member: "/AppArmorProfile"},
	{member: "/MountLabel"},
	{member: "/ProcessLabel"},
	{member: "/NetworkSettings/Networks/*/NetworkID"},
	{member: "/NetworkSettings/Networks/*/EndpointID"},
	{member: "/NetworkSettings/Networks/*/Gateway"},
	{member: "/NetworkSettings/Networks/*/IPAddress"},
	{member: "/NetworkSettings/Networks/*/IPPrefixLen"},
	{member: "/NetworkSettings/Networks/*/IPv6Gateway"},
	{member: "/NetworkSettings/Networks/*/GlobalIPv6Address"},
	{member: "/NetworkSettings/Networks/*/GlobalIPv6PrefixLen"},
	{member: "/NetworkSettings/Networks/*/DNSNames"},
	{member: "/NetworkSettings/Networks/*/IPAMConfig", when: noAddressAsked},
	{member: "/NetworkSettings/Networks/*/MacAddress", when: madeByEngine},
	{member: "/NetworkSettings/Networks/*/Aliases", when: sameOwnAliases},
	{member: "/NetworkSettings/*", when: notNetworks},
	{member: "/NetworkSettings/Ports/**"},
	{member: "/Mounts/*/Source", when: ofVolume},

	// The container's configuration.
	{member: "/Name", reason: becauseChosen},
	{member: "/Image", reason: becauseImage},
	{member: "/Config/Image", reason: becauseImage},
	{member: "/Config/Hostname", when: shortIDs, reason: becauseShortID},
	{member: "/Config/Hostname", when: inHostNetwork, reason: becauseHost},
	{member: "/Config/Hostname", when: sharingNetwork, reason: becauseShared},
	{member: "/Config/Domainname", when: sharingNetwork, reason: becauseShared},
	{member: "/Config/MacAddress", when: isNothing, reason: becauseUnknown},
	{member: "/Config/Healthcheck/StartInterval", when: isNothing, reason: becauseUnknown},
	{member: "/NetworkSettings/Networks/*/MacAddress", reason: becauseMAC},
	{member: "/NetworkSettings/Networks/*/DriverOpts", when: movedSysctl, reason: becauseSysctl},
	{member: "/NetworkSettings/Networks/*/GwPriority", when: isNothing, reason: becauseUnknown},
	{member: "/HostConfig/NetworkMode", when: bothOthers, reason: becauseShared},
	{member: "/HostConfig/NetworkMode", when: defaultNetworks, reason: becauseSpelling},
	{member: "/HostConfig/NetworkMode", when: nameOfNetwork, reason: becauseName},
	{member: "/HostConfig/IpcMode", when: bothOthers, reason: becauseShared},
	{member: "/HostConfig/PidMode", when: bothOthers, reason: becauseShared},
	{member: "/HostConfig/Cgroup", when: bothOthers, reason: becauseShared},
	{member: "/HostConfig/VolumesFrom", reason: becauseName},
	{member: "/HostConfig/Links", when: sameLinks, reason: becauseChosen},
	{member: "/HostConfig/IpcMode", when: wasText(builtInIPC), reason: becauseDefault},
	{member: "/HostConfig/ShmSize", when: wasNumber(builtInShmSize), reason: becauseDefault},
	{member: "/HostConfig/CgroupnsMode", reason: becauseDefault},
	{member: "/HostConfig/Runtime", reason: becauseDefault},
	{member: "/HostConfig/LogConfig/Type", when: noLogOptions, reason: becauseDefault},
	{member: "/HostConfig/LogConfig/Config/*", when: wasNothing, reason: becauseDefault},
	{member: "/HostConfig/Ulimits", when: onlyMore, reason: becauseDefault},
	{member: "/HostConfig/SecurityOpt", when: onlyLabels, reason: becauseDefault},
	{member: "/HostConfig/MaskedPaths", when: bothBuiltIn(builtInMasked), reason: becauseBuiltIn},
	{member: "/HostConfig/ReadonlyPaths", when: bothBuiltIn(builtInReadonly), reason: becauseBuiltIn},
	{member: "/HostConfig/PidsLimit", when: wasNothing, reason: becauseDefault},
	{member: "/Config/Env", when: onlyHostNames, reason: becauseShortID},
	{member: "/HostConfig/RestartPolicy/Name", when: noPolicy, reason: becauseSpelling},
	{member: "/HostConfig/OomKillDisable", reason: becauseKernel},
	{member: "/HostConfig/MemorySwap", reason: becauseKernel},
	{member: "/HostConfig/MemorySwappiness", reason: becauseKernel},
	{member: "/HostConfig/KernelMemory", when: isNothing, reason: becauseUnknown},
	{member: "/HostConfig/KernelMemoryTCP", when: isNothing, reason: becauseUnknown},
	{member: "/HostConfig/Annotations", when: isNothing, reason: becauseUnknown},
	{member: "/HostConfig/Umask", when: isNothing, reason: becauseUnknown},
	{member: "/HostConfig/Sysctls/*", when: isNothing, reason: becauseSysctl},
	{member: "/HostConfig/Sysctls", when: isNothing, reason: becauseSysctl},
	{member: "/HostConfig/Binds", when: sameBinds, reason: becauseVolume},
	{member: "/HostConfig/Mounts/*", when: wasNothing, reason: becauseAnonymous},
	{member: "/HostConfig/Mounts/*/Source", when: wasNothing, reason: becauseAnonymous},
	{member: "/HostConfig/Mounts/*/Source", when: otherVolume, reason: becauseVolume},
	{member: "/HostConfig/Mounts/*/VolumeOptions", when: wasNothing, reason: becauseNoCopy},
	{member: "/HostConfig/Mounts/*/VolumeOptions/NoCopy", reason: becauseNoCopy},
	{member: "/HostConfig/Mounts/*/BindOptions/**", when: isNothing, reason: becauseUnknown},
	{member: "/HostConfig/Mounts/*/TmpfsOptions/Options", when: isNothing, reason: becauseUnknown},
	{member: "/Mounts/*/Name", when: otherVolume, reason: becauseVolume},
	{member: "/Mounts/*/Mode", reason: becauseSpelling},
}

// fits reports whether the allowance is for a member.
func (a *allowance) fits(member []string) bool {
	pattern := strings.Split(strings.TrimPrefix(a.member, "/"), "/")
	for i, name := range pattern {
		if name == "**" {
			return true
		}
		if i >= len(member) || name != "*" && name != member[i] {
			return false
		}
	}
	return len(pattern) == len(member)
}

func isNothing(_ *comparison, _, now any) bool  { return isEmpty(now) }
func wasNothing(_ *comparison, was, _ any) bool { return isEmpty(was) }

func wasText(want string) func(*comparison, any, any) bool {
	return func(_ *comparison, was, _ any) bool { return text(was) == want }
}

func wasNumber(want int64) func(*comparison, any, any) bool {
	return func(_ *comparison, was, _ any) bool { return whole(was) == want }
}

func noAddressAsked(_ *comparison, was, now any) bool {
	nothing := func(config any) bool {
		for _, value := range members(config) {
			if !isEmpty(value) {
				return false
			}
		}
		return true
	}
	return nothing(was) && nothing(now)
}

// madeByEngine: an address was made from the IP address, or is not made yet.
func madeByEngine(c *comparison, was, now any) bool {
	made := func(doc object, mac any) bool {
		return isEmpty(mac) || madeFrom(text(mac), text(at(doc, "NetworkSettings", "Networks", c.path[2], "IPAddress")))
	}
	return made(c.was, was) && made(c.now, now)
}

func sameOwnAliases(c *comparison, _, _ any) bool {
	own := func(doc object) []string {
		aliases := ownAliases(doc, members(at(doc, "NetworkSettings", "Networks", c.path[2])))
		slices.Sort(aliases)
		return slices.Compact(aliases)
	}
	return slices.Equal(own(c.was), own(c.now))
}

func notNetworks(c *comparison, _, _ any) bool { return c.path[1] != "Networks" }

func ofVolume(c *comparison, _, _ any) bool {
	for _, doc := range []object{c.was, c.now} {
		if text(at(doc, "Mounts", c.path[1], "Type")) != "volume" {
			return false
		}
	}
	return true
}

func shortIDs(c *comparison, was, now any) bool {
	return text(was) == shortID(c.was) && text(now) == shortID(c.now)
}

func inHostNetwork(c *comparison, _, _ any) bool {
	return text(at(c.was, "HostConfig", "NetworkMode")) == "host" && text(at(c.now, "HostConfig", "NetworkMode")) == "host"
}

func sharingNetwork(c *comparison, _, _ any) bool {
	return bothOthers(c, at(c.was, "HostConfig", "NetworkMode"), at(c.now, "HostConfig", "NetworkMode"))
}

func bothOthers(_ *comparison, was, now any) bool {
	return strings.HasPrefix(text(was), "container:") && strings.HasPrefix(text(now), "container:")
}

func defaultNetworks(_ *comparison, was, now any) bool {
	names := []string{"default", bridge}
	return slices.Contains(names, text(was)) && slices.Contains(names, text(now))
}

// nameOfNetwork: the network was called by its id, and is called by its name.
func nameOfNetwork(c *comparison, was, now any) bool {
	id := text(at(c.was, "NetworkSettings", "Networks", text(now), "NetworkID"))
	return text(was) != "" && strings.HasPrefix(id, text(was))
}

func movedSysctl(c *comparison, _, _ any) bool {
	return len(members(at(c.was, "HostConfig", "Sysctls"))) > len(members(at(c.now, "HostConfig", "Sysctls")))
}

// sameLinks: links lead to the same containers under the same aliases, and only the
// container's own name in them is another.
func sameLinks(_ *comparison, was, now any) bool {
	plain := func(links any) []string {
		var all []string
		for _, link := range texts(links) {
			child, alias := splitLink(link)
			all = append(all, child+":"+alias)
		}
		slices.Sort(all)
		return all
	}
	return slices.Equal(plain(was), plain(now))
}

func noLogOptions(c *comparison, _, _ any) bool {
	return isEmpty(at(c.was, "HostConfig", "LogConfig", "Config"))
}

// onlyMore: what there was is there.
func onlyMore(_ *comparison, was, now any) bool {
	for _, entry := range list(was) {
		if !slices.ContainsFunc(list(now), func(other any) bool { return same(entry, other) }) {
			return false
		}
	}
	return true
}

func onlyLabels(_ *comparison, was, now any) bool {
	rest := func(options any) []string {
		return slices.DeleteFunc(texts(options), func(o string) bool { return strings.HasPrefix(o, "label") })
	}
	return slices.Equal(rest(was), rest(now))
}

func bothBuiltIn(builtIn []string) func(*comparison, any, any) bool {
	return func(_ *comparison, was, now any) bool { return isBuiltIn(was, builtIn) && isBuiltIn(now, builtIn) }
}

func noPolicy(_ *comparison, was, now any) bool {
	none := []string{"", "no"}
	return slices.Contains(none, text(was)) && slices.Contains(none, text(now))
}

// otherVolume: the volume was given another name.
func otherVolume(c *comparison, was, now any) bool {
	return text(was) != "" && c.choices.Volumes[text(was)] == text(now)
}

// sameBinds: binds differ only in the names of volumes that were given others, and in
// what keeps the Engine from filling them.
func sameBinds(c *comparison, was, now any) bool {
	before, after := texts(was), texts(now)
	if len(before) != len(after) {
		return false
	}
	for i := range before {
		old, renewed := strings.SplitN(before[i], ":", 3), strings.SplitN(after[i], ":", 3)
		if len(old) == 1 {
			old = []string{"", old[0]}
		}
		if len(renewed) < 2 || path.Clean(old[1]) != path.Clean(renewed[1]) ||
			old[0] != "" && old[0] != renewed[0] && c.choices.Volumes[old[0]] != renewed[0] {
			return false
		}
		modes := func(parts []string) []string {
			if len(parts) < 3 {
				return nil
			}
			return slices.DeleteFunc(strings.Split(parts[2], ","), func(m string) bool { return m == "nocopy" })
		}
		if !slices.Equal(modes(old), modes(renewed)) {
			return false
		}
	}
	return true
}
