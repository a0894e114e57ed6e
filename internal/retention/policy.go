package retention

import (
	"fmt"
	"strings"
	"time"
)

// Policy says which points of each group stay: every rule keeps some, and a point
// stays if any rule keeps it. A rule that is 0 or empty keeps none.
type Policy struct {
	// Last is how many of the newest points stay.
	Last int `json:"last,omitempty"`
	// Hourly, Daily, Weekly, Monthly and Yearly are of how many periods the newest
	// point stays. Only periods that have points are counted, so that a gap in the
	// backups costs none. Periods are those of UTC, and weeks those of ISO 8601.
	Hourly  int `json:"hourly,omitempty"`
	Daily   int `json:"daily,omitempty"`
	Weekly  int `json:"weekly,omitempty"`
	Monthly int `json:"monthly,omitempty"`
	Yearly  int `json:"yearly,omitempty"`
	// Within keeps what is at most so much older than the newest point of the group.
	Within time.Duration `json:"within,omitempty"`
	// Tags keep what has one of them; each is "K" or "K=V".
	Tags []string `json:"tags,omitempty"`
}

// Empty reports whether no rule keeps anything.
func (p Policy) Empty() bool { return len(p.rules()) == 0 && p.Within <= 0 && len(p.Tags) == 0 }

// rule keeps the newest point of each of the newest n periods.
type rule struct {
	name string
	n    int
	// period names the period of a point; nil makes every point one of its own.
	period func(time.Time) string
}

func (p Policy) rules() []rule {
	layout := func(format string) func(time.Time) string {
		return func(t time.Time) string { return t.UTC().Format(format) }
	}
	all := []rule{
		{"last", p.Last, nil},
		{"hourly", p.Hourly, layout("2006-01-02T15h")},
		{"daily", p.Daily, layout("2006-01-02")},
		{"weekly", p.Weekly, week},
		{"monthly", p.Monthly, layout("2006-01")},
		{"yearly", p.Yearly, layout("2006")},
	}
	var active []rule
	for _, r := range all {
		if r.n > 0 {
			active = append(active, r)
		}
	}
	return active
}

// week is the week of ISO 8601, whose year is not always that of the day.
func week(t time.Time) string {
	year, w := t.UTC().ISOWeek()
	return fmt.Sprintf("%04d-W%02d", year, w)
}

// applyRules keeps what the policy keeps. Every rule is applied twice: to all points,
// and to those that did not fail their last verification. So one that failed takes no
// other's place.
func (g *group) applyRules(p Policy) {
	sound := make([]int, 0, len(g.visible))
	for _, i := range g.visible {
		if g.points[i].Verified != Failed {
			sound = append(sound, i)
		}
	}
	for _, r := range p.rules() {
		kept := g.apply(r, g.visible, nil, "")
		if len(sound) < len(g.visible) {
			g.apply(r, sound, kept, ", without those that failed verification")
		}
	}
	for _, i := range g.visible {
		d := &g.points[i]
		if p.Within > 0 && g.times[g.visible[0]].Sub(g.times[i]) <= p.Within {
			d.keep("within " + p.Within.String())
		}
		for _, tag := range p.Tags {
			if hasTag(d.Tags, tag) {
				d.keep("tag " + tag)
			}
		}
	}
}

// apply keeps what a rule keeps of some points, but for those that are kept by it
// already. It returns all that it keeps.
func (g *group) apply(r rule, among []int, already map[int]bool, note string) map[int]bool {
	kept := map[int]bool{}
	last := ""
	for _, i := range among {
		if len(kept) == r.n {
			break
		}
		why := r.name
		if r.period != nil {
			period := r.period(g.times[i])
			if period == last {
				continue
			}
			last = period
			why += " " + period
		}
		kept[i] = true
		if !already[i] {
			g.points[i].keep(fmt.Sprintf("%s (%d of %d)%s", why, len(kept), r.n, note))
		}
	}
	return kept
}

// hasTag reports whether the tags have "K" or "K=V".
func hasTag(tags map[string]string, want string) bool {
	key, value, pair := strings.Cut(want, "=")
	got, ok := tags[key]
	return ok && (!pair || got == value)
}
