// Package retention decides which recovery points stay. It is pure: it looks at no
// clock, no sink and no Engine, and says of every point what becomes of it and why.
//
// The time of a point is that in its id: when the stream stored the request that it
// was made for. No worker's clock and no time of a file counts.
package retention

import (
	"cmp"
	"slices"
	"time"

	"holdfast.io/holdfast/events"
)

// Group is what the rules of a policy are counted in: the points of one thing of one
// host.
type Group struct {
	Host string          `json:"host"`
	Kind events.ItemKind `json:"kind"`
	Name string          `json:"name"`
}

// Point is what is known of one point.
type Point struct {
	Group
	// ID is the point's id, and Dir its folder in the sink.
	ID  string `json:"id"`
	Dir string `json:"dir"`
	// Problem says why nothing more is known of the point than its place: its manifest
	// is damaged, or newer than this program. Group and ID are then those of the place.
	Problem string            `json:"problem,omitempty"`
	Tags    map[string]string `json:"tags,omitempty"`
	// Parts are the sizes of what the point holds, before compression and in bytes, by
	// a name that says to people what they are of.
	Parts map[string]int64 `json:"parts,omitempty"`
	// Verified is what came of the point's last verification.
	Verified Verification `json:"verified,omitempty"`
	// Protected says who protected the point and why; empty if nobody did.
	Protected string `json:"protected,omitempty"`
	// UsedBy says what uses the point at this moment; empty if nothing does.
	UsedBy string `json:"usedBy,omitempty"`
	// LockedUntil is until when the sink has locked the point; zero if it has not.
	LockedUntil time.Time `json:"lockedUntil,omitzero"`
	// Hidden is set if the point was removed before, and its bytes are still there.
	Hidden *Hidden `json:"hidden,omitempty"`
}

// Hidden says of a point that it was removed.
type Hidden struct {
	// Until is when the grace ends, in which it can be taken back.
	Until time.Time `json:"until"`
}

// Verification is what came of a verification.
type Verification string

// The outcomes of a verification; the empty one is that there was none.
const (
	Passed Verification = "passed"
	Failed Verification = "failed"
)

// Action is what becomes of a point.
type Action string

// The actions.
const (
	// Keep: the point stays.
	Keep Action = "keep"
	// Remove: the point is hidden, and its bytes go after the grace.
	Remove Action = "remove"
	// Wait: the point is hidden, and its grace has not ended.
	Wait Action = "wait"
	// Erase: the point is hidden, and its bytes go now.
	Erase Action = "erase"
	// Hold: the point would be removed or erased, but its group is held back.
	Hold Action = "hold"
)

// Decision is what becomes of one point.
type Decision struct {
	Point
	Action Action
	// Reasons are why, in words: at least one.
	Reasons []string
}

// Verdict is what becomes of the points of one group.
type Verdict struct {
	Group
	// Held says why nothing of the group is removed; empty if it is not held back.
	Held string
	// Points are all points of the group, the newest first.
	Points []Decision

	newest int // place of the newest that the rules count; 0 if there is none
}

// Newest is the newest point that the rules count; if there is none, the newest of all.
func (v Verdict) Newest() Decision { return v.Points[v.newest] }

