package restore

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bytesize"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/image"
	"holdfast.io/holdfast/internal/recreate"
)

// Host is what is on the host that restores, when the plan is made.
type Host struct {
	Platform   engine.Platform
	Containers []engine.Container
	Networks   []engine.Network
	Volumes    []engine.Volume
	// Details are all containers that can be inspected, by id, if any is to be replaced.
	Details map[string]*engine.ContainerDetail
	// Protected says why containers must not be stopped, by id.
	Protected map[string]string
	// NaiveDiff is set if a commit misses some changes; see [engine.About].
	NaiveDiff bool
	// Restored reports whether the Engine has the image of a point.
	Restored map[string]bool
}

// Wish is what a request asks for.
type Wish struct {
	Job      string
	As       events.RestoreAs
	Name     string
	Replace  bool
	Volumes  events.VolumeMode
	Networks events.RestoreNetworks
	// Dependants is what becomes of containers that use namespaces of one that is replaced.
	Dependants events.Dependants
	Gate       string
}

// preflight holds points against a host, one after the other: what an earlier one will
// make is there for a later one. It touches nothing.
type preflight struct {
	host *Host
	wish Wish
	// kept are the names of networks in which a container asks for an address: if they
	// are made, then with the subnets that they had.
	kept map[string]bool
	// moved are the containers in whose place another one comes, by their ids: the names of
	// the items that see to that.
	moved map[string]string
}

// Found is a point that is to be restored, and why. Err says why it cannot be read.
type Found struct {
	events.PlannedItem
	Dir    string
	Source *Source
	Err    error
}

// MakePlan decides how points are restored on a host. It is a pure function.
func MakePlan(found []Found, host *Host, wish Wish) []Item {
	f := &preflight{host: host, wish: wish, kept: map[string]bool{}, moved: map[string]string{}}
	var sources []*Source
	by := map[*Source]Found{}
	var items []Item
	for _, point := range found {
		if point.Err != nil {
			item := Item{PlannedItem: point.PlannedItem, Dir: point.Dir}
			code, _ := meanings.Classify(point.Err)
			item.fail(code, "point %s cannot be restored: %v", point.Point, point.Err)
			items = append(items, item)
			continue
		}
		sources = append(sources, point.Source)
		by[point.Source] = point
		asked := claimsOf(point.Source)
		for network := range asked.static() {
			f.kept[network] = true
		}
	}
	for _, s := range inOrder(sources) {
		items = append(items, f.item(s, by[s]))
	}
	return items
}

func (f *preflight) item(s *Source, found Found) Item {
	item := Item{PlannedItem: found.PlannedItem, Dir: found.Dir, As: f.wish.As}
	if doubt := s.Manifest.Signed.Doubt(); doubt != "" {
		item.Warnings = events.Warn(item.Warnings, events.WarningUntrusted, "point %s: %s", item.Point, doubt)
	}
	switch s.Manifest.Item.Kind {
	case events.ItemContainer:
		f.image(&item, s)
		if item.As != events.RestoreImage {
			f.container(&item, s)
		}
	case events.ItemImage:
		item.As = events.RestoreImage
		f.image(&item, s)
		f.noName(&item)
	case events.ItemVolume:
		item.As = ""
		f.volume(&item, s, s.Manifest.Item.Name)
		f.noName(&item)
	default:
		item.fail(events.CodeUnsuitable, "this version does not know how to restore a point of kind %s", s.Manifest.Item.Kind)
	}
	return item
}

// noName refuses a name for what can have none.
func (f *preflight) noName(item *Item) {
	if f.wish.Name != "" {
		item.fail(events.CodeUnsuitable, "name is for a container, and point %s is of %s %s", item.Point, item.Kind, item.Name)
	}
}

func (f *preflight) image(item *Item, s *Source) {
	size, has := image.SizeOf(s.Manifest)
	if !has || s.Manifest.Image == nil {
		item.fail(events.CodeUnsuitable, "point %s has no image", item.Point)
		return
	}
	if f.host.Restored[item.Point] {
		item.act("use image %s, which is loaded already", Reference(item.Point))
		return
	}
	item.act("load image %s (%s)", Reference(item.Point), bytesize.Format(size.Plain))
}

