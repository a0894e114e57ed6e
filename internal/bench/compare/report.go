//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"holdfast.io/holdfast/internal/bench"
)

// report is all that was measured.
type report struct {
	machine     machine
	began       time.Time
	rounds      int
	comparisons []comparison
	latencies   []latency
	layered     []*layered // on this Engine, and on the other one
	pieces      []*pieceRow
	pairs       []pair
	outages     []outage
	// fresh and used are the worker's rest before and after all work.
	fresh, used bench.Rest
}

// write writes the report in Markdown.
func (r *report) write(w io.Writer) error {
	tables := [][][]string{r.machineTable(), layeredTable(r.layered), costTable(r.layered), pieceTable(r.pieces)}
	if len(r.comparisons) > 0 {
		tables = append(tables, r.comparisonTable(), r.pairTable(), r.outageTable(), r.latencyTable(), r.restTable())
	}
	texts := make([]string, len(tables))
	for i, t := range tables {
		texts[i] = bench.Markdown(t)
	}
	_, err := io.WriteString(w, strings.Join(texts, "\n"))
	return err
}

func (r *report) machineTable() [][]string {
	m := r.machine
	table := [][]string{
		{"machine", ""},
		{"date", r.began.UTC().Format(time.DateOnly)},
		{"engine", m.Engine + ", store " + m.Store},
		{"cores, kernel", fmt.Sprintf("%d, Linux %s", m.Cores, m.Kernel)},
		{"zstd tool", m.Zstd},
		{"holdfast", m.Holdfast},
		{"both ways", fmt.Sprintf("zstd level %d, %d threads; median (least–most) of %d rounds", bench.Level, bench.Threads, r.rounds)},
	}
	for _, l := range r.layered[1:] {
		table = append(table, []string{"the other engine", l.Machine.Engine + ", store " + l.Machine.Store})
	}
	return table
}

