package prunejob

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/prune"
	"holdfast.io/holdfast/internal/retention"
)

// More points than one job removes are left to the next, the newest of them, and that
// is said.
func TestManyPoints(t *testing.T) {
	const more = 201
	d := &decisions{found: map[string]prune.Candidate{}}
	v := retention.Verdict{}
	for i := range maxItems + more {
		c := prune.Candidate{Point: retention.Point{ID: fmt.Sprintf("20260302T141503Z-%08x", maxItems+more-i), Dir: fmt.Sprint(i)}}
		d.found[c.Dir] = c
		v.Points = append(v.Points, retention.Decision{Point: c.Point, Action: retention.Remove, Reasons: []string{"no rule keeps it"}})
	}
	d.verdicts = []retention.Verdict{v}
	p := d.plan(time.Now(), &spec{kind: &Kind{}})
	if len(p.Items) != maxItems || p.Items[0].Point != "20260302T141503Z-00000001" ||
		p.Items[maxItems-1].Point != fmt.Sprintf("20260302T141503Z-%08x", maxItems) {
		t.Errorf("%d items, from %s on", len(p.Items), p.Items[0].Point)
	}
	if len(p.Warnings) != 1 || p.Warnings[0].Code != events.WarningMorePoints || !strings.HasPrefix(p.Warnings[0].Message, "201 more points") {
		t.Errorf("the warnings are %+v", p.Warnings)
	}
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	again, err := (&spec{}).DecodePlan(raw)
	if err != nil || len(again.Public().Items) != maxItems || !again.Made().Equal(p.Time) {
		t.Errorf("it was stored as %+v, %v", again, err)
	}
}
