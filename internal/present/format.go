package present

import (
	"cmp"
	"fmt"
	"io"
	"os"
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

// EscapeLine is Escape for what must stay on its line.
func EscapeLine(s string) string { return strings.ReplaceAll(Escape(s), "\n", `\u000a`) }

// IsTerminal reports whether what is written to w is seen by a person.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Bytes is a number of bytes for people.
func Bytes(n int64) string { return bytesize.Format(n) }

// Stored is how large a point is, and what it added to its sink if that is less.
func Stored(size, added int64) string {
	if added < size {
		return fmt.Sprintf("%s, %s new", Bytes(size), Bytes(added))
	}
	return Bytes(size)
}

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

// plannedMounts says which volumes and bind mounts of an item will be in its point, and
// which are left out although they were asked for, each on a line that it begins.
func plannedMounts(i events.PlannedItem) string {
	var b strings.Builder
	for _, v := range i.Volumes {
		fmt.Fprintf(&b, "\nwith %s %s", v.Type, cmp.Or(v.Name, v.Source))
		if v.Destination != "" {
			fmt.Fprintf(&b, " at %s", v.Destination)
		}
		if v.Size > 0 {
			fmt.Fprintf(&b, " (%s)", Bytes(v.Size))
		}
	}
	if i.VolumesOmitted > 0 {
		fmt.Fprintf(&b, "\nand with %d more", i.VolumesOmitted)
	}
	for _, m := range i.NotIncluded {
		fmt.Fprintf(&b, "\nwithout %s %s at %s: %s", m.Type, cmp.Or(m.Name, m.Source), m.Destination, m.Reason)
	}
	if i.NotIncludedOmitted > 0 {
		fmt.Fprintf(&b, "\nand without %d more", i.NotIncludedOmitted)
	}
	return b.String()
}

// Violations puts what is wrong with a request into one line.
func Violations(all []events.Violation) string {
	parts := make([]string, len(all))
	for i, v := range all {
		parts[i] = strings.TrimSpace(v.Pointer + " " + v.Message)
	}
	return strings.Join(parts, "; ")
}
