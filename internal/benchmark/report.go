//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// report is all that was measured.
type report struct {
	machine     machine
	rounds      int
	comparisons []comparison
	latencies   []latency
	// fresh and used are the worker's rest before and after all work.
	fresh, used rest
}

// none stands in a table where nothing was measured.
const none = "–"

// write writes the report in Markdown.
func (r *report) write(w io.Writer) error {
	tables := [][][]string{r.machineTable(), r.comparisonTable(), r.latencyTable(), r.restTable()}
	texts := make([]string, len(tables))
	for i, t := range tables {
		texts[i] = markdown(t)
	}
	_, err := io.WriteString(w, strings.Join(texts, "\n"))
	return err
}

func (r *report) machineTable() [][]string {
	m := r.machine
	return [][]string{
		{"machine", ""},
		{"engine", m.engine + ", store " + m.store},
		{"cores, kernel", fmt.Sprintf("%d, Linux %s", m.cores, m.kernel)},
		{"zstd tool", m.zstd},
		{"holdfast", m.holdfast},
		{"both ways", fmt.Sprintf("zstd level %d, %d threads; median (least–most) of %d rounds", level, threads, r.rounds)},
	}
}

func (r *report) comparisonTable() [][]string {
	rows := []struct {
		name string
		cell func(c comparison) string
		goal string
	}{
		{"(a) docker commit, save into zstd, rmi", baselineCell(seconds, baselineRun.quick), ""},
		{"(a) and sync of the file", baselineCell(seconds, baselineRun.durable), ""},
		{"(b) holdfast backup, by a worker that serves", servingCell(seconds, holdfastRun.time), ""},
		{"(c) holdfast backup, without a worker", aloneCell(seconds, holdfastRun.time), ""},
		{"(b) / (a)", ratioCell(baselineRun.quick), "≤ 1.05"},
		{"(b) / (a) and sync", ratioCell(baselineRun.durable), ""},
		{"stored by (a)", baselineCell(megabytes, func(r baselineRun) int64 { return r.size }), ""},
		{"stored by (b)", servingCell(megabytes, func(r holdfastRun) int64 { return r.size }), ""},
		{"(b) largest resident memory of the worker", func(c comparison) string { return mebibytes(c.peak) }, "≤ 64 MiB"},
		{"(a) docker commit alone", baselineCell(millis, func(r baselineRun) time.Duration { return r.commit }), ""},
		{"(b) the Engine's commit alone", servingCell(millis, func(r holdfastRun) time.Duration { return r.commit }), ""},
		{"(b) container not running", servingCell(millis, func(r holdfastRun) time.Duration { return r.notRunning }), ""},
		{"(b) not running beyond the commit, most", func(c comparison) string {
			return millis(slices.Max(each(c.serving, holdfastRun.beyondCommit)))
		}, "≤ 20 ms"},
	}
	head := []string{"backup"}
	for _, c := range r.comparisons {
		head = append(head, fmt.Sprintf("image %d MB, layer %d MB", c.image, c.layer))
	}
	table := [][]string{append(head, "goal")}
	for _, row := range rows {
		cells := []string{row.name}
		for _, c := range r.comparisons {
			cells = append(cells, row.cell(c))
		}
		table = append(table, append(cells, row.goal))
	}
	return table
}

func (r *report) latencyTable() [][]string {
	row := func(name string, figure func(l latency) time.Duration) []string {
		values := each(r.latencies, figure)
		return []string{name, millis(median(values)), millis(quantile(values, 0.99))}
	}
	return [][]string{
		{fmt.Sprintf("latency, %d requests", len(r.latencies)), "median", "99th percentile"},
		row("published → accepted event received", func(l latency) time.Duration { return l.accepted }),
		row("published → commit begun: the Engine has paused the container", func(l latency) time.Duration { return l.committed }),
	}
}

func (r *report) restTable() [][]string {
	row := func(name string, rest rest) []string {
		return []string{name, millis(rest.cpu), mebibytes(rest.resident)}
	}
	return [][]string{
		{fmt.Sprintf("the worker at rest, %s", restTime), "CPU time", "resident memory"},
		row("before all work", r.fresh),
		row("after all work", r.used),
	}
}

// A cell of one way: the median of one figure, and its range.

func baselineCell[N number](format func(N) string, figure func(baselineRun) N) func(comparison) string {
	return func(c comparison) string { return spread(each(c.baseline, figure), format) }
}

func servingCell[N number](format func(N) string, figure func(holdfastRun) N) func(comparison) string {
	return func(c comparison) string { return spread(each(c.serving, figure), format) }
}

func aloneCell[N number](format func(N) string, figure func(holdfastRun) N) func(comparison) string {
	return func(c comparison) string { return spread(each(c.alone, figure), format) }
}

// ratioCell holds the median of (b) against that of (a).
func ratioCell(against func(baselineRun) time.Duration) func(comparison) string {
	return func(c comparison) string {
		if len(c.baseline) == 0 {
			return none
		}
		a, b := median(each(c.baseline, against)), median(each(c.serving, holdfastRun.time))
		return fmt.Sprintf("%.2f", float64(b)/float64(a))
	}
}

func spread[N number](values []N, format func(N) string) string {
	if len(values) == 0 {
		return none
	}
	middle, least, most := format(median(values)), format(slices.Min(values)), format(slices.Max(values))
	if least == most {
		return middle
	}
	return fmt.Sprintf("%s (%s–%s)", middle, least, most)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
func millis(d time.Duration) string  { return fmt.Sprintf("%.1f ms", d.Seconds()*1000) }
func megabytes(n int64) string       { return fmt.Sprintf("%.1f MB", float64(n)/megabyte) }
func mebibytes(n int64) string       { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// markdown formats a table, the first row as its head.
func markdown(rows [][]string) string {
	var s strings.Builder
	for i, row := range rows {
		fmt.Fprintf(&s, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintf(&s, "|%s\n", strings.Repeat(" --- |", len(row)))
		}
	}
	return s.String()
}
