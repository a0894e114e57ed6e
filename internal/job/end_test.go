package job

import (
	"reflect"
	"strings"
	"testing"

	"holdfast.io/holdfast/events"
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
		"all failed":                            {"ff", 0, false, nil, events.StatusFailed, "no item succeeded"},
		"all missing":                           {"", 2, false, nil, events.StatusFailed, "no item succeeded"},
		"aborted before anything was touched":   {"ss", 1, true, nil, events.StatusFailed, "aborted"},
		"aborted in the middle":                 {"cfs", 0, true, nil, events.StatusFailed, "aborted"},
		"aborted by the last":                   {"ccf", 0, true, nil, events.StatusFailed, "aborted"},
		"cancelled":                             {"cxs", 0, false, ErrCancelled, events.StatusCancelled, "cancelled"},
		"cancelled before anything began":       {"ss", 0, false, ErrCancelled, events.StatusCancelled, "cancelled"},
		"cancelled after an error":              {"cfs", 0, true, ErrCancelled, events.StatusCancelled, "cancelled"},
		"cancelled too late":                    {"cc", 0, false, ErrCancelled, events.StatusSucceeded, ""},
		"cancelled too late for what failed":    {"cf", 0, false, ErrCancelled, events.StatusPartial, ""},
		"cancelled too late, and all failed":    {"f", 0, false, ErrCancelled, events.StatusFailed, "no item succeeded"},
		"timed out":                             {"fs", 0, false, ErrTimeout, events.StatusFailed, "timeout"},
		"timed out in the middle":               {"cfs", 0, false, ErrTimeout, events.StatusPartial, ""},
		"timed out in the middle, and to abort": {"cfs", 0, true, ErrTimeout, events.StatusFailed, "timeout"},
		"timed out too late":                    {"cc", 0, false, ErrTimeout, events.StatusSucceeded, ""},
	}
	statuses := map[rune]events.ItemStatus{'c': events.OutcomeCompleted, 'f': events.OutcomeFailed,
		'x': events.OutcomeCancelled, 's': events.OutcomeSkipped}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var outcomes []events.ItemOutcome
			for _, letter := range c.items {
				outcomes = append(outcomes, events.ItemOutcome{Status: statuses[letter]})
			}
			p := &events.Plan{Missing: make([]events.Missing, c.missing), Excluded: make([]events.Excluded, 3)}
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
		ErrCancelled: events.StatusCancelled,
		ErrTimeout:   events.StatusFailed,
	} {
		got := conclude(nil, nil, false, cause)
		if got.Status != want || got.Message != cause.Error() {
			t.Errorf("after %v it ended as %+v, want %s", cause, got, want)
		}
	}
}

func TestConcludeAddsUp(t *testing.T) {
	outcomes := []events.ItemOutcome{
		{Status: events.OutcomeCompleted, Size: 10, UncompressedSize: 100, NotIncluded: make([]events.NotIncluded, 2)},
		{Status: events.OutcomeCompleted, Size: 5, UncompressedSize: 50, NotIncluded: make([]events.NotIncluded, 1)},
		{Status: events.OutcomeFailed},
	}
	got := conclude(&events.Plan{}, outcomes, false, nil)
	if got.Bytes != 15 || got.UncompressedBytes != 150 || got.NotIncluded != 3 || !reflect.DeepEqual(got.Items, outcomes) {
		t.Errorf("it adds up to %+v", got)
	}
}
