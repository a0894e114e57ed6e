package verify

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/point"
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
	s := &selection{req: req, level: cmp.Or(req.Level, events.VerifyFull), now: now, explain: explain,
		plan: &Plan{Version: PlanVersion, Time: now.UTC()}, picked: map[*Candidate]bool{}}
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b Candidate) int { return strings.Compare(a.Dir, b.Dir) })
	s.named(all)
	for kind, sel := range s.selectors() {
		s.byKind(kind, sel, all)
	}
	s.rest(all)
	s.order()
	return s.plan
}

// selection is one call of Select.
type selection struct {
	req     *events.VerifyRequest
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

// kinds are the kinds of items in the order in which their points are looked at.
var kinds = []events.ItemKind{events.ItemContainer, events.ItemImage, events.ItemVolume}

// selectors yields the selectors of the request, in the order of the kinds.
func (s *selection) selectors() func(yield func(events.ItemKind, *events.ItemSelector) bool) {
	of := map[events.ItemKind]*events.ItemSelector{
		events.ItemContainer: s.req.Containers, events.ItemImage: s.req.Images, events.ItemVolume: s.req.Volumes,
	}
	return func(yield func(events.ItemKind, *events.ItemSelector) bool) {
		for _, kind := range kinds {
			if sel := of[kind]; sel != nil && !yield(kind, sel) {
				return
			}
		}
	}
}

// named finds the points that the request names by their ids. An id is once in a sink,
// unless somebody has copied a folder.
func (s *selection) named(all []Candidate) {
	for _, id := range distinct(s.req.Points) {
		var hits []*Candidate
		for i := range all {
			if all[i].ID == id {
				hits = append(hits, &all[i])
			}
		}
		switch len(hits) {
		case 1:
			s.pick(&s.byID, hits[0], "it is named")
		case 0:
			s.missing(events.ItemPoint, id, events.CodePointNotFound, "the sink has no such point; 'holdfast list' shows those that it has")
		default:
			s.missing(events.ItemPoint, id, events.CodeAmbiguous,
				fmt.Sprintf("%d points have this id, the first two are %s and %s: one is a copy of the other", len(hits), hits[0].Dir, hits[1].Dir))
		}
	}
}

func (s *selection) missing(kind events.ItemKind, name string, code events.Code, message string) {
	s.plan.Missing = append(s.plan.Missing, events.Missing{Kind: kind, Name: name, Code: code, Message: message})
}

// pick adds a candidate to a list, unless it is in one already.
func (s *selection) pick(list *[]selected, c *Candidate, reason string) {
	if !s.picked[c] {
		s.picked[c] = true
		*list = append(*list, selected{c, reason})
	}
}

// byKind finds the points of one kind of item that a selector finds. A name that leads
// to no point of the hosts that count is missing.
func (s *selection) byKind(kind events.ItemKind, sel *events.ItemSelector, all []Candidate) {
	match := compile(sel.Match)
	seen := map[string]bool{}
	for i := range all {
		c := &all[i]
		if c.Item.Kind != kind || !s.ofHosts(c) || c.Removed {
			continue
		}
		seen[c.Item.Name] = true
		if reason := selects(sel, match, c); reason != "" {
			s.pick(&s.found, c, reason)
		}
	}
	for _, name := range distinct(sel.Names) {
		if !seen[name] {
			s.missing(kind, name, events.CodePointNotFound, fmt.Sprintf("the sink has no point of a %s %q%s", kind, name, s.onHosts()))
		}
	}
}

// selects returns why the selector finds the candidate; empty if it does not.
func selects(sel *events.ItemSelector, match []*regexp.Regexp, c *Candidate) string {
	if slices.Contains(sel.Names, c.Item.Name) {
		return fmt.Sprintf("%s %q is named", c.Item.Kind, c.Item.Name)
	}
	for _, re := range match {
		if re.MatchString(c.Item.Name) {
			return fmt.Sprintf("the name of %s %s matches %q", c.Item.Kind, c.Item.Name, re)
		}
	}
	if sel.All {
		return fmt.Sprintf("all points of %ss are selected", c.Item.Kind)
	}
	return ""
}

func (s *selection) ofHosts(c *Candidate) bool {
	return len(s.req.Hosts) == 0 || slices.Contains(s.req.Hosts, c.Host)
}

func (s *selection) onHosts() string {
	if len(s.req.Hosts) == 0 {
		return ""
	}
	return fmt.Sprintf(" of host %s", strings.Join(s.req.Hosts, ", "))
}

// rest says why what no selector finds is left out.
func (s *selection) rest(all []Candidate) {
	for i := range all {
		c := &all[i]
		switch {
		case !s.explain || s.picked[c]:
		case c.Removed:
			s.exclude(c, "it was removed, and its bytes will go; verify it by its id, or take it back with 'holdfast unprune'")
		case !s.ofHosts(c):
			s.exclude(c, fmt.Sprintf("it is of host %s, and only %s is selected", c.Host, strings.Join(s.req.Hosts, ", ")))
		default:
			s.exclude(c, "no selector finds it")
		}
	}
}

func (s *selection) exclude(c *Candidate, reason string) {
	if len(s.plan.Excluded) == events.MaxListed { // no event names more
		s.plan.ExcludedOmitted++
		return
	}
	s.plan.Excluded = append(s.plan.Excluded, events.Excluded{Item: c.Item, Point: c.ID, Reason: reason})
}

// order narrows what was found, and makes the items of the plan, in their order.
func (s *selection) order() {
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
func (s *selection) isFresh(c selected) bool {
	age, _ := time.ParseDuration(s.req.OlderThan) // one that is none was refused
	last := c.verified(s.level)
	if age == 0 || last.IsZero() || s.now.Sub(last) >= age {
		return false
	}
	s.exclude(c.Candidate, fmt.Sprintf("it was verified at %s, within the last %s", last.UTC().Format(time.RFC3339), s.req.OlderThan))
	return true
}

func (s *selection) item(c selected, named bool) Item {
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

// distinct returns the names without repetitions, in their order.
func distinct(names []string) []string {
	var once []string
	for _, name := range names {
		if !slices.Contains(once, name) {
			once = append(once, name)
		}
	}
	return once
}

func compile(patterns []string) []*regexp.Regexp {
	res := make([]*regexp.Regexp, 0, len(patterns))
	for _, p := range patterns {
		// A request whose expressions do not compile was rejected at the door.
		res = append(res, regexp.MustCompile(p))
	}
	return res
}
