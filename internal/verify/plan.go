package verify

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"holdfast.io/holdfast/events"
)

// version is the version of the stored form of a Plan. A change that an older
// program would misread, or whose loss would do harm, gets the next one.
const version = 1

// ErrNewer is reported for the plan of a newer version of Holdfast.
var ErrNewer = errors.New("let a worker of the newer version go on with the job")

// Plan is which points a job verifies. It stands in the ledger from its first attempt
// on, so that later changes in the sink do not alter it.
type Plan struct {
	// Version is that of the stored form.
	Version int `json:"version"`
	// Time is when the plan was made; the events that repeat it bear it.
	Time     time.Time         `json:"time"`
	Items    []Item            `json:"items"`
	Missing  []events.Missing  `json:"missing,omitempty"`
	Excluded []events.Excluded `json:"excluded,omitempty"`
	// ExcludedOmitted is how many more points are left out.
	ExcludedOmitted int `json:"excludedOmitted,omitempty"`
}

// Item is one point of a Plan: what is published of it, and what only its
// verification needs.
type Item struct {
	events.PlannedItem
	// Dir is the point's folder in the sink.
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
	return events.Plan{Items: items, Missing: p.Missing, Excluded: p.Excluded, ExcludedOmitted: p.ExcludedOmitted}
}

// Encode returns the stored form of the plan.
func (p *Plan) Encode() ([]byte, error) {
	raw, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode the plan: %w", err)
	}
	return raw, nil
}

// DecodePlan reads the stored form of a plan. It reports ErrNewer for the form of a
// newer version: what it would not understand would be left undone. Any other error
// means that the plan is damaged.
func DecodePlan(raw []byte) (*Plan, error) {
	p := &Plan{}
	if err := json.Unmarshal(raw, p); err != nil {
		return nil, fmt.Errorf("the stored plan is damaged: %w", err)
	}
	switch {
	case p.Version > version:
		return nil, fmt.Errorf("the stored plan has form %d, and this version of Holdfast reads form %d: %w", p.Version, version, ErrNewer)
	case p.Version < 1:
		return nil, fmt.Errorf("the stored plan is damaged: it has form %d", p.Version)
	}
	return p, nil
}
