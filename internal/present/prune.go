package present

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/jedib0t/go-pretty/v6/table"

	"holdfast.io/holdfast/events"
)

type pruneView struct{}

func (pruneView) done() string    { return "removed" }
func (pruneView) wouldBe() string { return "would be removed" }
func (pruneView) nothing() string { return "nothing is to be removed" }

func (pruneView) completed(ev event.Event) (completed, error) {
	d, err := decode[events.PruneItemCompleted](ev)
	if err != nil {
		return completed{}, err
	}
	return completed{item: d.Item, point: d.Point,
		line: fmt.Sprintf("%s of %s %s (%s): %s", d.Point, d.Item.Kind, d.Item.Name, Bytes(d.Bytes), whenGone(d.GoneAfter))}, nil
}

// whenGone says whether a removed point is gone, or can be taken back.
func whenGone(after time.Time) string {
	if after.IsZero() {
		return "gone"
	}
	return "hidden, can be taken back until " + after.UTC().Format(time.RFC3339)
}

func (pruneView) endTable(d events.Ended) string {
	which := column{name: "RESULT", of: func(o events.ItemOutcome) string { return whenGone(o.GoneAfter) }}
	pointOf := column{name: "POINT", of: pointColumn.of, failed: pointColumn.of}
	return outcomes(d, which, pointOf, sizeColumn)
}

// planTable has a table for each group: the points of one thing of one host, the newest
// first.
func (pruneView) planTable(d events.Planned) string {
	groups := map[string][]table.Row{}
	add := func(i events.Item, host, point, what, why string) {
		of := fmt.Sprintf("%s %s of host %s", i.Kind, i.Name, cmp.Or(host, d.Host))
		if i.Kind == events.ItemPoint {
			of = "points that cannot be read"
			point = i.Name
		}
		groups[of] = append(groups[of], table.Row{Escape(point), what, Escape(why)})
	}
	for _, i := range d.Items {
		what, why := strings.Join(i.Actions, ", then "), i.Reason
		if i.Code != "" {
			what, why = "held back", i.Message
		}
		add(i.Item, i.PointHost, i.Point, what, why)
	}
	for _, e := range d.Excluded {
		add(e.Item, e.PointHost, e.Point, "keep", e.Reason)
	}
	var all []string
	for _, of := range slices.Sorted(maps.Keys(groups)) {
		rows := groups[of]
		slices.SortStableFunc(rows, func(a, b table.Row) int { return cmp.Compare(b[0].(string), a[0].(string)) })
		t := NewTable("POINT", "ACTION", "WHY")
		t.AppendRows(rows)
		all = append(all, Escape(of)+"\n"+t.Render())
	}
	for _, m := range d.Missing {
		all = append(all, Escape(fmt.Sprintf("%s %s: %s", m.Kind, m.Name, m.Message)))
	}
	if n := d.ItemsOmitted + d.MissingOmitted + d.ExcludedOmitted; n > 0 {
		all = append(all, fmt.Sprintf("and %d more", n))
	}
	return strings.Join(all, "\n\n")
}
