package plan

import (
	"fmt"
	"time"

	"holdfast.io/holdfast/events"
)

// Version is the version of the stored form of a Plan. A change that an older
// program would misread, or whose loss would do harm, gets the next one.
//
// Form 2 has volumes.
const Version = 2

// Plan is what a job will do. It stands in the ledger from its first attempt on,
// so that later changes on the Engine do not alter it.
type Plan struct {
	// Version is that of the stored form.
	Version int `json:"version"`
	// Time is when the plan was made; the events that repeat it bear it.
	Time     time.Time         `json:"time"`
	Items    []Item            `json:"items"`
	Missing  []events.Missing  `json:"missing,omitempty"`
	Excluded []events.Excluded `json:"excluded,omitempty"`
	Skipped  []events.Skipped  `json:"skipped,omitempty"`
	// Warnings are about the host and the whole job.
	Warnings []events.Warning `json:"warnings,omitempty"`
	// StopOrder are the places in Items of all containers, in the order in which they
	// are stopped when they are captured together. They are started in the reverse
	// order. Where there is an item for each sink, it has the first of each container.
	StopOrder []int `json:"stopOrder,omitempty"`
}

// eachIn makes of each item one for each sink, one after the other, if there are several.
func (p *Plan) eachIn(sinks []string) {
	if len(sinks) == 1 {
		return
	}
	items := make([]Item, 0, len(p.Items)*len(sinks))
	for _, item := range p.Items {
		for _, sink := range sinks {
			item.Sink = sink
			items = append(items, item)
		}
	}
	p.Items = items
	for n := range p.StopOrder {
		p.StopOrder[n] *= len(sinks)
	}
}

// Things are the places in Items of what is one and the same thing, for all things in
// their order: several where there is an item for each sink.
func (p *Plan) Things() [][]int {
	var things [][]int
	for i, item := range p.Items {
		if i == 0 || item.Item != p.Items[i-1].Item || item.Sink == "" {
			things = append(things, nil)
		}
		last := &things[len(things)-1]
		*last = append(*last, i)
	}
	return things
}

// Item is one item of a Plan: what is published of it, and what only its execution
// needs.
type Item struct {
	events.PlannedItem
	// Selector is what of the request led to the item.
	Selector Selector `json:"selector"`
	// ImageHooks are the hook labels that came with the container's image, and are
	// ignored.
	ImageHooks []string `json:"imageHooks,omitempty"`
}

// warn adds a warning to the item.
func (i *Item) warn(code events.WarningCode, format string, args ...any) {
	i.Warnings = events.Warn(i.Warnings, code, format, args...)
}

// Selector is a way to select an item.
type Selector string

// The ways to select an item, in the order in which they count.
const (
	ByName    Selector = "name"
	ByPattern Selector = "pattern"
	ByLabel   Selector = "label"
	ByAll     Selector = "all"
)

// Public returns what is published of the plan. Lists are not shortened.
func (p *Plan) Public() events.Plan {
	items := make([]events.PlannedItem, 0, len(p.Items))
	for _, item := range p.Items {
		items = append(items, item.PlannedItem)
	}
	return events.Plan{Items: items, Missing: p.Missing, Excluded: p.Excluded, Skipped: p.Skipped, Warnings: p.Warnings}
}

// Made is when the plan was made.
func (p *Plan) Made() time.Time { return p.Time }

// Check reports what a plan that was stored contradicts itself in.
func (p *Plan) Check() error {
	for _, i := range p.StopOrder {
		if i < 0 || i >= len(p.Items) {
			return fmt.Errorf("its stop order names item %d of %d", i, len(p.Items))
		}
	}
	return nil
}
