package recreate

import (
	"path"
	"slices"
	"strings"
)

// mountName is what an entry of a list of mounts is called: its place in the container.
func mountName(mount object) string {
	if target := text(mount["Target"]); target != "" {
		return path.Clean(target)
	}
	return path.Clean(text(mount["Destination"]))
}

// mounts attaches what the container had mounted. Binds and mounts stand side by side
// in a document, and neither has the volumes that nobody gave a name to.
func (d *draft) mounts() {
	taken := map[string]bool{}
	d.binds(taken)
	d.tmpfs(taken)
	d.mountSpecs(taken)
	d.anonymousVolumes(taken)
}

// binds renews HostConfig.Binds: texts "source:target:modes", where the source is a
// path of the host or a volume's name.
func (d *draft) binds(taken map[string]bool) {
	var binds []string
	for _, was := range texts(d.host["Binds"]) {
		parts := strings.SplitN(was, ":", 3)
		if len(parts) == 1 { // a place alone: a volume without a name
			parts = []string{d.volumeAt(parts[0]), parts[0]}
		}
		target := path.Clean(parts[1])
		if taken[target] {
			d.differ("/HostConfig/Binds", was, nil, becauseTwice)
			continue
		}
		taken[target] = true
		if strings.HasPrefix(parts[0], "/") {
			d.need(NeedPath, parts[0], parts[0], "/HostConfig/Binds")
			binds = append(binds, was)
			continue
		}
		name := parts[0]
		parts[0] = d.volume(name, "/HostConfig/Binds")
		if slices.Contains(d.choices.NoCopy, name) {
			parts = withMode(parts, "nocopy")
		}
		now := strings.Join(parts, ":")
		if now != was {
			d.differ("/HostConfig/Binds", was, now, becauseVolume)
		}
		binds = append(binds, now)
	}
	if binds != nil {
		d.host["Binds"] = textList(binds)
	}
}

// withMode adds a mode to a bind, unless it has it.
func withMode(parts []string, mode string) []string {
	if len(parts) == 2 {
		return append(parts, mode)
	}
	if !slices.Contains(strings.Split(parts[2], ","), mode) {
		parts[2] += "," + mode
	}
	return parts
}

// tmpfs leaves out file systems in memory where a bind is; an Engine takes only one of
// both.
func (d *draft) tmpfs(taken map[string]bool) {
	places := members(d.host["Tmpfs"])
	for _, place := range sortedNames(places) {
		if taken[path.Clean(place)] {
			d.differ(pointer("HostConfig", "Tmpfs", place), places[place], nil, becauseTwice)
			delete(places, place)
		}
		taken[path.Clean(place)] = true
	}
}

// mountSpecs renews HostConfig.Mounts.
func (d *draft) mountSpecs(taken map[string]bool) {
	var specs []any
	for _, entry := range list(d.host["Mounts"]) {
		spec := members(entry)
		target := mountName(spec)
		member := pointer("HostConfig", "Mounts", target)
		if taken[target] {
			d.differ(member, spec, nil, becauseTwice)
			continue
		}
		taken[target] = true
		source := text(spec["Source"])
		switch text(spec["Type"]) {
		case "volume":
			was := source
			if was == "" {
				source = d.volumeAt(target)
			}
			if source == "" { // it was not mounted: the Engine makes a new one
				break
			}
			d.attach(spec, source, member)
			if now := spec["Source"]; now != was {
				d.differ(pointer("HostConfig", "Mounts", target, "Source"), was, now, becauseOf(was))
			}
		case "bind":
			d.need(NeedPath, source, source, member)
		case "image":
			d.need(NeedImage, source, source, member)
		}
		specs = append(specs, spec)
	}
	if delete(d.host, "Mounts"); specs != nil {
		d.host["Mounts"] = specs
	}
}

// becauseOf says why a volume is attached by another name than it was asked for by.
func becauseOf(was string) string {
	if was == "" {
		return becauseAnonymous
	}
	return becauseVolume
}

// anonymousVolumes attaches by their names the volumes that were made for places that
// the image or the user declared to have one (Config.Volumes). Others come from the
// containers whose volumes this one uses.
func (d *draft) anonymousVolumes(taken map[string]bool) {
	declared := map[string]bool{}
	for place := range members(d.config["Volumes"]) {
		declared[path.Clean(place)] = true
	}
	fromOthers := len(list(d.host["VolumesFrom"])) > 0
	for _, entry := range list(d.doc["Mounts"]) {
		mount := members(entry)
		target, name := mountName(mount), text(mount["Name"])
		if text(mount["Type"]) != "volume" || name == "" || taken[target] || fromOthers && !declared[target] {
			continue
		}
		taken[target] = true
		spec := object{"Type": "volume", "Target": target}
		if writable, ok := mount["RW"].(bool); ok && !writable {
			spec["ReadOnly"] = true
		}
		member := pointer("HostConfig", "Mounts", target)
		d.attach(spec, name, member)
		d.host["Mounts"] = append(list(d.host["Mounts"]), spec)
		d.differ(member, nil, spec, becauseAnonymous)
	}
}

// attach has a mount attach the volume that was called by this name.
func (d *draft) attach(spec object, name, member string) {
	spec["Source"] = d.volume(name, member)
	if slices.Contains(d.choices.NoCopy, name) {
		options := members(spec["VolumeOptions"])
		if options == nil {
			options = object{}
		}
		options["NoCopy"] = true
		spec["VolumeOptions"] = options
	}
}

// volume returns by what name to attach a volume, and enters that it is needed.
func (d *draft) volume(name, member string) string {
	now := name
	if chosen, ok := d.choices.Volumes[name]; ok {
		now = chosen
	}
	if now != "" {
		d.need(NeedVolume, now, name, member)
	}
	return now
}

// volumeAt returns the name of the volume that was mounted at a place; empty if none
// was.
func (d *draft) volumeAt(target string) string {
	for _, entry := range list(d.doc["Mounts"]) {
		if mount := members(entry); mountName(mount) == path.Clean(target) && text(mount["Type"]) == "volume" {
			return text(mount["Name"])
		}
	}
	return ""
}
