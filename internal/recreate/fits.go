package recreate

import (
	"slices"
	"strings"
)

// since are members that Engines know from a version of the API on; older ones pass
// over them. A container that needs one whose loss would show it other data is
// refused.
var since = []struct {
	member  []string // "*" stands for any entry of a list
	version string
	// only narrows it to this value of the member; empty for any that is not empty.
	only   string
	refuse bool
}{
	{member: []string{"Config", "Healthcheck", "StartInterval"}, version: "1.44"},
	{member: []string{"HostConfig", "Annotations"}, version: "1.43"},
	{member: []string{"HostConfig", "Umask"}, version: "1.56"},
	{member: []string{"HostConfig", "Mounts", "*", "Type"}, version: "1.48", only: "image", refuse: true},
	{member: []string{"HostConfig", "Mounts", "*", "Type"}, version: "1.42", only: "cluster", refuse: true},
	{member: []string{"HostConfig", "Mounts", "*", "VolumeOptions", "Subpath"}, version: "1.45", refuse: true},
	{member: []string{"HostConfig", "Mounts", "*", "ImageOptions", "Subpath"}, version: "1.48", refuse: true},
	{member: []string{"HostConfig", "Mounts", "*", "BindOptions", "CreateMountpoint"}, version: "1.42"},
	{member: []string{"HostConfig", "Mounts", "*", "BindOptions", "ReadOnlyNonRecursive"}, version: "1.44"},
	{member: []string{"HostConfig", "Mounts", "*", "BindOptions", "ReadOnlyForceRecursive"}, version: "1.44"},
	{member: []string{"HostConfig", "Mounts", "*", "TmpfsOptions", "Options"}, version: "1.46"},
}

// until are members of the HostConfig that Engines no longer know from a version of
// the API on.
var until = map[string]string{"KernelMemory": "1.42", "KernelMemoryTCP": "1.52"}

// versions leaves out what the target's API does not know.
func (d *draft) versions() {
	roots := object{"Config": d.config, "HostConfig": d.host}
	for _, s := range since {
		if d.target.Speaks(s.version) {
			continue
		}
		each(roots, nil, s.member, func(parent object, path []string) {
			name := path[len(path)-1]
			value := parent[name]
			if isEmpty(value) || s.only != "" && text(value) != s.only {
				return
			}
			if s.refuse {
				d.refuse(pointer(path...), "this Engine does not know it (its API is %s, it needs %s), and would show the container "+
					"something else: use a newer Engine", d.target.APIVersion, s.version)
				return
			}
			delete(parent, name)
			d.differ(pointer(path...), value, nil, becauseOlder)
		})
	}
	for _, name := range sortedNames(d.host) {
		if version := until[name]; version != "" && d.target.Speaks(version) {
			if !isEmpty(d.host[name]) {
				d.differ(pointer("HostConfig", name), d.host[name], nil, becauseNewer)
			}
			delete(d.host, name)
		}
	}
}

// each visits the objects that have a member at a path, in which "*" stands for any
// entry of a list of mounts.
func each(value any, path, rest []string, visit func(parent object, path []string)) {
	if rest[0] == "*" {
		for _, entry := range list(value) {
			each(entry, append(slices.Clone(path), mountName(members(entry))), rest[1:], visit)
		}
		return
	}
	parent := members(value)
	if _, ok := parent[rest[0]]; !ok {
		return
	}
	path = append(slices.Clone(path), rest[0])
	if len(rest) == 1 {
		visit(parent, path)
		return
	}
	each(parent[rest[0]], path, rest[1:], visit)
}

// fits holds against the target what an Engine accepts, and finds out only at the
// container's start that it cannot give.
func (d *draft) fits() {
	if name := text(d.host["Runtime"]); name != "" && lacks(d.target.Runtimes, name) {
		if strings.HasPrefix(name, "io.containerd.") {
			d.warn("the container runs in %s, which need not be on this Engine's host", name)
		} else {
			d.refuse("/HostConfig/Runtime", "this Engine has no runtime %s (it has %s): add it to the Engine's configuration",
				name, strings.Join(d.target.Runtimes, ", "))
		}
	}
	if driver := text(at(d.host, "LogConfig", "Type")); driver != "" && lacks(d.target.LogDrivers, driver) {
		d.refuse("/HostConfig/LogConfig/Type", "this Engine has no log driver %s (it has %s): install its plugin", driver,
			strings.Join(d.target.LogDrivers, ", "))
	}
	if parent := text(d.host["CgroupParent"]); parent != "" && d.target.CgroupDriver == "systemd" && !strings.HasSuffix(parent, ".slice") {
		d.differ("/HostConfig/CgroupParent", parent, "", "this Engine's cgroups are systemd's, where it must be the name of a slice")
		delete(d.host, "CgroupParent")
	}
	for _, device := range list(d.host["Devices"]) {
		if path := text(members(device)["PathOnHost"]); path != "" {
			d.need(NeedPath, path, path, "/HostConfig/Devices")
		}
	}
	if len(list(d.host["DeviceRequests"])) > 0 {
		d.warn("the container asks for devices such as GPUs, and whether this Engine's host has them shows at its start")
	}
	if privileged, _ := d.host["Privileged"].(bool); privileged && d.target.UserNamespaceBase != "" && text(d.host["UsernsMode"]) != "host" {
		d.refuse("/HostConfig/Privileged", "this Engine keeps its containers in user namespaces (userns-remap), where none can be privileged")
	}
	d.fitsPlatform()
}

// lacks reports whether an Engine that lists what it has does not list this.
func lacks(all []string, name string) bool { return len(all) > 0 && !slices.Contains(all, name) }

func (d *draft) fitsPlatform() {
	if system := text(d.doc["Platform"]); system != "" && d.target.OS != "" && system != d.target.OS {
		d.refuse("/Platform", "the container is one of %s, and this Engine runs those of %s", system, d.target.OS)
	}
	if d.ctx == nil {
		return
	}
	if was, now := d.ctx.Engine.Architecture, d.target.Architecture; was != now {
		d.warn("the container is of the architecture %s, and this Engine's host is %s: it runs only if the host can emulate it", was, now)
	}
	if was := d.ctx.Engine.UserNamespaceBase; was != d.target.UserNamespaceBase {
		d.warn("root in containers is %s on this Engine's host, and was %s: what lies in bind mounts may belong to somebody else",
			userOf(d.target.UserNamespaceBase), userOf(was))
	}
}

func userOf(base string) string {
	if base == "" {
		return "root"
	}
	uid, _, _ := strings.Cut(base, ".")
	return "user " + uid
}
