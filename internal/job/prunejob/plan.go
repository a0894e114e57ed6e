package prunejob

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bytesize"
	"holdfast.io/holdfast/internal/prune"
	"holdfast.io/holdfast/internal/retention"
)

// planVersion is the version of the stored form of a plan. A change that an older
// program would misread, or whose loss would do harm, gets the next one.
const planVersion = 1

const (
	// maxItems bounds the points that one job removes, so that its plan fits into the
	// ledger. What is beyond it the next prune removes.
	maxItems = 1000
	// maxExcluded bounds the points that stay and that a dry run names; events list no
	// more either.
	maxExcluded = events.MaxListed
)

// plan is what a job will do. It implements [job.Plan].
type plan struct {
	// Version is that of the stored form.
	Version int `json:"version"`
	// Time is when the plan was made, and Now the time that was decided by: when the
	// stream stored the request.
	Time            time.Time         `json:"time"`
	Now             time.Time         `json:"now"`
	Items           []item            `json:"items"`
	Missing         []events.Missing  `json:"missing,omitempty"`
	Excluded        []events.Excluded `json:"excluded,omitempty"`
	ExcludedOmitted int               `json:"excludedOmitted,omitempty"`
	Warnings        []events.Warning  `json:"warnings,omitempty"`
}

// item is a point that is to be removed, or what says that its group is held back.
type item struct {
	events.PlannedItem
	// Dir is the point's folder in the sink, and Bytes how much is stored of it.
	Dir   string `json:"dir"`
	Bytes int64  `json:"bytes"`
	// Action is retention.Remove or retention.Erase.
	Action retention.Action `json:"action"`
}

// Made implements [job.Plan].
func (p *plan) Made() time.Time { return p.Time }

// Public implements [job.Plan].
func (p *plan) Public() events.Plan {
	items := make([]events.PlannedItem, 0, len(p.Items))
	for _, i := range p.Items {
		items = append(items, i.PlannedItem)
	}
	return events.Plan{Items: items, Missing: p.Missing, Excluded: p.Excluded, ExcludedOmitted: p.ExcludedOmitted, Warnings: p.Warnings}
}

// plan makes the plan of what was decided. The oldest points go first; what stays is
// named in a dry run only.
func (d *decisions) plan(now time.Time, s *spec) *plan {
	p := &plan{Version: planVersion, Time: time.Now().UTC(), Now: now.UTC(), Missing: d.missing}
	var locked []time.Time
	for _, v := range d.verdicts {
		held := false
		for _, decision := range v.Points {
			if !decision.LockedUntil.IsZero() {
				locked = append(locked, decision.LockedUntil)
			}
			switch decision.Action {
			case retention.Remove, retention.Erase:
				p.Items = append(p.Items, d.item(decision, s, now))
				continue
			case retention.Hold:
				held = true
			case retention.Keep, retention.Wait:
			}
			if s.options.DryRun {
				p.exclude(d.excluded(decision, s))
			}
		}
		if held {
			p.Items = append(p.Items, d.held(v, s))
		}
	}
	slices.SortStableFunc(p.Items, func(a, b item) int { return cmp.Compare(a.Point, b.Point) })
	if more := len(p.Items) - maxItems; more > 0 {
		p.Items = p.Items[:maxItems]
		p.Warnings = events.Warn(p.Warnings, events.WarningMorePoints,
			"%d more points are to be removed than one job does (%d); the next prune goes on with them", more, maxItems)
	}
	if len(locked) > 0 {
		first, last := slices.MinFunc(locked, time.Time.Compare), slices.MaxFunc(locked, time.Time.Compare)
		p.Warnings = events.Warn(p.Warnings, events.WarningLocked,
			"%d points would be removed, and are kept: the first is locked until %s, the last until %s", len(locked),
			first.UTC().Format(time.RFC3339), last.UTC().Format(time.RFC3339))
	}
	return p
}

func (p *plan) exclude(e events.Excluded) {
	if len(p.Excluded) == maxExcluded {
		p.ExcludedOmitted++
		return
	}
	p.Excluded = append(p.Excluded, e)
}

func (d *decisions) item(decision retention.Decision, s *spec, now time.Time) item {
	c := d.found[decision.Dir]
	size := bytesize.Format(c.Bytes)
	i := item{Dir: c.Dir, Bytes: c.Bytes, Action: decision.Action, PlannedItem: events.PlannedItem{
		Item: c.Item, Point: c.ID, PointHost: s.hostOf(c), Reason: strings.Join(decision.Reasons, "; ")}}
	switch {
	case decision.Action == retention.Erase || s.grace == 0:
		i.Actions = []string{"remove its " + size}
	default:
		i.Actions = []string{fmt.Sprintf("hide it; its %s go after %s", size, now.Add(s.grace).UTC().Format(time.RFC3339))}
	}
	return i
}

// held says by an item that fails that a group is held back: it names the newest point.
func (d *decisions) held(v retention.Verdict, s *spec) item {
	newest := d.found[v.Newest().Dir]
	return item{Dir: newest.Dir, PlannedItem: events.PlannedItem{
		Item: newest.Item, Point: newest.ID, PointHost: s.hostOf(newest), Reason: "the newest of a group of which points would be removed",
		Code: events.CodeHeld, Message: "nothing is removed of this group: " + v.Held}}
}

func (d *decisions) excluded(decision retention.Decision, s *spec) events.Excluded {
	c := d.found[decision.Dir]
	e := events.Excluded{Item: c.Item, Point: c.ID, PointHost: s.hostOf(c), Reason: strings.Join(decision.Reasons, "; ")}
	if _, err := events.PointTime(c.ID); err != nil || c.Item.ID == "" { // its manifest does not say what it is
		e.Item, e.Point = events.Item{Kind: events.ItemPoint, ID: c.Dir, Name: c.Dir}, ""
	}
	return e
}

// hostOf is the host that a point is of, if that is not the host that has the job.
func (s *spec) hostOf(c prune.Candidate) string {
	if c.Host == s.kind.Host {
		return ""
	}
	return c.Host
}