// container plans how a container is made again.
func (f *preflight) container(item *Item, s *Source) {
	item.Container = s.Manifest.Item.Name
	if f.wish.Name != "" {
		item.Container = f.wish.Name
	}
	f.place(item)
	if c := s.Context; c != nil && c.Engine.Architecture != f.host.Platform.Architecture {
		item.fail(events.CodePlatformMismatch, "container %s is for %s, and this Engine's host is %s", item.Name, c.Engine.Architecture,
			f.host.Platform.Architecture)
	}
	call, err := recreate.Plan(recreate.Source{Document: s.Document, Context: s.Context}, &f.host.Platform,
		recreate.Choices{Image: s.Manifest.Image.ID})
	if err != nil {
		code := events.CodeUnsuitable
		if r, ok := errors.AsType[*recreate.RefusedError](err); ok && strings.HasSuffix(r.Member, "/Runtime") {
			code = events.CodeRuntimeMissing
		}
		item.fail(code, "container %s cannot be made on this Engine: %v", item.Name, err)
		return
	}
	for _, w := range call.Warnings {
		item.warn("%s", w)
	}
	for _, n := range call.Needs {
		f.need(item, s, n)
	}
	f.addresses(item, s)
	if item.Code == "" {
		f.describe(item)
		f.host.Containers = append(f.host.Containers, engine.Container{ID: "of point " + item.Point, Name: item.Container})
	}
}

// describe says what is done with the container.
func (f *preflight) describe(item *Item) {
	item.act("create container %s", item.Container)
	if item.Replaces != "" {
		if len(item.Dependants) > 0 {
			item.act("stop what uses its namespaces, and make it again of what it holds: %s", item.dependantNames())
		}
		item.act("stop the container that has its name (%.12s), which goes when the new one has passed its gate", item.Replaces)
	}
	if item.As == events.RestoreStart {
		item.act("start it, and see for %s whether it runs; with a health check, whether it is healthy", f.wish.Gate)
		if len(item.Dependants) > 0 {
			item.act("do the same with what used its namespaces and ran")
		}
	}
}

// place looks who has the name of the container.
func (f *preflight) place(item *Item) {
	i := slices.IndexFunc(f.host.Containers, func(c engine.Container) bool { return c.Name == item.Container })
	if i < 0 {
		return
	}
	old := f.host.Containers[i]
	detail := f.host.Details[old.ID]
	switch {
	case !f.wish.Replace || detail == nil:
		item.fail(events.CodeNameTaken, "a container %s is there already (%.12s): restore under another name (name), or in its place (replace)",
			item.Container, old.ID)
		return
	case f.moved[old.ID] != "":
		item.fail(events.CodeDependants, movedBefore, old.Name, f.moved[old.ID])
	case f.host.Protected[old.ID] != "":
		item.fail(events.CodeProtected, "container %s must not be stopped: %s", old.Name, f.host.Protected[old.ID])
	case engine.StopWouldRemove(detail) != "":
		item.fail(events.CodeStopWouldRemove, "container %s cannot be replaced: %s", old.Name, engine.StopWouldRemove(detail))
	}
	item.Replaces = old.ID
	f.dependants(item, detail)
	if item.Code == "" {
		f.moved[old.ID] = item.Name
		for _, d := range item.Dependants {
			f.moved[d.ID] = item.Name
		}
	}
}

// need sees to something that must be there before the container is made.
func (f *preflight) need(item *Item, s *Source, n recreate.Need) {
	switch n.Kind {
	case recreate.NeedVolume:
		f.volume(item, s, n.Was)
	case recreate.NeedNetwork:
		f.network(item, s, n.Name)
	case recreate.NeedContainer:
		if !slices.ContainsFunc(f.host.Containers, func(c engine.Container) bool { return c.Name == n.Name || c.ID == n.Name }) {
			item.fail(events.CodeNotFound, "container %s needs container %s (%s), which is not on this host: restore that one with it",
				item.Name, n.Name, n.Member)
		}
	case recreate.NeedPath:
		if s.Volume(n.Name) != nil {
			item.warn("the point holds the content of %s, which this version does not put back: holdfast restore --to",
				n.Name)
		}
	case recreate.NeedImage:
		item.warn("image %s must be on this host: the container has it mounted", n.Name)
	}
}

