package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
	"golang.org/x/term"

	"holdfast.io/holdfast/internal/bytesize"

	"holdfast.io/holdfast/events"
)

// escape makes control characters visible, so that a name cannot move the
// cursor or colour the terminal. Line breaks stay.
func escape(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, "\\u%04x", r)
		}
	}
	return b.String()
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func bytesOf(n int64) string { return bytesize.Format(n) }

// durationOf rounds to what people read: milliseconds below a minute.
func durationOf(d time.Duration) string {
	if d < time.Minute {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

func millisOf(ms float64) string { return durationOf(time.Duration(ms * float64(time.Millisecond))) }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// ratioOf is how many times smaller the stored archive is.
func ratioOf(uncompressed, stored int64) string {
	if stored == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", float64(uncompressed)/float64(stored))
}

// notIncludedLines names each mount that is not in a point, one a line.
func notIncludedLines(mounts []events.NotIncluded) string {
	var lines []string
	for _, m := range mounts {
		from := m.Name
		if from == "" {
			from = m.Source
		}
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s", m.Type, from))+" at "+m.Destination)
	}
	return strings.Join(lines, "\n")
}

// linesOf writes each value on a line of its own.
func linesOf[S ~string](values []S) string {
	lines := make([]string, len(values))
	for i, v := range values {
		lines[i] = string(v)
	}
	return strings.Join(lines, "\n")
}

// notIncludedColumn names the mounts of an outcome, and counts those that it leaves
// out.
func notIncludedColumn(o events.ItemOutcome) string {
	lines := notIncludedLines(o.NotIncluded)
	if o.NotIncludedOmitted > 0 {
		lines += fmt.Sprintf("\nand %d more", o.NotIncludedOmitted)
	}
	return lines
}

// newTable is a table as all commands print it: plain, wide as its content.
func newTable(header ...any) table.Writer {
	t := table.NewWriter()
	style := table.StyleLight
	style.Options = table.Options{SeparateColumns: false, SeparateHeader: true}
	style.Box.PaddingLeft = ""
	style.Box.PaddingRight = "  "
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	t.AppendHeader(header)
	return t
}

// endTable is what a backup came to.
func endTable(d events.Ended) string {
	header := table.Row{"ITEM", "POINT", "SIZE", "RATIO", "TIME", "NOT RUNNING", "NOT INCLUDED"}
	warned := slices.ContainsFunc(d.Items, func(o events.ItemOutcome) bool { return len(o.Warnings) > 0 })
	if warned {
		header = append(header, "WARNINGS")
	}
	t := newTable(header...)
	for _, o := range d.Items {
		if o.Status != events.OutcomeCompleted {
			notRunning := ""
			if o.NotRunningMillis > 0 {
				notRunning = millisOf(o.NotRunningMillis)
			}
			t.AppendRow(table.Row{escape(o.Item.Name), fmt.Sprintf("%s (%s)", o.Status, o.Code), "", "", "", notRunning, ""})
			continue
		}
		row := table.Row{escape(o.Item.Name), o.Point, bytesOf(o.Size), ratioOf(o.UncompressedSize, o.Size),
			durationOf(time.Duration(o.Millis) * time.Millisecond), millisOf(o.NotRunningMillis), escape(notIncludedColumn(o))}
		if warned {
			row = append(row, escape(linesOf(o.Warnings)))
		}
		t.AppendRow(row)
	}
	if d.ItemsOmitted > 0 {
		t.AppendRow(table.Row{fmt.Sprintf("and %d more", d.ItemsOmitted)})
	}
	for _, m := range d.Missing {
		t.AppendRow(table.Row{escape(m.Name), string(m.Code)})
	}
	return t.Render()
}

// planTable is what a backup would do, and why.
func planTable(p events.Plan) string {
	t := newTable("KIND", "NAME", "BACKED UP", "WHY", "QUIESCE")
	for _, i := range p.Items {
		backed, why := "yes", i.Reason
		if i.Code != "" {
			backed, why = "fails", why+"; but "+i.Message
		}
		for _, w := range i.Warnings {
			why += "\nwarning: " + w.Message
		}
		quiesce := string(i.Quiesce)
		if i.QuiesceReason != "" {
			quiesce += " (" + i.QuiesceReason + ")"
		}
		t.AppendRow(table.Row{i.Kind, escape(i.Name), backed, escape(why), escape(quiesce)})
	}
	for _, m := range p.Missing {
		t.AppendRow(table.Row{m.Kind, escape(m.Name), "fails", escape(m.Message), ""})
	}
	for _, e := range p.Excluded {
		t.AppendRow(table.Row{e.Kind, escape(e.Name), "no", escape(e.Reason), ""})
	}
	if n := p.ItemsOmitted + p.MissingOmitted + p.ExcludedOmitted; n > 0 {
		t.AppendRow(table.Row{"", fmt.Sprintf("and %d more", n)})
	}
	return t.Render()
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
