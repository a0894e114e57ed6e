package restore

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast.io/holdfast/events"
)

// PlanVersion is the version of the stored form of a Plan. A change that an older
// program would misread, or whose loss would do harm, gets the next one.
//
// Form 2 has the dependants of an item.
const PlanVersion = 2

// Plan is what a restore will do on a host. It does not change once it is made.
type Plan struct {
	// Version is that of the stored form.
	Version int `json:"version"`
	// Time is when the plan was made; the events that repeat it bear it.
	Time time.Time `json:"time"`
	// Items are in the order in which they are restored.
	Items    []Item           `json:"items"`
	Missing  []events.Missing `json:"missing"`
	Warnings []events.Warning `json:"warnings,omitempty"`
}

// Item is one point, and how it is restored.
type Item struct {
	events.PlannedItem
	// Dir is the point's folder in the sink.
	Dir string `json:"dir"`
	// As is how far a container is brought back; image for an image, empty for a volume.
	As events.RestoreAs `json:"as,omitempty"`
	// Container is the name that the container gets.
	Container string `json:"container,omitempty"`
	// Replaces is the full id of the container in whose place it comes; empty for none.
	Replaces string `json:"replaces,omitempty"`
	// Dependants are the containers that are made again with it, as they use its
	// namespaces, each after those that it needs.
	Dependants []Dependant `json:"dependants,omitempty"`
	Volumes    []Volume    `json:"volumes,omitempty"`
	Networks   []Network   `json:"networks,omitempty"`
}

// stops reports whether a container is stopped for the item.
func (i *Item) stops(id string) bool {
	return id == i.Replaces || slices.ContainsFunc(i.Dependants, func(d Dependant) bool { return d.ID == id })
}

// dependantNames are the names of the dependants, in their order.
func (i *Item) dependantNames() string {
	names := make([]string, len(i.Dependants))
	for n, d := range i.Dependants {
		names[n] = d.Name
	}
	return strings.Join(names, ", ")
}

// Dependant is a container that uses namespaces of one that is replaced, or of another
// dependant.
type Dependant struct {
	// ID is its full id.
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Volume is what becomes of one volume.
type Volume struct {
	// Was is the name that it had, Name the one that it has on this Engine.
	Was    string              `json:"was"`
	Name   string              `json:"name"`
	Action events.VolumeAction `json:"action"`
}

// Network is what becomes of one network.
type Network struct {
	Name   string               `json:"name"`
	Action events.NetworkAction `json:"action"`
	// KeepSubnets has a network that is created get the addresses that it had, as a
	// container asks for one of them.
	KeepSubnets bool `json:"keepSubnets,omitempty"`
}

// Public is what is published of the plan.
func (p *Plan) Public() events.Plan {
	public := events.Plan{Items: make([]events.PlannedItem, len(p.Items)), Missing: p.Missing, Excluded: []events.Excluded{},
		Warnings: p.Warnings}
	for i, item := range p.Items {
		public.Items[i] = item.PlannedItem
	}
	return public
}

// Made is when the plan was made.
func (p *Plan) Made() time.Time { return p.Time }

// act adds to what is done, in words.
func (i *Item) act(format string, args ...any) {
	const most = 8 // of what an event lists
	if len(i.Actions) == most-1 {
		i.Actions = append(i.Actions, "and more")
	}
	if len(i.Actions) < most {
		i.Actions = append(i.Actions, fmt.Sprintf(format, args...))
	}
}

// fail says why the item will fail; the first reason counts.
func (i *Item) fail(code events.Code, format string, args ...any) {
	if i.Code == "" {
		i.Code, i.Message = code, fmt.Sprintf(format, args...)
	}
}

func (i *Item) warn(format string, args ...any) {
	i.Warnings = events.Warn(i.Warnings, events.WarningRestore, format, args...)
}
