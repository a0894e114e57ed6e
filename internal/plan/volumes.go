package plan

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// The Engine's words for mounts that can be read.
const (
	mountVolume = "volume"
	mountBind   = "bind"
)

// Reasons for a volume to be left out.
const (
	inMemory         = "its driver options make it a tmpfs, which lies in memory only"
	notAllowedVolume = "no container that this host allows to be backed up uses it (policy.containers in its configuration)"
)

// NeedsVolumes reports whether a plan has to know the volumes on the Engine.
func NeedsVolumes(req *events.BackupRequest, containers []engine.Container) bool {
	return req.Volumes != nil || req.Containers != nil && slices.ContainsFunc(containers, func(c engine.Container) bool {
		return strings.TrimSpace(c.Labels[LabelVolumes]) == volumesAttached
	})
}

// volumes decides what becomes of volumes and bind mounts.
type volumes struct {
	sel        events.VolumeSelector
	containers []engine.Container // on the Engine
	rules      Rules
	byName     map[string]engine.Volume
	sizes      map[string]int64
	// heldBy are the names of the containers whose points hold a volume, by its name.
	heldBy map[string][]string
}

func newVolumes(req *events.BackupRequest, inv Inventory, rules Rules) *volumes {
	v := &volumes{
		containers: withoutHelpers(inv.Containers), rules: rules, sizes: inv.VolumeSizes,
		byName: map[string]engine.Volume{}, heldBy: map[string][]string{},
	}
	if req.Volumes != nil {
		v.sel = *req.Volumes
	}
	for _, volume := range inv.Volumes {
		v.byName[volume.Name] = volume
	}
	return v
}

// has says whether one of these volumes has that artifact.
func has(volumes []events.PlannedVolume, artifact string) bool {
	return slices.ContainsFunc(volumes, func(p events.PlannedVolume) bool { return p.ArtifactName() == artifact })
}

// planMounts decides which mounts of a container go into its point.
func (v *volumes) planMounts(item *Item, c engine.Container) {
	set, err := settingsOf(c)
	if item.Code != "" || err != nil {
		return
	}
	if set.volumes == volumesNone || set.volumes == "" && !v.sel.Attached {
		return
	}
	mounts := slices.SortedFunc(slices.Values(c.Mounts), func(a, b engine.Mount) int { return strings.Compare(a.Destination, b.Destination) })
	for _, m := range mounts {
		planned, leftOut := v.planMount(m)
		switch {
		case leftOut != "":
			item.NotIncluded = append(item.NotIncluded, events.NotIncluded{
				Type: m.Type, Name: m.Name, Source: m.Source, Destination: m.Destination, Reason: leftOut})
		case planned != nil && !has(item.Volumes, planned.ArtifactName()):
			item.Volumes = append(item.Volumes, *planned)
			if planned.Name != "" {
				v.heldBy[planned.Name] = append(v.heldBy[planned.Name], c.Name)
			}
		}
	}
}

// planMount decides whether a mount goes into its container's point. It returns
// neither a plan nor a reason for one that nobody asked for.
func (v *volumes) planMount(m engine.Mount) (planned *events.PlannedVolume, leftOut string) {
	switch {
	case m.Type == mountVolume && m.Name != "":
		if volume, known := v.byName[m.Name]; known && volume.InMemory() {
			return nil, inMemory
		}
		p := v.plannedVolume(m.Name)
		p.Destination = m.Destination
		return &p, ""
	case m.Type == mountBind && v.sel.Binds:
		source := path.Clean(m.Source)
		if !v.rules.allowsBind(source) {
			return nil, fmt.Sprintf("this host does not allow bind mounts of %s to be backed up (policy.binds in its configuration)", source)
		}
		return &events.PlannedVolume{Type: mountBind, Source: source, Destination: m.Destination}, ""
	}
	return nil, ""
}

// allowsBind reports whether the host lets a clean path be read.
func (r Rules) allowsBind(source string) bool {
	return path.IsAbs(source) && slices.ContainsFunc(r.Binds, func(allowed string) bool {
		return source == allowed || strings.HasPrefix(source, strings.TrimSuffix(allowed, "/")+"/")
	})
}

// plannedVolume is the volume with this name as it is read.
func (v *volumes) plannedVolume(name string) events.PlannedVolume {
	volume := v.byName[name]
	return events.PlannedVolume{Type: mountVolume, Name: name, Driver: volume.Driver, CreatedAt: volume.CreatedAt, Size: v.sizes[name]}
}

