package recreate

import (
	"slices"
	"strings"
)

// podmanShmSize is what Podman gives a container for which nobody chose a size.
const podmanShmSize = 64000 << 10

// podmanForms repairs what Podman writes in its own way, which no Engine takes.
func (d *draft) podmanForms() {
	swappiness, given := d.host["MemorySwappiness"]
	ofPodman := d.ctx != nil && strings.Contains(d.ctx.Engine.Kind, "Podman")
	if given && (swappiness == nil || whole(swappiness) < 0 || ofPodman && isEmpty(swappiness)) {
		delete(d.host, "MemorySwappiness") // Podman writes 0 for what nobody has set
	}
	for _, device := range list(d.host["Devices"]) {
		if device := members(device); device != nil && text(device["CgroupPermissions"]) == "" {
			device["CgroupPermissions"] = "rwm" // Podman leaves it empty
		}
	}
	if ofPodman {
		d.podmanDefaults()
	}
}

// podmanDefaults leaves to the Engine what Podman had filled in by itself.
func (d *draft) podmanDefaults() {
	if whole(d.host["ShmSize"]) == podmanShmSize {
		delete(d.host, "ShmSize")
	}
	d.config["Env"] = textList(withoutHostName(d.doc, d.config["Env"]))
	if isEmpty(d.config["StopTimeout"]) {
		delete(d.config, "StopTimeout")
	}
	for member, own := range map[string]string{"Runtime": "oci", "PidMode": "private", "UTSMode": "private"} {
		if text(d.host[member]) == own {
			delete(d.host, member)
		}
	}
	if log := members(d.host["LogConfig"]); isEmpty(log["Config"]) { // its default has another name in the list of drivers
		delete(d.host, "LogConfig")
	}
	for _, limit := range list(d.host["Ulimits"]) {
		if limit := members(limit); limit != nil {
			limit["Name"] = strings.ToLower(strings.TrimPrefix(text(limit["Name"]), "RLIMIT_"))
		}
	}
}

// withoutHostName is an environment without what Podman adds to it: the beginning of the
// container's id.
func withoutHostName(doc object, env any) []string {
	return slices.DeleteFunc(texts(env), func(v string) bool { return v == "HOSTNAME="+shortID(doc) })
}

// onlyHostNames: nothing else is different in the environment.
func onlyHostNames(c *comparison, was, now any) bool {
	before, after := withoutHostName(c.was, was), withoutHostName(c.now, now)
	slices.Sort(before)
	slices.Sort(after)
	return slices.Equal(before, after)
}
