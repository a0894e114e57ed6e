package plan

import (
	"fmt"
	"slices"
	"strings"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// Namespaces are the other containers whose process and IPC namespaces a container
// uses. Whose network it uses is in the Engine's list.
type Namespaces struct {
	Of []string // ids
	// Unknown is set if that cannot be told.
	Unknown bool
}

// MayStop reports whether a plan may have a container stopped, and so has to know
// who uses whose namespaces.
func MayStop(req *events.BackupRequest, containers []engine.Container) bool {
	if req.Containers == nil {
		return false
	}
	return req.Quiesce == events.QuiesceStop || slices.ContainsFunc(containers, func(c engine.Container) bool {
		return strings.TrimSpace(c.Labels[LabelQuiesce]) == string(events.QuiesceStop)
	})
}

// members are the containers of a plan, in the order of its items.
type members struct {
	items      []Item
	containers []engine.Container // by item
	all        []engine.Container // on the Engine
	rules      Rules
	together   bool
}

// uses reports whether c has a namespace that it would lose if the owner stopped.
func (m *members) uses(c engine.Container, owner string) bool {
	if of, shares := c.NetworkOf(); shares && of == owner {
		return true
	}
	n := m.rules.Namespaces[c.ID]
	return n.Unknown || slices.Contains(n.Of, owner)
}

// order decides in which order the containers are stopped, if they are captured
// together: first those that depend on others or use their namespaces.
func (m *members) order() []int {
	labels := make([]map[string]string, len(m.containers))
	users := make([][]int, len(m.containers))
	for i, c := range m.containers {
		labels[i] = c.Labels
		for j, other := range m.containers {
			if i != j && m.uses(other, c.ID) {
				users[i] = append(users[i], j)
			}
		}
	}
	return stopOrder(labels, users)
}

// refuseStops fails the items that are to be stopped while containers use their
// namespaces that are not stopped before them and started after them: those would
// lose their network, or die, and nothing would bring that back.
func (m *members) refuseStops(order []int) {
	for again := true; again; {
		again = false
		for i := range m.items {
			if m.items[i].Quiesce != events.QuiesceStop || m.items[i].Code != "" || !running(m.containers[i].State) {
				continue
			}
			broken := m.brokenBy(i, order)
			if len(broken) == 0 {
				continue
			}
			m.items[i].Code = events.CodeStopWouldBreak
			m.items[i].Message = fmt.Sprintf("container %s is not stopped: it shares its network, processes or IPC with %s, which would break; "+
				"use quiesce pause, or stop all of them together (together)", m.containers[i].Name, listed(broken))
			again = true // what is stopped with it is not, now
		}
	}
}

// brokenBy returns the names of the containers that would break if the item were
// stopped.
func (m *members) brokenBy(i int, order []int) []string {
	var broken []string
	for _, c := range m.all {
		if c.ID == m.containers[i].ID || !running(c.State) || !m.uses(c, m.containers[i].ID) {
			continue
		}
		j := slices.IndexFunc(m.containers, func(member engine.Container) bool { return member.ID == c.ID })
		if m.together && j >= 0 && m.items[j].Quiesce == events.QuiesceStop && m.items[j].Code == "" &&
			slices.Index(order, j) < slices.Index(order, i) {
			continue
		}
		name := c.Name
		if m.rules.Namespaces[c.ID].Unknown {
			name += " (which cannot be told)"
		}
		broken = append(broken, name)
	}
	return broken
}

// listed lists names for a message, at most five.
func listed(names []string) string {
	const most = 5
	slices.Sort(names)
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
