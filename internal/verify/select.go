package verify

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/selection"
)

// Candidate is a point that lies in the sink.
type Candidate struct {
	// Dir is its folder, ID its id.
	Dir, ID string
	Host    string
	Item    events.Item
	// Stored is when it was stored; zero if its manifest cannot be read. Host and Item
	// are what the path says then.
	Stored time.Time
	// Verified is the mark of the last time that it was verified; nil if it never was.
	Verified *point.Verified
	// Removed is set if it is hidden, and its bytes will go.
	Removed bool
}

// verified is when the candidate was last verified at this level or a deeper one; zero
// for never.
func (c *Candidate) verified(level events.VerifyLevel) time.Time { return lastAt(c.Verified, level) }

// Select decides which points a request means, in the order in which they are
// verified: those that were not verified for longest come first. It gives the reason
// for each that is in, and for each that was found and is left out; with explain also
// for what no selector finds. It is a pure function: the request must have been
// validated, and the order of the result does not depend on the order of all. No more is
// left out by name than an event lists; the rest is counted.
func Select(now time.Time, req *events.VerifyRequest, all []Candidate, explain bool) *Plan {
	s := &choice{req: req, level: cmp.Or(req.Level, events.VerifyFull), now: now, explain: explain,
		points: selection.New(req.Hosts, req.Containers, req.Images, req.Volumes),
		plan:   &Plan{Version: PlanVersion, Time: now.UTC()}, picked: map[*Candidate]bool{}}
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b Candidate) int { return strings.Compare(a.Dir, b.Dir) })
	s.named(all)
	s.find(all)
	s.rest(all)
	s.order()
	return s.plan
}

// choice is one call of Select.
type choice struct {
	req     *events.VerifyRequest
	points  *selection.Points
	level   events.VerifyLevel
	now     time.Time
	explain bool
	plan    *Plan
	picked  map[*Candidate]bool
	byID    []selected // what the request names by ids: it is never narrowed
	found   []selected // what else it selects
}

type selected struct {
	*Candidate
	reason string
}

// named finds the points that the request names by their ids.
func (s *choice) named(all []Candidate) {
	found, missing := selection.ByID(s.req.Points, len(all), func(i int) (id, dir string) { return all[i].ID, all[i].Dir })
	s.plan.Missing = missing
	for _, i := range found {
		s.pick(&s.byID, &all[i], "it is named")
	}
}

// pick adds a candidate to a list, unless it is in one already.
func (s *choice) pick(list *[]selected, c *Candidate, reason string) {
	if !s.picked[c] {
		s.picked[c] = true
		*list = append(*list, selected{c, reason})
	}
}

// find finds the points that the selectors find. A name that leads to no point of the
// hosts that count is missing.
func (s *choice) find(all []Candidate) {
	type named struct {
		kind events.ItemKind
		name string
	}
	seen := map[named]bool{}
	for i := range all {
		c := &all[i]
		if reason := s.points.Why(c.Host, c.Item); reason != "" && !c.Removed {
			seen[named{c.Item.Kind, c.Item.Name}] = true
			s.pick(&s.found, c, reason)
		}
	}
	s.plan.Missing = append(s.plan.Missing,
		s.points.Missing(func(kind events.ItemKind, name string) bool { return seen[named{kind, name}] })...)
}

// rest says why what no selector finds is left out.
func (s *choice) rest(all []Candidate) {
	for i := range all {
		c := &all[i]
		switch {
		case !s.explain || s.picked[c]:
		case c.Removed:
			s.exclude(c, "it was removed, and its bytes will go; verify it by its id, or take it back with 'holdfast unprune'")
		default:
			s.exclude(c, s.points.WhyNot(c.Host))
		}
	}
}

func (s *choice) exclude(c *Candidate, reason string) {
	if len(s.plan.Excluded) == events.MaxListed { // no event names more
		s.plan.ExcludedOmitted++
		return
	}
	s.plan.Excluded = append(s.plan.Excluded, events.Excluded{Item: c.Item, Point: c.ID, Reason: reason})
}

// order narrows what was found, and makes the items of the plan, in their order.
func (s *choice) order() {
	s.found = slices.DeleteFunc(s.found, s.isFresh)
	compare := func(a, b selected) int {
		return cmp.Or(a.verified(s.level).Compare(b.verified(s.level)), a.Stored.Compare(b.Stored), strings.Compare(a.Dir, b.Dir))
	}
	slices.SortFunc(s.found, compare)
	if n := sampleSize(s.req.Sample, len(s.found)); n < len(s.found) {
		for _, left := range s.found[n:] {
			s.exclude(left.Candidate, fmt.Sprintf("it is not among the %s that are verified (%d of %d): those were not verified for longer",
				s.req.Sample, n, len(s.found)))
		}
		s.found = s.found[:n]
	}
	for _, c := range s.byID {
		s.plan.Items = append(s.plan.Items, s.item(c, true))
	}
	for _, c := range s.found {
		s.plan.Items = append(s.plan.Items, s.item(c, false))
	}
}

// isFresh leaves out a point that was verified lately.
func (s *choice) isFresh(c selected) bool {
	age, _ := time.ParseDuration(s.req.OlderThan) // one that is none was refused
	last := c.verified(s.level)
	if age == 0 || last.IsZero() || s.now.Sub(last) >= age {
		return false
	}
	s.exclude(c.Candidate, fmt.Sprintf("it was verified at %s, within the last %s", last.UTC().Format(time.RFC3339), s.req.OlderThan))
	return true
}

func (s *choice) item(c selected, named bool) Item {
	reason := c.reason
	switch v := c.Verified; {
	case c.Removed:
		reason += "; it was removed, and its bytes will go"
	case v == nil:
		reason += "; it was never verified"
	default:
		result := "and passed"
		if !v.OK {
			result = "and failed"
		}
		reason += fmt.Sprintf("; it was last verified at %s (%s) %s", v.Time.UTC().Format(time.RFC3339), v.Level, result)
	}
	return Item{Dir: c.Dir, Named: named, PlannedItem: events.PlannedItem{Item: c.Item, Point: c.ID, Reason: reason}}
}

// sampleSize returns how many of n points a sample such as "10%" takes: at least one
// if there is any, and all if it is empty.
func sampleSize(sample string, n int) int {
	if sample == "" || n == 0 {
		return n
	}
	percent, _ := strconv.ParseFloat(strings.TrimSuffix(sample, "%"), 64) // one that is none was refused
	return min(n, max(1, int(math.Ceil(float64(n)*percent/100))))
}
