package restore

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// movedBefore says why a container is not replaced, or made again, once more.
const movedBefore = "container %s is replaced or made again with %s by the same request: ask for this one by another request, after that"

// dependants plans what becomes of the containers that use namespaces of the one that is
// replaced: they would break.
func (f *preflight) dependants(item *Item, old *engine.ContainerDetail) {
	for _, d := range dependantsOf(f.host.Details, old.ID) {
		if f.wish.Dependants != events.DependantsRecreate {
			item.fail(events.CodeDependants, "container %s uses namespaces of %s, and would break if that were replaced: "+
				"have it made again, too (dependants: recreate), or remove it first, and restore it after", d.Name, old.Name)
			return
		}
		f.dependant(item, d)
		item.Dependants = append(item.Dependants, Dependant{ID: d.ID, Name: d.Name})
	}
	if f.host.NaiveDiff && len(item.Dependants) > 0 {
		item.Warnings = events.Warn(item.Warnings, events.WarningNaiveDiff, "the Engine's storage driver does not see all changes: what "+
			"uses the namespaces of %s loses files that it wrote with the size, time, mode and owner that they have in its image", old.Name)
	}
}

// dependant refuses a container that cannot be stopped and made again.
func (f *preflight) dependant(item *Item, d *engine.ContainerDetail) {
	why := engine.StopWouldRemove(d)
	switch {
	case f.moved[d.ID] != "":
		item.fail(events.CodeDependants, movedBefore, d.Name, f.moved[d.ID])
	case f.host.Protected[d.ID] != "":
		item.fail(events.CodeProtected, "container %s uses namespaces of %s, and must not be stopped: %s", d.Name, item.Container,
			f.host.Protected[d.ID])
	case why != "":
		item.fail(events.CodeStopWouldRemove, "container %s uses namespaces of %s, and cannot be made again: %s", d.Name, item.Container, why)
	case !engine.Committable(d.State):
		item.fail(events.CodeUncommittable, "container %s uses namespaces of %s, and cannot be made again, as it is %s: remove it first",
			d.Name, item.Container, d.State)
	case strings.Contains(d.Runtime, "runsc"):
		item.fail(events.CodeUnsuitable, "container %s uses namespaces of %s, and cannot be made again, as it runs in gVisor (runtime %s), "+
			"which may hide from the Engine what it has written: remove it first, and make it again after", d.Name, item.Container, d.Runtime)
	}
	for _, id := range d.Shares {
		if owner := f.host.Details[id]; runs(d.State) && (owner == nil || !runs(owner.State)) {
			item.fail(events.CodeDependants, "container %s runs, and one whose namespaces it uses (%.12s) does not, so that it could not be "+
				"started again: stop it first", d.Name, id)
		}
	}
}

// runs reports whether a container is one that runs, as far as its user knows.
func runs(s events.State) bool {
	return s == events.StateRunning || s == events.StateRestarting || s == events.StatePaused
}

// dependantsOf returns the containers that use namespaces of one, and those that use
// theirs, each after those that it needs, and else by their names.
func dependantsOf(all map[string]*engine.ContainerDetail, id string) []*engine.ContainerDetail {
	byName := slices.SortedFunc(maps.Values(all), func(a, b *engine.ContainerDetail) int { return cmp.Compare(a.Name, b.Name) })
	affected := map[string]bool{id: true}
	waits := func(d *engine.ContainerDetail) bool {
		return slices.ContainsFunc(d.Shares, func(id string) bool { return affected[id] })
	}
	for grown := true; grown; {
		grown = false
		for _, d := range byName {
			if !affected[d.ID] && waits(d) {
				affected[d.ID], grown = true, true
			}
		}
	}
	var ordered []*engine.ContainerDetail
	for delete(affected, id); len(affected) > 0; {
		i := slices.IndexFunc(byName, func(d *engine.ContainerDetail) bool { return affected[d.ID] && !waits(d) })
		if i < 0 { // in a circle, which an Engine does not make
			i = slices.IndexFunc(byName, func(d *engine.ContainerDetail) bool { return affected[d.ID] })
		}
		ordered = append(ordered, byName[i])
		delete(affected, byName[i].ID)
	}
	return ordered
}
