package copies

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bytesize"
	"holdfast.io/holdfast/internal/selection"
)

// Candidate is a point that lies in the sink that is copied from.
type Candidate struct {
	// Dir is its folder, ID its id.
	Dir, ID string
	Host    string
	// Item is what the path says if the manifest cannot be read.
	Item events.Item
	// Bytes is how much is stored of it.
	Bytes int64
	// Code and Problem say why it cannot be copied; empty if nothing is known against it.
	Code    events.Code
	Problem string
	// Removed is set if it is hidden, and its bytes will go.
	Removed bool
	// There is set if it lies in the other sink too, and Hidden if it was removed there.
	There, Hidden bool
	// Unprotected is set if it is protected, and not in the other sink.
	Unprotected bool
}

// Choice is what a Select decides by.
type Choice struct {
	Request *events.CopyRequest
	// Host is the host that has the job.
	Host string
	// Now is when the plan is made.
	Now time.Time
	// Explain has the plan name also what no selector finds.
	Explain bool
}

// Select decides which points a request means, in the order in which they are copied:
// first those that it names by their ids, in its order, and then the newest, so that
// whatever ends the copy, what is newest is safe. It gives the reason for each that is in,
// and for each that was found and is left out. It is a pure function: the request must
// have been validated, and the order of all makes no difference. No more is left out by
// name than an event lists; the rest is counted.
func Select(c Choice, all []Candidate) *Plan {
	s := &choosing{Choice: c, plan: &Plan{Version: PlanVersion, Time: c.Now.UTC()}, seen: map[*Candidate]bool{}}
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b Candidate) int {
		return cmp.Or(strings.Compare(b.ID, a.ID), strings.Compare(a.Dir, b.Dir)) // an id begins with its time
	})
	s.named(all)
	s.find(all)
	if more := len(s.plan.Items) - maxItems; more > 0 {
		s.plan.Items = s.plan.Items[:maxItems]
		s.plan.Warnings = events.Warn(s.plan.Warnings, events.WarningMorePoints,
			"%d more points are to be copied than one job does (%d); the next copy goes on with them", more, maxItems)
	}
	return s.plan
}

// choosing is one call of Select.
type choosing struct {
	Choice
	plan *Plan
	seen map[*Candidate]bool
}

// named takes the points that the request names by their ids. They are never narrowed.
func (s *choosing) named(all []Candidate) {
	found, missing := selection.ByID(s.Request.Points, len(all), func(i int) (id, dir string) { return all[i].ID, all[i].Dir })
	s.plan.Missing = missing
	for _, i := range found {
		c := &all[i]
		s.seen[c] = true
		if c.Removed && !c.There {
			s.plan.Missing = append(s.plan.Missing, events.Missing{Kind: events.ItemPoint, Name: c.ID, Code: events.CodePointNotFound,
				Message: fmt.Sprintf("it was removed from sink %s, and its bytes will go; 'holdfast unprune' takes it back", s.from())})
			continue
		}
		s.take(c, "it is named", true)
	}
}

// find takes the points that the selectors find. A name that leads to no point of the
// hosts that count is missing.
func (s *choosing) find(all []Candidate) {
	r := s.Request
	points := selection.New(r.Hosts, r.Containers, r.Images, r.Volumes)
	type named struct {
		kind events.ItemKind
		name string
	}
	seen := map[named]bool{}
	for i := range all {
		c := &all[i]
		reason := points.Why(c.Host, c.Item)
		if reason != "" && !c.Removed {
			seen[named{c.Item.Kind, c.Item.Name}] = true
		}
		switch {
		case s.seen[c]:
		case reason != "" && c.Removed:
			s.exclude(c, "it was removed, and its bytes will go; 'holdfast unprune' takes it back")
		case reason != "":
			s.take(c, reason, false)
		case s.Explain:
			s.exclude(c, points.WhyNot(c.Host))
		}
	}
	s.plan.Missing = append(s.plan.Missing,
		points.Missing(func(kind events.ItemKind, name string) bool { return seen[named{kind, name}] })...)
}

// take makes an item of a point, unless it is there already.
func (s *choosing) take(c *Candidate, reason string, named bool) {
	switch {
	case c.Hidden:
		s.exclude(c, fmt.Sprintf("it is in sink %s already, and was removed there; 'holdfast unprune' takes it back", s.Request.To))
		return
	case c.There && (!c.Unprotected || c.Code != ""):
		s.exclude(c, fmt.Sprintf("it is in sink %s already", s.Request.To))
		return
	}
	item := events.PlannedItem{Item: c.Item, Point: c.ID, PointHost: s.hostOf(c), Reason: reason, Code: c.Code, Message: c.Problem}
	switch {
	case c.There:
		item.Actions = []string{"protect it, which is there already"}
	case c.Code == "":
		item.Actions = []string{"copy its " + bytesize.Format(c.Bytes)}
	}
	s.plan.Items = append(s.plan.Items, Item{PlannedItem: item, Dir: c.Dir, Named: named})
}

func (s *choosing) exclude(c *Candidate, reason string) {
	if len(s.plan.Excluded) == events.MaxListed { // no event names more
		s.plan.ExcludedOmitted++
		return
	}
	s.plan.Excluded = append(s.plan.Excluded, events.Excluded{Item: c.Item, Point: c.ID, PointHost: s.hostOf(c), Reason: reason})
}

// hostOf is the host that a point is of, if that is not the host that has the job.
func (s *choosing) hostOf(c *Candidate) string {
	if c.Host == s.Host {
		return ""
	}
	return c.Host
}

// from is the name of the sink that is copied from.
func (s *choosing) from() string { return cmp.Or(s.Request.From, events.DefaultSink) }