// Decide says what becomes of each point: in groups, which are in the order of host,
// kind and name. now is the time of the stream at which the decision was asked for.
// The policy must not be empty.
//
// Whatever the policy, these stay: points that are protected, locked or used; the newest
// point; the newest that passed its last verification; points that are later than now;
// and points of which is not known what they are. A point is the same for the rules
// whether it is protected, locked or used, so that protecting one costs no other.
func Decide(now time.Time, p Policy, points []Point) []Verdict {
	groups := map[Group][]Point{}
	for _, pt := range points {
		groups[pt.Group] = append(groups[pt.Group], pt)
	}
	verdicts := make([]Verdict, 0, len(groups))
	for g, members := range groups {
		verdicts = append(verdicts, decideGroup(now, p, g, members))
	}
	slices.SortFunc(verdicts, func(a, b Verdict) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return verdicts
}

// group is the points of a group while they are decided on. The slices of candidates
// hold places in points.
type group struct {
	now    time.Time
	points []Decision
	times  []time.Time
	// visible are the points that the rules count, hidden those that were removed
	// before; the newest first. The others stay for a reason of their own.
	visible, hidden []int
}

func decideGroup(now time.Time, p Policy, name Group, members []Point) Verdict {
	g := newGroup(now, members)
	g.applyRules(p)
	g.keepAlways()
	g.decideHidden()
	v := Verdict{Group: name, Held: g.suspicion(), Points: g.points}
	if len(g.visible) > 0 {
		v.newest = g.visible[0]
	}
	for i := range v.Points {
		d := &v.Points[i]
		switch {
		case len(d.Reasons) == 0:
			d.Action, d.Reasons = Remove, []string{"no rule keeps it"}
		case d.Action == "":
			d.Action = Keep
		}
		if v.Held != "" && (d.Action == Remove || d.Action == Erase) {
			d.Action, d.Reasons = Hold, append(d.Reasons, "its group is held back")
		}
	}
	return v
}

// newGroup sorts the points, the newest first, and says of those that no rule can
// count that they stay.
func newGroup(now time.Time, members []Point) *group {
	slices.SortFunc(members, func(a, b Point) int {
		return cmp.Or(cmp.Compare(b.ID, a.ID), cmp.Compare(a.Dir, b.Dir))
	})
	g := &group{now: now, points: make([]Decision, len(members)), times: make([]time.Time, len(members))}
	for i, pt := range members {
		d := &g.points[i]
		d.Point = pt
		t, err := events.PointTime(pt.ID)
		g.times[i] = t
		switch {
		case pt.Problem != "":
			d.keep("it cannot be read: " + pt.Problem)
		case err != nil:
			d.keep("its id says no time: " + err.Error())
		case t.After(now):
			d.keep("it is from the future: later than the request")
		case pt.Hidden != nil:
			g.hidden = append(g.hidden, i)
		default:
			g.visible = append(g.visible, i)
		}
	}
	return g
}

func (d *Decision) keep(reason string) { d.Reasons = append(d.Reasons, reason) }

// keepAlways keeps what no policy removes.
func (g *group) keepAlways() {
	if len(g.visible) > 0 {
		g.points[g.visible[0]].keep("the newest")
	}
	if i, ok := g.newestPassed(g.visible); ok {
		g.points[i].keep("the newest that passed verification")
	}
	for _, i := range g.visible {
		d := &g.points[i]
		if d.Protected != "" {
			d.keep("protected " + d.Protected)
		}
		if d.UsedBy != "" {
			d.keep("in use by " + d.UsedBy)
		}
		if g.isLocked(d) {
			d.keep(d.locked())
		}
	}
}

// isLocked reports whether the sink keeps a point beyond the time of the request.
func (g *group) isLocked(d *Decision) bool { return d.LockedUntil.After(g.now) }

func (d *Decision) locked() string {
	return "locked until " + d.LockedUntil.UTC().Format(time.RFC3339)
}

// newestPassed returns the newest of some points that passed its last verification.
func (g *group) newestPassed(among []int) (i int, ok bool) {
	for _, i := range among {
		if g.points[i].Verified == Passed {
			return i, true
		}
	}
	return 0, false
}

// decideHidden decides on the points that were removed before. One that is the last
// to have passed verification is not erased: what replaced it has failed meanwhile. Nor
// is the newest while no other is left.
func (g *group) decideHidden() {
	_, passed := g.newestPassed(g.visible)
	last, hasLast := g.newestPassed(g.hidden)
	for n, i := range g.hidden {
		d := &g.points[i]
		d.Action = Wait
		until := d.Hidden.Until.UTC().Format(time.RFC3339)
		switch {
		case d.Protected != "":
			d.keep("removed, and protected " + d.Protected)
		case d.UsedBy != "":
			d.keep("removed, and in use by " + d.UsedBy)
		case g.isLocked(d):
			d.keep("removed, and " + d.locked())
		case g.now.Before(d.Hidden.Until):
			d.keep("removed, can be taken back until " + until)
		case !passed && hasLast && i == last:
			d.keep("removed, but no point that stays passed verification")
		case len(g.visible) == 0 && n == 0:
			d.keep("removed, but it is the newest of those that are left")
		default:
			d.Action = Erase
			d.keep("removed, and its grace ended at " + until)
		}
	}
}
