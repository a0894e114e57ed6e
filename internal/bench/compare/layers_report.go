//go:build linux

package main

import (
	"fmt"

	"holdfast.io/holdfast/internal/bench"
)

// layeredTable has a column of times for each Engine, and the ratios beside them. What was
// measured on several has the same rows.
func layeredTable(all []*layered) [][]string {
	head := []string{"a sink that stores each layer once"}
	for _, l := range all {
		head = append(head, l.Machine.Store, "(a) / it", "written", "largest resident memory (≤ 96 MiB)")
	}
	table := [][]string{append(head, "goal of (a) / it")}
	for _, s := range scriptRows {
		cells := []string{s.what}
		for _, l := range all {
			cells = append(cells, spread(s.of(&l.Scripts).Took, bench.Seconds), "", "", "")
		}
		table = append(table, append(cells, ""))
	}
	for i, r := range all[0].Rows {
		cells := []string{r.What}
		for _, l := range all {
			cells = append(cells, l.cells(i)...)
		}
		table = append(table, append(cells, r.Goal))
	}
	return table
}

// scriptRows are the rows of the ways of the docker command.
var scriptRows = []struct {
	what string
	of   func(s *scripts) *spent
}{
	{"(a) docker commit, save into zstd, rmi", func(s *scripts) *spent { return &s.Zstd }},
	{"(a) and sync of the file", func(s *scripts) *spent { return &s.Synced }},
	{"docker commit, save into gzip, rmi", func(s *scripts) *spent { return &s.Gzip }},
	{"docker save alone", func(s *scripts) *spent { return &s.Save }},
	{"zstd -dc into docker load, the base is there; (a) of a restore", func(s *scripts) *spent { return &s.Load }},
}

// costTable says of what layeredTable has the times of what else it takes.
func costTable(all []*layered) [][]string {
	head := []string{"what it takes"}
	for _, l := range all {
		head = append(head, l.Machine.Store+": CPU of the machine", "read by the worker", "not running")
	}
	table := [][]string{head}
	for _, s := range scriptRows {
		if len(s.of(&all[0].Scripts).CPU) == 0 {
			continue // it has none of its own
		}
		cells := []string{s.what}
		for _, l := range all {
			cells = append(cells, spread(s.of(&l.Scripts).CPU, bench.Seconds), "", "")
		}
		table = append(table, cells)
	}
	for i, r := range all[0].Rows {
		cells := []string{r.What}
		for _, l := range all {
			r := l.Rows[i]
			read, stood := bench.None, bench.None
			if len(r.Read) > 0 {
				read, stood = spread(r.Read, bench.Megabytes), spread(r.NotRunning, bench.Millis)
			}
			cells = append(cells, spread(r.CPU, bench.Seconds), read, stood)
		}
		table = append(table, cells)
	}
	return table
}

// cells are those of one row.
func (l *layered) cells(i int) []string {
	r, against := l.Rows[i], l.Scripts.Zstd.Took
	if r.Restores {
		against = l.Scripts.Load.Took
	}
	written := bench.None
	if len(r.Written) > 0 {
		written = spread(r.Written, bench.Megabytes)
	}
	ratio := float64(bench.Median(against)) / float64(bench.Median(r.Took))
	return []string{spread(r.Took, bench.Seconds), fmt.Sprintf("%.2f", ratio), written, bench.Mebibytes(r.Peak)}
}
