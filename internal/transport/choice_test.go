package transport_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"holdfast.io/holdfast/internal/transport"
)

var update = flag.Bool("update", false, "write the choices in testdata as they come out now")

const mib = 1 << 20

// fact is a fact in words, and what it sets.
type fact struct {
	words string
	set   func(f *transport.Facts)
}

// missing is the fact of which of five layers a sink does not have.
func missing(words string, count int, onlyLast bool) fact {
	return fact{words, func(f *transport.Facts) { f.Layers, f.Missing, f.OnlyLast = 5, count, onlyLast }}
}

// large is the fact of how many bytes of an image are new.
func large(words string, last, all int64) fact {
	return fact{words, func(f *transport.Facts) { f.New, f.Size = last, all }}
}

// facts are all that the choice rests on. Each has one of the values in its line.
var facts = [][]fact{
	{{"image", func(*transport.Facts) {}}, {"container", func(f *transport.Facts) { f.Container = true }}},
	{{"to a sink of archives", func(*transport.Facts) {}}, {"to sinks in layers", func(f *transport.Facts) { f.Layered = true }}},
	{
		{"in a registry that the Engine pushes to", func(f *transport.Facts) { f.Direct = true }},
		{"in another registry", func(f *transport.Facts) { f.NotDirect = "the registry is out of reach" }},
		{"in none", func(*transport.Facts) {}},
	},
	{{"out of reach", func(f *transport.Facts) { f.NotReached = "it runs elsewhere" }}, {"in reach", func(*transport.Facts) {}}},
	{
		{"no layers", func(*transport.Facts) {}},
		missing("none missing", 0, false), missing("the last one missing", 1, true), missing("another one missing", 1, false),
		missing("two missing", 2, false), missing("all missing", 5, false),
	},
	{{"in some sinks", func(f *transport.Facts) { f.Uneven = true }}, {"in all sinks", func(*transport.Facts) {}}},
	{{"compressed already", func(f *transport.Facts) { f.Streams = true }}, {"to be compressed", func(*transport.Facts) {}}},
	{{"base sent before", func(f *transport.Facts) { f.Untold = true }}, {"base not sent before", func(*transport.Facts) {}}},
	{{"before the snapshot", func(f *transport.Facts) { f.Ahead = true }}, {"with the snapshot", func(*transport.Facts) {}}},
	{
		large("8 MiB of 8 MiB new", 8*mib, 8*mib), large("more than 8 MiB of 16 MiB new", 8*mib+1, 16*mib),
		large("200 MiB of 1000 MiB new", 200*mib, 1000*mib), large("more than 200 MiB of 1000 MiB new", 200*mib+1, 1000*mib),
	},
}

// TestChoose holds what is chosen of all combinations of facts, and the reason that people are
// told, to testdata/choose.txt. A line says in words which facts there are; what it does not
// name makes no difference there.
func TestChoose(t *testing.T) {
	const file = "testdata/choose.txt"
	got := strings.Join(choices(nil), "")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the choices are\n%s\nwant\n%s", got, want)
	}
}

// choices are what is chosen of all combinations of facts that begin with these, one a line. It
// is one line if they do not differ.
func choices(known []fact) (lines []string) {
	if len(known) == len(facts) {
		return []string{line(known)}
	}
	for _, next := range facts[len(known)] {
		lines = append(lines, choices(append(known[:len(known):len(known)], next))...)
	}
	_, choice, _ := strings.Cut(lines[0], arrow)
	if slices.ContainsFunc(lines, func(l string) bool { return !strings.HasSuffix(l, arrow+choice) }) {
		return lines
	}
	return []string{words(known) + arrow + choice}
}

const arrow = " -> "

func line(known []fact) string {
	var f transport.Facts
	for _, one := range known {
		one.set(&f)
	}
	c := transport.Choose(f)
	return fmt.Sprintf("%s%s%s: %s\n", words(known), arrow, c.Transport, c.Reason)
}

func words(known []fact) string {
	var all []string
	for _, one := range known {
		all = append(all, one.words)
	}
	return strings.Join(all, ", ")
}