// volume decides what becomes of a volume.
func (f *preflight) volume(item *Item, s *Source, was string) {
	archive := s.Volume(was)
	there, planned := f.volumeThere(was)
	v := Volume{Was: was, Name: was}
	content := ""
	if archive != nil {
		content = " and fill it (" + bytesize.Format(archive.UncompressedSize) + ")"
	}
	switch {
	case f.wish.Volumes == events.VolumesNew && archive != nil:
		v.Name, v.Action = newName(was, f.wish.Job), events.VolumeCreated
		if made, _ := f.volumeThere(v.Name); made {
			v.Action = events.VolumeKept // an item before this one makes it
			break
		}
		item.act("make volume %s for what was %s%s", v.Name, was, content)
	case planned:
		v.Action = events.VolumeKept
	case there && (archive == nil || !f.wish.fills()):
		v.Action = events.VolumeKept
		item.act("use volume %s as it is", was)
	case there:
		v.Action = f.fills(item, was, archive)
	case archive == nil || f.wish.Volumes == events.VolumesNone:
		v.Action = events.VolumeMadeEmpty
		item.act("make volume %s, empty", was)
		item.warn("volume %s is not there, and is made empty", was)
	default:
		v.Action = events.VolumeCreated
		item.act("make volume %s%s", was, content)
	}
	item.Volumes = append(item.Volumes, v)
	if v.Action != events.VolumeKept {
		f.host.Volumes = append(f.host.Volumes, engine.Volume{Name: v.Name, Driver: plannedDriver})
	}
}

// fills reports whether volumes that are there are filled.
func (w *Wish) fills() bool {
	return w.Volumes == events.VolumesEmpty || w.Volumes == events.VolumesReplace
}

// volumeThere reports whether a volume is there, and whether an earlier item of the plan
// makes or fills it.
func (f *preflight) volumeThere(name string) (there, planned bool) {
	for _, v := range f.host.Volumes {
		if v.Name == name {
			there, planned = true, planned || v.Driver == plannedDriver
		}
	}
	return there, planned
}

// fills says that a volume that is there is filled, and whether what it holds goes.
func (f *preflight) fills(item *Item, name string, archive *events.Artifact) events.VolumeAction {
	if other := item.user(f.host.Containers, name); other != "" {
		item.fail(events.CodeVolumeInUse, inUse, other, name)
	}
	size := bytesize.Format(archive.UncompressedSize)
	if f.wish.Volumes == events.VolumesReplace {
		item.act("store what volume %s holds as a point, empty it, and fill it (%s)", name, size)
		return events.VolumeReplaced
	}
	item.act("fill volume %s if it is empty (%s)", name, size)
	return events.VolumeFilled
}

// plannedDriver marks a volume that an earlier item of the plan makes or fills.
const plannedDriver = "planned"

// newName is the name of a new volume for what was in another one. It is the same for
// all containers of a job that had it.
func newName(was, job string) string {
	sum := sha256.Sum256([]byte(job + "\x00" + was))
	return fmt.Sprintf("%s-%s", was, hex.EncodeToString(sum[:])[:8])
}

// network decides what becomes of a network.
func (f *preflight) network(item *Item, s *Source, name string) {
	n := Network{Name: name, Action: events.NetworkUsed}
	if f.networkThere(name) == nil {
		known := networkOf(s.Context, name)
		switch {
		case f.wish.Networks != events.NetworksCreate:
			item.fail(events.CodeNetworkMissing, "network %s is not on this host: make it, or have it made (networks: create)", name)
			return
		case known == nil:
			item.fail(events.CodeNetworkMissing, "network %s is not on this host, and the point does not say how it was made: make it first", name)
			return
		}
		n.Action = events.NetworkCreated
		n.KeepSubnets = f.kept[name]
		made := known.Spec(n.KeepSubnets)
		if other, subnet := f.overlapping(&made); other != nil {
			item.fail(events.CodeAddressTaken, "network %s cannot be made: its addresses %s overlap with those of network %s: remove that one, "+
				"or make the network with others first", name, subnet, other.Name)
		}
		item.act("create network %s", name)
		f.host.Networks = append(f.host.Networks, made)
	}
	item.Networks = append(item.Networks, n)
}

// networkOf is a network as the point knows it; nil if it does not.
func networkOf(c *recreate.Context, name string) *recreate.Network {
	if c == nil {
		return nil
	}
	for i := range c.Networks {
		if c.Networks[i].Name == name {
			return &c.Networks[i]
		}
	}
	return nil
}
