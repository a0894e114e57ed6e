package present

import (
	"fmt"
	"slices"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/jedib0t/go-pretty/v6/table"

	"holdfast.io/holdfast/events"
)

// view is how the results of one kind are put to people. What all kinds have in common
// is the Presenter's.
type view interface {
	// done is what happened to an item that succeeded, in one word: "stored".
	done() string
	// wouldBe says the same of a dry run: "would be backed up".
	wouldBe() string
	// nothing says of a job that nothing was to be done.
	nothing() string
	// completed reads the event of an item that succeeded.
	completed(ev event.Event) (completed, error)
	// endTable is what a job came to.
	endTable(d events.Ended) string
	// planTable is what a job would do, and why.
	planTable(d events.Planned) string
}

// completed is an item that succeeded, whatever its kind.
type completed struct {
	item     events.Item
	point    string
	sink     string // empty where the kind has one alone
	warnings []events.Warning
	// line says what came of it; details, in lines of their own, what somebody should know.
	line    string
	details []string
}

// views are the views of the kinds.
var views = map[events.Kind]view{
	events.Backup:  backupView{},
	events.Restore: restoreView{},
	events.Verify:  verifyView{},
	events.Prune:   pruneView{},
	events.Copy:    copyView{},
}

// Done is what happened to an item of a job of this kind that succeeded, in one word.
func Done(kind events.Kind) string {
	if v := views[kind]; v != nil {
		return v.done()
	}
	return "done"
}

// decode reads the data of an event.
func decode[T any](ev event.Event) (data T, err error) {
	if err := ev.DataAs(&data); err != nil {
		return data, fmt.Errorf("read event %s: %w", ev.Type(), err)
	}
	return data, nil
}

// column is one column of the table of a job's end, beside that of the items.
type column struct {
	name string
	// of is its text for an item that succeeded; failed its text for another one, empty
	// if nil.
	of, failed func(o events.ItemOutcome) string
}

// outcomes is the table of a job's end: one line for each item, and one for each name
// that leads to nothing. The first column says how an item ended that did not succeed.
func outcomes(d events.Ended, columns ...column) string {
	warned := slices.ContainsFunc(d.Items, func(o events.ItemOutcome) bool { return len(o.Warnings) > 0 })
	if warned {
		columns = append(columns, column{name: "WARNINGS", of: func(o events.ItemOutcome) string { return Escape(linesOf(o.Warnings)) }})
	}
	header := table.Row{"ITEM"}
	if len(d.Sinks) > 0 {
		header = append(header, "SINK")
	}
	for _, c := range columns {
		header = append(header, c.name)
	}
	t := NewTable(header...)
	for _, o := range d.Items {
		row := table.Row{Escape(o.Item.Name)}
		if len(d.Sinks) > 0 {
			row = append(row, o.Sink)
		}
		for i, c := range columns {
			text := ""
			switch {
			case o.Status == events.OutcomeCompleted:
				text = c.of(o)
			case c.failed != nil:
				text = c.failed(o)
			}
			if i == 0 && o.Status != events.OutcomeCompleted {
				text = fmt.Sprintf("%s (%s)", o.Status, o.Code)
			}
			row = append(row, text)
		}
		t.AppendRow(row)
	}
	if d.ItemsOmitted > 0 {
		t.AppendRow(table.Row{fmt.Sprintf("and %d more", d.ItemsOmitted)})
	}
	for _, m := range d.Missing {
		row := table.Row{Escape(m.Name)}
		if len(d.Sinks) > 0 {
			row = append(row, "")
		}
		t.AppendRow(append(row, string(m.Code)))
	}
	return t.Render()
}

// planned is the table of a plan. verb heads the column that says whether an item is
// worked on; more is a further column, if it has a name.
func planned(p events.Plan, verb string, more string, of func(i events.PlannedItem) string) string {
	several := slices.ContainsFunc(p.Items, func(i events.PlannedItem) bool { return i.Sink != "" })
	header := table.Row{"KIND", "NAME"}
	if several {
		header = append(header, "SINK")
	}
	header = append(header, verb, "WHY")
	if more != "" {
		header = append(header, more)
	}
	t := NewTable(header...)
	row := func(kind events.ItemKind, name, sink, does, why, further string) {
		r := table.Row{kind, Escape(name)}
		if several {
			r = append(r, sink)
		}
		r = append(r, does, Escape(why))
		if more != "" {
			r = append(r, Escape(further))
		}
		t.AppendRow(r)
	}
	for _, i := range p.Items {
		does, why := "yes", i.Reason
		if i.Code != "" {
			does, why = "fails", why+"; but "+i.Message
		}
		if i.Transport != "" {
			why += fmt.Sprintf("\nmoved by %s: %s", i.Transport, i.TransportReason)
		}
		why += plannedMounts(i)
		for _, w := range i.Warnings {
			why += "\nwarning: " + w.Message
		}
		further := ""
		if more != "" {
			further = of(i)
		}
		row(i.Kind, i.Name, i.Sink, does, why, further)
	}
	for _, m := range p.Missing {
		row(m.Kind, m.Name, "", "fails", m.Message, "")
	}
	for _, e := range p.Excluded {
		row(e.Kind, e.Name, "", "no", e.Reason, e.Point)
	}
	if n := p.ItemsOmitted + p.MissingOmitted + p.ExcludedOmitted; n > 0 {
		t.AppendRow(table.Row{"", fmt.Sprintf("and %d more", n)})
	}
	return t.Render()
}

// Columns that several kinds have.
var (
	pointColumn = column{name: "POINT", of: func(o events.ItemOutcome) string { return o.Point }}
	sizeColumn  = column{name: "SIZE", of: func(o events.ItemOutcome) string { return Bytes(o.Size) }}
	timeColumn  = column{name: "TIME", of: func(o events.ItemOutcome) string { return Millis(float64(o.Millis)) }}
	// restColumn is how long the container did not run, which failures have too.
	restColumn = column{
		name: "NOT RUNNING",
		of:   func(o events.ItemOutcome) string { return Millis(o.NotRunningMillis) },
		failed: func(o events.ItemOutcome) string {
			if o.NotRunningMillis == 0 {
				return ""
			}
			return Millis(o.NotRunningMillis)
		},
	}
)
