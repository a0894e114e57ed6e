// Package notestest holds implementations of [backup.Notes] to the comments of
// that port ([Run]), and has one in memory ([Memory]).
package notestest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
)

// Run is the conformance suite. open makes a place of its own for every test,
// and returns instances that share it.
func Run(t *testing.T, open func(t *testing.T) (first, second backup.Notes)) {
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			first, second := open(t)
			test(t, first, second)
		})
	}
}

var tests = map[string]func(t *testing.T, a, b backup.Notes){
	"what is written is there as it was": func(t *testing.T, a, b backup.Notes) {
		want := []backup.Note{note(1), note(2)}
		for i := range want {
			must(t, a.Write(&want[i]))
		}
		holds(t, a, want...)
		holds(t, b, want...)
	},
	"a note replaces the one of its id": func(t *testing.T, a, b backup.Notes) {
		n := note(1)
		must(t, a.Write(&n))
		n.Committed = true
		must(t, a.Write(&n))
		n.Job = "changed by the caller, later"
		want := note(1)
		want.Committed = true
		holds(t, b, want)
	},
	"what is removed is gone": func(t *testing.T, a, b backup.Notes) {
		first, second := note(1), note(2)
		must(t, errors.Join(a.Write(&first), a.Write(&second)))
		must(t, a.Remove(first.ID()))
		holds(t, b, second)
	},
	"to remove what is not there is no error": func(t *testing.T, a, _ backup.Notes) {
		must(t, a.Remove("none-1"))
		holds(t, a)
	},
	"several write at a time": func(t *testing.T, a, b backup.Notes) {
		var all sync.WaitGroup
		var want []backup.Note
		for i := range 8 {
			n := note(uint64(i + 1))
			want = append(want, n)
			all.Go(func() {
				gone := note(uint64(100 + i))
				if err := errors.Join(a.Write(&n), b.Write(&gone), b.Remove(gone.ID())); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		holds(t, a, want...)
	},
}

// note returns a note with every member set.
func note(attempt uint64) backup.Note {
	at := time.Date(2026, 1, 2, 15, 4, 5, 123456789, time.UTC)
	const point = "20260102T150405Z-0123abcd"
	return backup.Note{
		Job: "abcdefghijklmn27", Attempt: attempt, Point: point,
		Item: events.Item{Kind: events.ItemContainer, ID: strings.Repeat("0f", 32), Name: "Web"},
		Sink: "default", Dir: "points/host/container/Web/" + point, Snapshot: fmt.Sprintf("holdfast/snapshot:%s-%d", point, attempt),
		Quiesce: events.QuiescePause, Before: events.StateRunning, StartedAt: at.Add(-time.Hour), Held: true, Time: at,
	}
}

func holds(t *testing.T, n backup.Notes, want ...backup.Note) {
	t.Helper()
	got, err := n.List()
	must(t, err)
	byID := func(a, b backup.Note) int { return strings.Compare(a.ID(), b.ID()) }
	slices.SortFunc(got, byID)
	slices.SortFunc(want, byID)
	if !slices.Equal(got, want) {
		t.Errorf("the notes are\n%+v, want\n%+v", got, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
