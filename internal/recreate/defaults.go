package recreate

import (
	"slices"
	"strings"

	"holdfast.io/holdfast/internal/engine"
)

// What an Engine fills in without being asked, and does not let its own users choose
// differently but by its configuration, which it does not tell.
const (
	builtInShmSize = 64 << 20
	builtInIPC     = "private"
)

// builtInMasked are paths that every Engine masks in a container, builtInReadonly those
// that every one makes read-only; newer ones add to them. Who chooses paths for himself
// leaves some of these out.
var (
	builtInMasked = []string{
		"/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
	}
	builtInReadonly = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// isBuiltIn reports whether a list of paths is one that an Engine fills in.
func isBuiltIn(paths any, builtIn []string) bool {
	all := texts(paths)
	return !slices.ContainsFunc(builtIn, func(path string) bool { return !slices.Contains(all, path) })
}

// engineDefaults leaves to the Engine what the old one had filled in by itself. Limits
// (ulimits) that the old Engine's configuration has for all containers look like the
// container's own, and are kept.
func (d *draft) engineDefaults() {
	if whole(d.host["ShmSize"]) == builtInShmSize {
		delete(d.host, "ShmSize")
	}
	if text(d.host["IpcMode"]) == builtInIPC {
		delete(d.host, "IpcMode")
	}
	for member, builtIn := range map[string][]string{"MaskedPaths": builtInMasked, "ReadonlyPaths": builtInReadonly} {
		// No list is the Engine's, and an empty one masks nothing.
		if d.host[member] == nil || isBuiltIn(d.host[member], builtIn) {
			delete(d.host, member)
		}
	}
	if isEmpty(d.host["OomKillDisable"]) {
		delete(d.host, "OomKillDisable")
	}
	if d.ctx == nil {
		return
	}
	was := &d.ctx.Engine
	if text(d.host["Runtime"]) == was.DefaultRuntime {
		d.leaveToEngine("Runtime", d.target.DefaultRuntime)
	}
	if log := members(d.host["LogConfig"]); text(log["Type"]) == was.DefaultLogDriver && isEmpty(log["Config"]) {
		if d.target.DefaultLogDriver != was.DefaultLogDriver {
			d.differ("/HostConfig/LogConfig/Type", was.DefaultLogDriver, d.target.DefaultLogDriver, becauseDefault)
		}
		delete(d.host, "LogConfig")
	}
	if mode := text(d.host["CgroupnsMode"]); mode == d.defaultCgroups(was) {
		d.leaveToEngine("CgroupnsMode", d.defaultCgroups(d.target))
	}
}

// leaveToEngine does not ask for a member of the HostConfig, as the old Engine had
// filled it in; now is what the new one will.
func (d *draft) leaveToEngine(member, now string) {
	if was := text(d.host[member]); was != now {
		d.differ(pointer("HostConfig", member), was, now, becauseDefault)
	}
	delete(d.host, member)
}

// defaultCgroups is the cgroup namespace mode that an Engine gives the container
// unless it is asked for one.
func (d *draft) defaultCgroups(e *engine.Platform) string {
	privileged, _ := d.host["Privileged"].(bool)
	if !e.PrivateCgroups || privileged && e.CgroupVersion == "1" {
		return "host"
	}
	return "private"
}

// securityOptions leaves out the SELinux labels that an Engine adds to a container
// that shares namespaces: none for one that shares the host's, and those of the other
// container, which will have new ones.
func (d *draft) securityOptions() {
	options := texts(d.host["SecurityOpt"])
	labels := slices.DeleteFunc(slices.Clone(options), func(o string) bool { return !strings.HasPrefix(o, "label") })
	if len(labels) == 0 {
		return
	}
	ipc, pid := text(d.host["IpcMode"]), text(d.host["PidMode"])
	privileged, _ := d.host["Privileged"].(bool)
	host := privileged || ipc == "host" || pid == "host"
	shares := strings.HasPrefix(ipc, "container:") || strings.HasPrefix(pid, "container:")
	disabled := slices.Equal(labels, []string{"label=disable"})
	if host && disabled || shares && !disabled {
		d.host["SecurityOpt"] = textList(slices.DeleteFunc(options, func(o string) bool { return strings.HasPrefix(o, "label") }))
	}
}

// resources leaves out limits that follow from others.
func (d *draft) resources() {
	memory, swap := whole(d.host["Memory"]), whole(d.host["MemorySwap"])
	switch {
	case memory > 0 && swap == 2*memory: // what an Engine makes of no limit of swap
		delete(d.host, "MemorySwap")
	case memory > 0 && swap == -1 && d.ctx != nil && !d.ctx.Engine.SwapLimit: // that of a host that cannot limit it
		if d.target.SwapLimit {
			d.differ("/HostConfig/MemorySwap", d.host["MemorySwap"], nil, "the old host could not limit swap, and this one can: "+
				"it becomes twice the memory, as for every container that asks for no limit of swap")
		}
		delete(d.host, "MemorySwap")
	}
	if whole(d.host["PidsLimit"]) <= 0 {
		delete(d.host, "PidsLimit")
	}
	d.podmanForms()
	for _, limits := range []string{"Ulimits", "Devices", "DeviceRequests"} {
		if d.host[limits] == nil {
			delete(d.host, limits)
		}
	}
}