func (r *report) comparisonTable() [][]string {
	rows := []struct {
		name string
		cell func(c comparison) string
		goal string
	}{
		{"(a) docker commit, save into zstd, rmi", baselineCell(bench.Seconds, baselineRun.quick), ""},
		{"(a) and sync of the file", baselineCell(bench.Seconds, baselineRun.durable), ""},
		{"(b) holdfast backup, by a worker that serves", servingCell(bench.Seconds, bench.HoldfastRun.Time), ""},
		{"(c) holdfast backup, without a worker", aloneCell(bench.Seconds, bench.HoldfastRun.Time), ""},
		{"(b) / (a)", ratioCell(baselineRun.quick), "≤ 1.05"},
		{"(b) / (a) and sync", ratioCell(baselineRun.durable), ""},
		{"stored by (a)", baselineCell(bench.Megabytes, func(r baselineRun) int64 { return r.size }), ""},
		{"stored by (b)", servingCell(bench.Megabytes, func(r bench.HoldfastRun) int64 { return r.Size }), ""},
		{"(b) largest resident memory of the worker", func(c comparison) string { return bench.Mebibytes(c.peak) }, "≤ 64 MiB"},
		{"(a) docker commit alone", baselineCell(bench.Millis, func(r baselineRun) time.Duration { return r.commit }), ""},
		{"(b) the Engine's commit alone", servingCell(bench.Millis, func(r bench.HoldfastRun) time.Duration { return r.Commit }), ""},
		{"(b) container not running", servingCell(bench.Millis, func(r bench.HoldfastRun) time.Duration { return r.NotRunning }), ""},
		{"(b) not running beyond the commit, most", func(c comparison) string {
			return bench.Millis(slices.Max(bench.Each(c.serving, bench.HoldfastRun.BeyondCommit)))
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

func (r *report) pairTable() [][]string {
	table := [][]string{{"volumes and restores", "(a)", "(b) holdfast", "(b) / (a)", "goal", "largest resident memory", "goal"}}
	for _, p := range r.pairs {
		ratio := float64(bench.Median(p.ours)) / float64(bench.Median(p.theirs))
		table = append(table, []string{p.what + "; (a) is " + p.other, spread(p.theirs, bench.Seconds), spread(p.ours, bench.Seconds),
			fmt.Sprintf("%.2f", ratio), p.goal, bench.Mebibytes(p.peak), "≤ 64 MiB"})
	}
	return table
}

func (r *report) outageTable() [][]string {
	stop, start := func(o outage) time.Duration { return o.stop }, func(o outage) time.Duration { return o.start }
	replaced := func(o outage) time.Duration { return o.replaced }
	beyond := func(o outage) time.Duration { return o.replaced - o.stop - o.start }
	return [][]string{
		{"restore in a container's own place", "", "goal"},
		{"docker stop alone", spread(bench.Each(r.outages, stop), bench.Millis), ""},
		{"docker start alone", spread(bench.Each(r.outages, start), bench.Millis), ""},
		{"neither the old nor the new container ran", spread(bench.Each(r.outages, replaced), bench.Millis), ""},
		{"beyond stop and start", spread(bench.Each(r.outages, beyond), bench.Millis), "≤ 500 ms"},
	}
}

func (r *report) latencyTable() [][]string {
	row := func(name string, figure func(l latency) time.Duration) []string {
		values := bench.Each(r.latencies, figure)
		return []string{name, bench.Millis(bench.Median(values)), bench.Millis(bench.Quantile(values, 0.99))}
	}
	pauses := bench.Each(r.latencies, func(l latency) time.Duration { return l.pause })
	return [][]string{
		{fmt.Sprintf("latency, %d requests", len(r.latencies)), "median", "99th percentile"},
		row("published → accepted event received", func(l latency) time.Duration { return l.accepted }),
		row("of what follows: the container watched and inspected", func(l latency) time.Duration { return l.inspected }),
		row("the Engine's own pause, by a call alone", func(l latency) time.Duration { return l.pause }),
		row("published → commit begun: the Engine has paused the container", func(l latency) time.Duration { return l.committed }),
		{"its goal: 2 × the Engine's own pause + 20 ms", "", bench.Millis(2*bench.Quantile(pauses, 0.99) + 20*time.Millisecond)},
	}
}

func (r *report) restTable() [][]string {
	row := func(name string, rest bench.Rest) []string {
		return []string{name, bench.Millis(rest.CPU), bench.Mebibytes(rest.Resident)}
	}
	return [][]string{
		{fmt.Sprintf("the worker at rest, %s", bench.RestTime), "CPU time", "resident memory"},
		row("before all work", r.fresh),
		row("after all work", r.used),
	}
}

// A cell of one way: the median of one figure, and its range.

func baselineCell[N bench.Number](format func(N) string, figure func(baselineRun) N) func(comparison) string {
	return func(c comparison) string { return spread(bench.Each(c.baseline, figure), format) }
}

func servingCell[N bench.Number](format func(N) string, figure func(bench.HoldfastRun) N) func(comparison) string {
	return func(c comparison) string { return spread(bench.Each(c.serving, figure), format) }
}

func aloneCell[N bench.Number](format func(N) string, figure func(bench.HoldfastRun) N) func(comparison) string {
	return func(c comparison) string { return spread(bench.Each(c.alone, figure), format) }
}

// ratioCell holds the median of (b) against that of (a).
func ratioCell(against func(baselineRun) time.Duration) func(comparison) string {
	return func(c comparison) string {
		if len(c.baseline) == 0 {
			return bench.None
		}
		a, b := bench.Median(bench.Each(c.baseline, against)), bench.Median(bench.Each(c.serving, bench.HoldfastRun.Time))
		return fmt.Sprintf("%.2f", float64(b)/float64(a))
	}
}

func spread[N bench.Number](values []N, format func(N) string) string {
	if len(values) == 0 {
		return bench.None
	}
	middle, least, most := format(bench.Median(values)), format(slices.Min(values)), format(slices.Max(values))
	if least == most {
		return middle
	}
	return fmt.Sprintf("%s (%s–%s)", middle, least, most)
}
