package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
)

// presenter shows a job's events: results on out, everything for people on err.
type presenter struct {
	out, err io.Writer
	json     bool
	host     string // begins what is shown of one host among several; else empty
	bars     *bars  // nil if err is no terminal
}

func newPresenter(out, err io.Writer, asJSON bool) *presenter {
	p := &presenter{out: out, err: err, json: asJSON}
	if isTerminal(err) {
		p.bars = newBars(err)
	}
	return p
}

// newHostPresenter shows the job of one host among several, without progress.
func newHostPresenter(out, err io.Writer, asJSON bool, host string) *presenter {
	return &presenter{out: out, err: err, json: asJSON, host: host}
}

// close ends the progress bars.
func (p *presenter) close() {
	if p.bars != nil {
		p.bars.wait()
		p.bars = nil
	}
}

// note says something to people.
func (p *presenter) note(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if p.host != "" {
		line = p.host + ": " + line
	}
	fmt.Fprintln(p.err, escape(line))
}

// result prints a table, unless the events themselves are what is printed.
func (p *presenter) result(table string) {
	switch {
	case p.json:
		return
	case p.host != "":
		fmt.Fprintf(p.out, "host %s\n", escape(p.host))
	}
	fmt.Fprintln(p.out, table)
}

// event shows one event. When it is the last, done is true and err stands for
// the exit status.
func (p *presenter) event(ev event.Event) (done bool, err error) {
	if p.json && events.ResultOf(ev.Type()) != events.ResultProgress {
		raw, err := json.Marshal(ev)
		if err != nil {
			return true, err
		}
		fmt.Fprintln(p.out, string(raw))
	}
	if ev.Type() == events.TypeRequestRejected {
		return true, show(ev, p.rejected)
	}
	switch events.ResultOf(ev.Type()) {
	case events.ResultAccepted:
		return false, show(ev, p.accepted)
	case events.ResultProgress:
		return false, show(ev, p.progress)
	case events.ResultItemCompleted:
		return false, show(ev, p.itemCompleted)
	case events.ResultItemFailed:
		return false, show(ev, p.itemFailed)
	case events.ResultCompleted, events.ResultFailed:
		return true, show(ev, p.ended)
	case events.ResultPlanned:
		return true, show(ev, p.planned)
	}
	return false, nil
}

// show decodes an event's data for a function that shows it.
func show[T any](ev event.Event, how func(T) error) error {
	var data T
	if err := ev.DataAs(&data); err != nil {
		return fmt.Errorf("read event %s: %w", ev.Type(), err)
	}
	return how(data)
}

func (p *presenter) accepted(d events.Accepted) error {
	if p.bars == nil {
		p.note("job %s on host %s: %s", d.Job, d.Host, count(len(d.Items)+d.ItemsOmitted, "item"))
	}
	for _, e := range d.Excluded {
		p.say("left out: %s %s: %s", e.Kind, e.Name, e.Reason)
	}
	p.warnings(d.Warnings)
	return nil
}

func (p *presenter) progress(d events.Progress) error {
	if p.bars != nil {
		p.bars.progress(d)
	}
	return nil
}

func (p *presenter) itemCompleted(d events.BackupItemCompleted) error {
	p.warnings(d.Warnings)
	if p.bars != nil {
		p.bars.end(d.Item)
		return nil
	}
	var size int64
	for _, a := range d.Artifacts {
		size += a.Size
	}
	p.note("stored: %s %s as %s (%s)", d.Item.Kind, d.Item.Name, d.Point, bytesOf(size))
	return nil
}

func (p *presenter) itemFailed(d events.ItemFailed) error {
	if p.bars != nil {
		p.bars.end(d.Item)
	}
	p.say("failed: %s %s: %s: %s", d.Item.Kind, d.Item.Name, d.Code, d.Message)
	return nil
}

func (p *presenter) warnings(warnings []events.Warning) {
	for _, w := range warnings {
		p.say("warning: %s", w.Message)
	}
}

// say notes something above the progress bars.
func (p *presenter) say(format string, args ...any) {
	if p.bars != nil {
		p.bars.say(escape(fmt.Sprintf(format, args...)))
		return
	}
	p.note(format, args...)
}

func (p *presenter) ended(d events.Ended) error {
	p.close()
	p.result(endTable(d))
	if d.NotIncluded > 0 {
		p.note("not included: the content of %s; see the table", count(d.NotIncluded, "mount"))
	}
	if d.Counts.Items == 0 && d.Counts.Missing == 0 {
		p.note("nothing was selected: nothing is stored")
	}
	message := ""
	if d.Message != "" {
		message = ": " + d.Message
	}
	p.note("job %s %s%s: %d stored, %d failed, %d missing, %d skipped, %d cancelled; %s in %s", d.Job, d.Status, message,
		d.Counts.Completed, d.Counts.Failed, d.Counts.Missing, d.Counts.Skipped, d.Counts.Cancelled,
		bytesOf(d.Bytes), durationOf(d.Ended.Sub(d.Began)))
	return exitFor(d.Status)
}

func (p *presenter) planned(d events.Planned) error {
	p.close()
	p.result(planTable(d.Plan))
	p.warnings(d.Warnings)
	p.note("dry run: %s would be backed up", count(len(d.Items)+d.ItemsOmitted, "item"))
	if len(d.Missing) > 0 {
		return exitFor(events.StatusFailed)
	}
	return nil
}

func (p *presenter) rejected(d events.RequestRejected) error {
	p.close()
	p.note("request rejected (%s): %s", d.Reason, violations(d.Errors))
	return exitFor(events.StatusFailed)
}
