package dispatch

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/plan"
)

func TestConclude(t *testing.T) {
	type items = string // c completed, f failed, x cancelled, s skipped
	cases := map[string]struct {
		items   items
		missing int
		abort   bool
		cause   error
		want    events.Status
		message string
	}{
		"all stored":                            {"cc", 0, false, nil, events.StatusSucceeded, ""},
		"nothing to do":                         {"", 0, false, nil, events.StatusSucceeded, ""},
		"nothing to do, and nothing aborted":    {"", 0, true, nil, events.StatusSucceeded, ""},
		"one failed":                            {"cf", 0, false, nil, events.StatusPartial, ""},
		"one missing":                           {"c", 1, false, nil, events.StatusPartial, ""},
		"all failed":                            {"ff", 0, false, nil, events.StatusFailed, "nothing could be stored"},
		"all missing":                           {"", 2, false, nil, events.StatusFailed, "nothing could be stored"},
		"aborted before anything was touched":   {"ss", 1, true, nil, events.StatusFailed, "aborted"},
		"aborted in the middle":                 {"cfs", 0, true, nil, events.StatusFailed, "aborted"},
		"aborted by the last":                   {"ccf", 0, true, nil, events.StatusFailed, "aborted"},
		"cancelled":                             {"cxs", 0, false, backup.ErrCancelled, events.StatusCancelled, "cancelled"},
		"cancelled before anything began":       {"ss", 0, false, backup.ErrCancelled, events.StatusCancelled, "cancelled"},
		"cancelled after an error":              {"cfs", 0, true, backup.ErrCancelled, events.StatusCancelled, "cancelled"},
		"cancelled too late":                    {"cc", 0, false, backup.ErrCancelled, events.StatusSucceeded, ""},
		"cancelled too late for what failed":    {"cf", 0, false, backup.ErrCancelled, events.StatusPartial, ""},
		"cancelled too late, and all failed":    {"f", 0, false, backup.ErrCancelled, events.StatusFailed, "nothing could be stored"},
		"timed out":                             {"fs", 0, false, backup.ErrTimeout, events.StatusFailed, "timeout"},
		"timed out in the middle":               {"cfs", 0, false, backup.ErrTimeout, events.StatusPartial, ""},
		"timed out in the middle, and to abort": {"cfs", 0, true, backup.ErrTimeout, events.StatusFailed, "timeout"},
		"timed out too late":                    {"cc", 0, false, backup.ErrTimeout, events.StatusSucceeded, ""},
	}
	statuses := map[rune]events.ItemStatus{'c': events.ItemCompleted, 'f': events.ItemFailed, 'x': events.ItemCancelled, 's': events.ItemSkipped}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var outcomes []events.ItemOutcome
			for _, letter := range c.items {
				outcomes = append(outcomes, events.ItemOutcome{Status: statuses[letter]})
			}
			p := &plan.Plan{Missing: make([]events.Missing, c.missing), Excluded: make([]events.Excluded, 3)}
			got := conclude(p, outcomes, c.abort, c.cause)
			if got.Status != c.want || (got.Message == "") != (c.message == "") || !strings.Contains(got.Message, c.message) {
				t.Errorf("it ended %s, %q; want %s, %q", got.Status, got.Message, c.want, c.message)
			}
			want := events.Counts{
				Items: len(c.items), Missing: c.missing, Excluded: 3,
				Completed: strings.Count(c.items, "c"), Failed: strings.Count(c.items, "f"),
				Cancelled: strings.Count(c.items, "x"), Skipped: strings.Count(c.items, "s"),
			}
			if got.Counts != want {
				t.Errorf("the counts are %+v, want %+v", got.Counts, want)
			}
		})
	}
}

func TestConcludeWithoutPlan(t *testing.T) {
	for cause, want := range map[error]events.Status{
		backup.ErrCancelled: events.StatusCancelled,
		backup.ErrTimeout:   events.StatusFailed,
	} {
		got := conclude(nil, nil, false, cause)
		if got.Status != want || got.Message != cause.Error() || got.Items == nil || got.Missing == nil {
			t.Errorf("after %v it ended as %+v, want %s", cause, got, want)
		}
	}
}

func TestConcludeAddsUp(t *testing.T) {
	outcomes := []events.ItemOutcome{
		{Status: events.ItemCompleted, Size: 10, UncompressedSize: 100, NotIncluded: make([]events.NotIncluded, 2)},
		{Status: events.ItemCompleted, Size: 5, UncompressedSize: 50, NotIncluded: make([]events.NotIncluded, 1)},
		{Status: events.ItemFailed},
	}
	got := conclude(&plan.Plan{}, outcomes, false, nil)
	if got.Bytes != 15 || got.UncompressedBytes != 150 || got.NotIncluded != 3 || !reflect.DeepEqual(got.Items, outcomes) {
		t.Errorf("it adds up to %+v", got)
	}
}

// The lists of an event are bounded, and what is left out is counted.
func TestListsAreBounded(t *testing.T) {
	const n = events.MaxListed + 7
	p := &plan.Plan{Items: make([]plan.Item, n), Missing: make([]events.Missing, n), Excluded: make([]events.Excluded, n)}
	short := shorten(p.Public())
	if len(short.Items) != events.MaxListed || len(short.Missing) != events.MaxListed || len(short.Excluded) != events.MaxListed ||
		short.ItemsOmitted != 7 || short.MissingOmitted != 7 || short.ExcludedOmitted != 7 {
		t.Errorf("listed are %d, %d and %d, omitted %d, %d and %d", len(short.Items), len(short.Missing), len(short.Excluded),
			short.ItemsOmitted, short.MissingOmitted, short.ExcludedOmitted)
	}
	got := conclude(p, make([]events.ItemOutcome, n), false, errors.New("any"))
	if len(got.Items) != events.MaxListed || got.ItemsOmitted != 7 || got.Counts.Items != n || got.MissingOmitted != 7 {
		t.Errorf("the end lists %d items of %d, omits %d, and %d missing names", len(got.Items), got.Counts.Items, got.ItemsOmitted, got.MissingOmitted)
	}
	if list, omitted := first[int](nil); list == nil || omitted != 0 {
		t.Errorf("no list becomes %v, %d omitted", list, omitted)
	}
}
