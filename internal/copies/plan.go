package copies

import (
	"time"

	"holdfast.io/holdfast/events"
)

// PlanVersion is the version of the stored form of a Plan. A change that an older
// program would misread, or whose loss would do harm, gets the next one.
const PlanVersion = 1

// maxItems bounds the points that one job copies, so that its plan fits into the ledger.
// What is beyond it the next copy takes.
const maxItems = 1000

// Plan is which points a job copies. It stands in the ledger from its first attempt on,
// so that later changes in the sinks do not alter it.
type Plan struct {
	// Version is that of the stored form.
	Version int `json:"version"`
	// Time is when the plan was made; the events that repeat it bear it.
	Time     time.Time         `json:"time"`
	Items    []Item            `json:"items"`
	Missing  []events.Missing  `json:"missing,omitempty"`
	Excluded []events.Excluded `json:"excluded,omitempty"`
	// ExcludedOmitted is how many more points are left out.
	ExcludedOmitted int              `json:"excludedOmitted,omitempty"`
	Warnings        []events.Warning `json:"warnings,omitempty"`
}

// Item is one point of a Plan: what is published of it, and what only its copy needs.
type Item struct {
	events.PlannedItem
	// Dir is the point's folder, in both sinks.
	Dir string `json:"dir"`
	// Named is set if the request names the point by its id: one that is gone when its
	// turn comes is a failure then.
	Named bool `json:"named,omitempty"`
}

// Public returns what is published of the plan.
func (p *Plan) Public() events.Plan {
	items := make([]events.PlannedItem, 0, len(p.Items))
	for _, item := range p.Items {
		items = append(items, item.PlannedItem)
	}
	return events.Plan{Items: items, Missing: p.Missing, Excluded: p.Excluded, ExcludedOmitted: p.ExcludedOmitted, Warnings: p.Warnings}
}

// Made is when the plan was made.
func (p *Plan) Made() time.Time { return p.Time }
