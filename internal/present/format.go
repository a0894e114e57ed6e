package present

import (
	"fmt"
	"io"
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

// Escape makes control characters visible, so that a name cannot move the
// cursor or colour the terminal. Line breaks stay.
func Escape(s string) string {
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

// Bytes is a number of bytes for people.
func Bytes(n int64) string { return bytesize.Format(n) }

// Duration rounds to what people read: milliseconds below a minute.
func Duration(d time.Duration) string {
	if d < time.Minute {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// Millis is a number of milliseconds as [Duration] shows it.
func Millis(ms float64) string { return Duration(time.Duration(ms * float64(time.Millisecond))) }

// Count is n and the noun for one of them, in the plural unless n is 1.
func Count(n int, what string) string {
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

// NotIncludedLines names each mount that is not in a point, one a line.
func NotIncludedLines(mounts []events.NotIncluded) string {
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
	lines := NotIncludedLines(o.NotIncluded)
	if o.NotIncludedOmitted > 0 {
		lines += fmt.Sprintf("\nand %d more", o.NotIncludedOmitted)
	}
	return lines
}

// NewTable is a table as all commands print it: plain, wide as its content.
func NewTable(header ...any) table.Writer {
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
	t := NewTable(header...)
	for _, o := range d.Items {
		if o.Status != events.OutcomeCompleted {
			notRunning := ""
			if o.NotRunningMillis > 0 {
				notRunning = Millis(o.NotRunningMillis)
			}
			t.AppendRow(table.Row{Escape(o.Item.Name), fmt.Sprintf("%s (%s)", o.Status, o.Code), "", "", "", notRunning, ""})
			continue
		}
		row := table.Row{Escape(o.Item.Name), o.Point, Bytes(o.Size), ratioOf(o.UncompressedSize, o.Size),
			Duration(time.Duration(o.Millis) * time.Millisecond), Millis(o.NotRunningMillis), Escape(notIncludedColumn(o))}
		if warned {
			row = append(row, Escape(linesOf(o.Warnings)))
		}
		t.AppendRow(row)
	}
	if d.ItemsOmitted > 0 {
		t.AppendRow(table.Row{fmt.Sprintf("and %d more", d.ItemsOmitted)})
	}
	for _, m := range d.Missing {
		t.AppendRow(table.Row{Escape(m.Name), string(m.Code)})
	}
	return t.Render()
}

// planTable is what a backup would do, and why.
func planTable(p events.Plan) string {
	t := NewTable("KIND", "NAME", "BACKED UP", "WHY", "QUIESCE")
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
		t.AppendRow(table.Row{i.Kind, Escape(i.Name), backed, Escape(why), Escape(quiesce)})
	}
	for _, m := range p.Missing {
		t.AppendRow(table.Row{m.Kind, Escape(m.Name), "fails", Escape(m.Message), ""})
	}
	for _, e := range p.Excluded {
		t.AppendRow(table.Row{e.Kind, Escape(e.Name), "no", Escape(e.Reason), ""})
	}
	if n := p.ItemsOmitted + p.MissingOmitted + p.ExcludedOmitted; n > 0 {
		t.AppendRow(table.Row{"", fmt.Sprintf("and %d more", n)})
	}
	return t.Render()
}

// Violations puts what is wrong with a request into one line.
func Violations(all []events.Violation) string {
	parts := make([]string, len(all))
	for i, v := range all {
		parts[i] = strings.TrimSpace(v.Pointer + " " + v.Message)
	}
	return strings.Join(parts, "; ")
}