// planItems decides which volumes are items of their own.
func (v *volumes) planItems(plan *Plan) {
	named := map[string]bool{}
	for _, name := range distinct(v.sel.Names) {
		if _, there := v.byName[name]; there {
			named[name] = true
		} else {
			addMissing(plan, v.rules, missing(events.ItemVolume, name, 0))
		}
	}
	match, exclude := compile(v.sel.Match), compile(v.sel.Exclude)
	for _, name := range slices.Sorted(maps.Keys(v.byName)) {
		item := events.Item{Kind: events.ItemVolume, ID: name, Name: name}
		by, in, out := ByName, fmt.Sprintf("named %q", name), ""
		if !named[name] {
			by = ByPattern
			in, out = v.selectVolume(name, match, exclude)
		}
		switch {
		case out != "":
			plan.Excluded = append(plan.Excluded, events.Excluded{Item: item, Reason: out})
		case in != "":
			plan.Items = append(plan.Items, v.planItem(item, by, in))
		case v.rules.Explain && len(v.sel.Names)+len(v.sel.Match) > 0:
			plan.Excluded = append(plan.Excluded, events.Excluded{Item: item, Reason: "no selector finds it"})
		}
	}
}

// selectVolume applies everything but names. It returns the reason for the volume to be
// in, or, if it was found but is narrowed away, the reason for that.
func (v *volumes) selectVolume(name string, match, exclude []*regexp.Regexp) (in, out string) {
	found := firstMatch(match, name)
	if found == nil {
		return "", ""
	}
	volume := v.byName[name]
	if re := firstMatch(exclude, name); re != nil {
		return "", fmt.Sprintf("its name matches the exclusion %q", re)
	}
	switch {
	case len(v.heldBy[name]) > 0:
		return "", "it is in the point of container " + listed(v.heldBy[name])
	case !v.allowed(name):
		return "", notAllowedVolume
	case volume.InMemory():
		return "", inMemory
	}
	return fmt.Sprintf("its name matches %q", found), ""
}

func (v *volumes) planItem(item events.Item, by Selector, reason string) Item {
	volume := v.byName[item.Name]
	if volume.Driver != engine.LocalDriver {
		reason += fmt.Sprintf("; it is of the driver %q, and is read as that mounts it", volume.Driver)
	}
	p := Item{
		PlannedItem: events.PlannedItem{Item: item, Reason: reason, Volumes: []events.PlannedVolume{v.plannedVolume(item.Name)}},
		Selector:    by,
	}
	if !v.allowed(item.Name) {
		p.Code, p.Message = events.CodeNotAllowed, fmt.Sprintf("volume %s is not backed up: %s", item.Name, notAllowedVolume)
		return p
	}
	p.warnOfUsers(item.Name, v.writers(item.Name, func(engine.Container) bool { return false }))
	return p
}

// allowed reports whether the host allows the volume to be backed up: where it allows
// only some containers, one of those must use it.
func (v *volumes) allowed(name string) bool {
	a := v.rules.Allowed
	return len(a.Match)+len(a.Labels) == 0 || slices.ContainsFunc(v.containers, func(c engine.Container) bool {
		return a.allows(c) && slices.ContainsFunc(c.Mounts, func(m engine.Mount) bool { return m.Type == mountVolume && m.Name == name })
	})
}

// warnOfUsers warns of volumes of planned containers that others can write to while
// they are read.
func (v *volumes) warnOfUsers(m *members) {
	for i := range m.items {
		item := &m.items[i]
		if item.Code != "" {
			continue
		}
		for _, volume := range item.Volumes {
			if volume.Name == "" {
				continue
			}
			item.warnOfUsers(volume.Name, v.writers(volume.Name, func(c engine.Container) bool {
				return c.ID == item.ID || !v.sel.Hot && m.heldTogether(c)
			}))
		}
	}
}

// heldTogether reports whether the container is quiesced while the others of its group
// are.
func (m *members) heldTogether(c engine.Container) bool {
	return m.together && slices.ContainsFunc(m.items, func(i Item) bool {
		return i.ID == c.ID && i.Code == "" && i.Quiesce != events.QuiesceNone
	})
}

// writers returns the names of the running containers that can write to the volume,
// but for those that do not count.
func (v *volumes) writers(name string, not func(engine.Container) bool) []string {
	var names []string
	for _, c := range v.containers {
		writes := slices.ContainsFunc(c.Mounts, func(m engine.Mount) bool { return m.Type == mountVolume && m.Name == name && !m.ReadOnly })
		if writes && running(c.State) && !not(c) {
			names = append(names, cmp.Or(c.Name, c.ID))
		}
	}
	return names
}

func (i *Item) warnOfUsers(volume string, writers []string) {
	if len(writers) == 0 {
		return
	}
	i.warn(events.WarningVolumeInUse, "volume %s is read while containers run that can write to it, and are not quiesced for that: %s",
		volume, listed(writers))
}
