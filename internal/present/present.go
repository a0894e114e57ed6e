// Package present shows people how a job goes and what it came to: lines, tables and
// progress bars, with every name from outside made harmless for a terminal. What an end
// means it returns as an [Outcome]; exit statuses are the program's.
package present

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
)

// Presenter shows a job's events: results on out, everything for people on err. It
// belongs to one goroutine.
type Presenter struct {
	out, err io.Writer
	json     bool
	host     string // begins what is shown of one host among several; else empty
	bars     *bars  // nil if err is no terminal
	several  bool   // there is an item for each of several sinks
}

// New returns a presenter of one job: it prints tables, or with asJSON the events, one
// a line, on out, and lines for people on err, where progress has bars if err is a
// terminal. The caller closes it.
func New(out, err io.Writer, asJSON bool) *Presenter {
	p := &Presenter{out: out, err: err, json: asJSON}
	if IsTerminal(err) {
		p.bars = newBars(err)
	}
	return p
}

// NewForHost returns a presenter that shows the job of one host among several, without progress.
func NewForHost(out, err io.Writer, asJSON bool, host string) *Presenter {
	return &Presenter{out: out, err: err, json: asJSON, host: host}
}

// Close ends the progress bars. More can be shown after it, without them.
func (p *Presenter) Close() {
	if p.bars != nil {
		p.bars.wait()
		p.bars = nil
	}
}

// Line writes a line for people, with what it says made harmless for a terminal.
func (p *Presenter) Line(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if p.host != "" {
		line = p.host + ": " + line
	}
	fmt.Fprintln(p.err, Escape(line))
}

// result prints a table, unless the events themselves are what is printed.
func (p *Presenter) result(table string) {
	switch {
	case p.json:
		return
	case p.host != "":
		fmt.Fprintf(p.out, "host %s\n", Escape(p.host))
	}
	fmt.Fprintln(p.out, table)
}

// Event shows one event, and returns how the job ended if it is the job's last one,
// else [Running]. The error is that the event cannot be read.
func (p *Presenter) Event(ev event.Event) (Outcome, error) {
	if p.json && events.ResultOf(ev.Type()) != events.ResultProgress {
		raw, err := json.Marshal(ev)
		if err != nil {
			return Running, err
		}
		fmt.Fprintln(p.out, string(raw))
	}
	if ev.Type() == events.TypeRequestRejected {
		return show(ev, p.rejected)
	}
	v := views[events.KindOf(ev.Type())]
	if v == nil {
		return Running, nil
	}
	switch events.ResultOf(ev.Type()) {
	case events.ResultAccepted:
		return show(ev, p.accepted)
	case events.ResultProgress:
		return show(ev, p.progress)
	case events.ResultItemCompleted:
		c, err := v.completed(ev)
		if err == nil {
			p.itemCompleted(v.done(), c)
		}
		return Running, err
	case events.ResultItemFailed:
		return show(ev, p.itemFailed)
	case events.ResultCompleted, events.ResultFailed:
		return show(ev, func(d events.Ended) Outcome { return p.ended(v, d) })
	case events.ResultPlanned:
		return show(ev, func(d events.Planned) Outcome { return p.planned(v, d) })
	}
	return Running, nil
}

// show decodes an event's data for a function that shows it.
func show[T any](ev event.Event, how func(T) Outcome) (Outcome, error) {
	data, err := decode[T](ev)
	if err != nil {
		return Running, err
	}
	return how(data), nil
}

func (p *Presenter) accepted(d events.Accepted) Outcome {
	p.several = len(d.Sinks) > 0
	if p.bars == nil {
		p.Line("job %s on host %s: %s", d.Job, d.Host, Count(len(d.Items)+d.ItemsOmitted, "item"))
	}
	p.leftOut(d.Excluded, d.ExcludedOmitted)
	p.warnings(d.Warnings)
	return Running
}

// maxLeftOut is how many things are named that are left out.
const maxLeftOut = 20

