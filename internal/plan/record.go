package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"holdfast.io/holdfast/events"
)

// version is the version of the stored form of a Plan. A change that an older
// program would misread, or whose loss would do harm, gets the next one.
//
// Form 2 has volumes.
const version = 2

// ErrNewer is reported for the plan of a newer version of Holdfast.
var ErrNewer = errors.New("let a worker of the newer version go on with the job")

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
	// order.
	StopOrder []int `json:"stopOrder,omitempty"`
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

// Encode returns the stored form of the plan.
func (p *Plan) Encode() ([]byte, error) {
	raw, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode the plan: %w", err)
	}
	return raw, nil
}

// Decode reads the stored form of a plan. It reports ErrNewer for the form of a newer
// version: what it would not understand would be left undone. Any other error means
// that the plan is damaged.
func Decode(raw []byte) (*Plan, error) {
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
	for _, i := range p.StopOrder {
		if i < 0 || i >= len(p.Items) {
			return nil, fmt.Errorf("the stored plan is damaged: its stop order names item %d of %d", i, len(p.Items))
		}
	}
	return p, nil
}
