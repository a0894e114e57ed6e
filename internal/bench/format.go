//go:build linux

package bench

import (
	"fmt"
	"strings"
	"time"
)

func Seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
func Millis(d time.Duration) string  { return fmt.Sprintf("%.1f ms", d.Seconds()*1000) }
func Megabytes(n int64) string       { return fmt.Sprintf("%.1f MB", float64(n)/megabyte) }
func Mebibytes(n int64) string       { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// Markdown formats a table, the first row as its head.
func Markdown(rows [][]string) string {
	var s strings.Builder
	for i, row := range rows {
		const bar = "\x00" // between cells; one in a cell would end it
		line := strings.ReplaceAll(strings.Join(row, bar), "|", `\|`)
		fmt.Fprintf(&s, "| %s |\n", strings.ReplaceAll(line, bar, " | "))
		if i == 0 {
			fmt.Fprintf(&s, "|%s\n", strings.Repeat(" --- |", len(row)))
		}
	}
	return s.String()
}

// None stands in a table where nothing was measured.
const None = "–"