// leftOut says what is left out of a job, and why; more is how many are not listed.
func (p *Presenter) leftOut(list []events.Excluded, more int) {
	if over := len(list) - maxLeftOut; over > 0 {
		list, more = list[:maxLeftOut], more+over
	}
	for _, e := range list {
		of := ""
		if e.Point != "" {
			of = "point " + e.Point + " of "
		}
		p.lineAbove("left out: %s%s %s: %s", of, e.Kind, e.Name, e.Reason)
	}
	if more > 0 {
		p.lineAbove("left out: and %d more; a dry run says why", more)
	}
}

func (p *Presenter) progress(d events.Progress) Outcome {
	if p.bars != nil {
		p.bars.progress(d)
	}
	return Running
}

func (p *Presenter) itemCompleted(done string, c completed) {
	p.warnings(c.warnings)
	sink := ""
	if p.several {
		sink = c.sink
	}
	if p.bars != nil {
		p.bars.end(c.item, c.point, sink)
	} else {
		p.Line("%s: %s%s", done, c.line, inSink(sink))
	}
	for _, detail := range c.details {
		p.lineAbove("%s %s: %s", c.item.Kind, c.item.Name, detail)
	}
}

func (p *Presenter) itemFailed(d events.ItemFailed) Outcome {
	if p.bars != nil {
		p.bars.end(d.Item, d.Point, d.Sink)
	}
	p.lineAbove("failed: %s %s%s: %s: %s", d.Item.Kind, d.Item.Name, inSink(d.Sink), d.Code, d.Message)
	return Running
}

// inSink names the sink of an item, where there is one for each of several.
func inSink(name string) string {
	if name == "" {
		return ""
	}
	return " in sink " + name
}

func (p *Presenter) warnings(warnings []events.Warning) {
	for _, w := range warnings {
		p.lineAbove("warning: %s", w.Message)
	}
}

// lineAbove writes a line for people above the progress bars.
func (p *Presenter) lineAbove(format string, args ...any) {
	if p.bars != nil {
		p.bars.line(Escape(fmt.Sprintf(format, args...)))
		return
	}
	p.Line(format, args...)
}

func (p *Presenter) ended(v view, d events.Ended) Outcome {
	p.Close()
	p.result(v.endTable(d))
	if d.NotIncluded > 0 {
		p.Line("not included: the content of %s; see the table", Count(d.NotIncluded, "mount"))
	}
	if d.Counts.Items == 0 && d.Counts.Missing == 0 {
		p.Line("%s", v.nothing())
	}
	message := ""
	if d.Message != "" {
		message = ": " + d.Message
	}
	p.Line("job %s %s%s: %d %s, %d failed, %d missing, %d skipped, %d cancelled; %s in %s", d.Job, d.Status, message,
		d.Counts.Completed, v.done(), d.Counts.Failed, d.Counts.Missing, d.Counts.Skipped, d.Counts.Cancelled,
		Bytes(d.Bytes), Duration(d.Ended.Sub(d.Began)))
	if d.Hidden > 0 {
		p.Line("hidden: %s (%s); until their bytes go 'holdfast unprune' takes them back, see the table", Count(d.Hidden, "point"),
			Bytes(d.HiddenBytes))
	}
	return outcomeOf(d.Status)
}

func (p *Presenter) planned(v view, d events.Planned) Outcome {
	p.Close()
	p.result(v.planTable(d))
	p.warnings(d.Warnings)
	failing := 0
	for _, item := range d.Items {
		if item.Code != "" {
			failing++
		}
	}
	summary := fmt.Sprintf("dry run: %s %s", Count(len(d.Items)+d.ItemsOmitted-failing, "item"), v.wouldBe())
	if failing > 0 {
		summary += fmt.Sprintf(", %d would fail", failing)
	}
	p.Line("%s", summary)
	if len(d.Missing) > 0 {
		return Failed
	}
	return Succeeded
}

func (p *Presenter) rejected(d events.RequestRejected) Outcome {
	p.Close()
	p.Line("request rejected (%s): %s", d.Reason, Violations(d.Errors))
	return Failed
}
