// Package undotest holds implementations of [undo.Store] to the comments of that
// port ([Run]), and has one in memory ([Memory]).
package undotest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/hook"
	"holdfast.io/holdfast/internal/undo"
)

// Run is the conformance suite. open makes a place of its own for every test,
// and returns instances that share it.
func Run(t *testing.T, open func(t *testing.T) (first, second undo.Store)) {
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			first, second := open(t)
			test(t, first, second)
		})
	}
}

var tests = map[string]func(t *testing.T, a, b undo.Store){
	"what is written is there as it was": func(t *testing.T, a, b undo.Store) {
		want := []undo.Record{record(1), record(2)}
		for i := range want {
			must(t, a.Write(&want[i]))
		}
		holds(t, a, want...)
		holds(t, b, want...)
		got, err := b.Read(want[1].ID)
		must(t, err)
		if !reflect.DeepEqual(got, want[1]) {
			t.Errorf("read is\n%+v, want\n%+v", got, want[1])
		}
	},
	"a record replaces the one of its id": func(t *testing.T, a, b undo.Store) {
		r := record(1)
		must(t, a.Write(&r))
		r.Drop(undo.IsResume)
		must(t, a.Write(&r))
		r.Job = "changed by the caller, later"
		r.EndCommit("holdfast/snapshot:"+r.ID, "changed by the caller, later")
		r.ContainerMade(engine.HelperName("20260102T150405Z-0123abcd", 1, 0), "changed by the caller, later")
		want := record(1)
		want.Drop(undo.IsResume)
		holds(t, b, want)
	},
	"what is removed is gone": func(t *testing.T, a, b undo.Store) {
		first, second := record(1), record(2)
		must(t, errors.Join(a.Write(&first), a.Write(&second)))
		must(t, a.Remove(first.ID))
		holds(t, b, second)
		if _, err := b.Read(first.ID); !errors.Is(err, undo.ErrNoRecord) {
			t.Errorf("to read what is removed reports %v, want ErrNoRecord", err)
		}
	},
	"to remove what is not there is no error": func(t *testing.T, a, _ undo.Store) {
		must(t, a.Remove("none-1"))
		holds(t, a)
	},
	"several write at a time": func(t *testing.T, a, b undo.Store) {
		var all sync.WaitGroup
		var want []undo.Record
		for i := range 8 {
			r := record(uint64(i + 1))
			want = append(want, r)
			all.Go(func() {
				gone := record(uint64(100 + i))
				if err := errors.Join(a.Write(&r), b.Write(&gone), b.Remove(gone.ID)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		holds(t, a, want...)
	},
}

// record returns a record with every member set, and an action of every kind.
func record(attempt uint64) undo.Record {
	at := time.Date(2026, 1, 2, 15, 4, 5, 123456789, time.UTC)
	const point = "20260102T150405Z-0123abcd"
	container := strings.Repeat("0f", 32)
	return undo.Record{
		Version: undo.Version, ID: undo.ID(point, attempt), Job: "abcdefghijklmn27", Attempt: attempt,
		Item: events.Item{Kind: events.ItemContainer, ID: container, Name: "Web"}, Time: at,
		Actions: []undo.Action{
			{Resume: &undo.Resume{Container: container, Quiesce: events.QuiescePause, Before: events.StateRunning,
				StartedAt: at.Add(-time.Hour), Held: true}},
			{RunHook: &undo.Hook{Container: container, Command: hook.Command{Command: []string{"thaw", "-a"}, Timeout: time.Minute}}},
			{RemoveContainer: &undo.OwnContainer{Name: engine.HelperName(point, attempt, 0), ID: container}},
			{RemoveImage: &undo.Image{Reference: fmt.Sprintf("holdfast/snapshot:%s-%d", point, attempt)}},
			{Unstage: &undo.Staging{Sink: "default", Dir: "points/host/container/Web/" + point, Name: fmt.Sprint(attempt)}},
		},
	}
}

func holds(t *testing.T, s undo.Store, want ...undo.Record) {
	t.Helper()
	got, err := s.List()
	must(t, err)
	byID := func(a, b undo.Record) int { return strings.Compare(a.ID, b.ID) }
	slices.SortFunc(got, byID)
	slices.SortFunc(want, byID)
	if len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) {
		t.Errorf("the records are\n%+v, want\n%+v", got, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
