package present

import (
	"slices"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
)

func TestTallyDecidesTheOutcome(t *testing.T) {
	for name, test := range map[string]struct {
		outcomes       []Outcome
		silent, absent int
		want           Outcome
	}{
		"all succeeded":               {[]Outcome{Succeeded, Succeeded}, 0, 0, Succeeded},
		"one partial":                 {[]Outcome{Succeeded, Partial}, 0, 0, Partial},
		"one failed":                  {[]Outcome{Succeeded, Failed}, 0, 0, Partial},
		"all failed":                  {[]Outcome{Failed, Failed}, 0, 0, Failed},
		"all cancelled":               {[]Outcome{Cancelled, Cancelled}, 0, 0, Cancelled},
		"one cancelled":               {[]Outcome{Succeeded, Cancelled}, 0, 0, Partial},
		"none succeeded":              {[]Outcome{Failed, Cancelled}, 0, 0, Failed},
		"one absent":                  {[]Outcome{Succeeded}, 0, 1, Partial},
		"one did not begin":           {[]Outcome{Succeeded}, 1, 0, Partial},
		"nobody is there":             {nil, 0, 2, Partial},
		"failed and one did not come": {[]Outcome{Failed}, 1, 0, Failed},
	} {
		tally := NewTally(nil)
		for _, o := range test.outcomes {
			tally.Ended(o)
		}
		for range test.silent {
			tally.Silent()
		}
		if got := tally.Outcome(test.absent); got != test.want {
			t.Errorf("%s: outcome %d, want %d", name, got, test.want)
		}
	}
}

func TestTallyFindsNamesThatNoHostHas(t *testing.T) {
	container := func(name string) events.Skipped { return events.Skipped{Kind: events.ItemContainer, Name: name} }
	image := events.Skipped{Kind: events.ItemImage, Name: "a"}
	names := []events.Skipped{container("a"), container("b"), image}
	for name, test := range map[string]struct {
		skipped [][]events.Skipped // by each host
		want    []events.Skipped
	}{
		"nobody said anything":    {nil, nil},
		"everywhere":              {[][]events.Skipped{{}, {}}, nil},
		"each somewhere":          {[][]events.Skipped{{container("a"), image}, {container("b")}}, nil},
		"one nowhere":             {[][]events.Skipped{{container("b")}, {container("a"), container("b")}}, []events.Skipped{container("b")}},
		"the image, not its name": {[][]events.Skipped{{image}}, []events.Skipped{image}},
	} {
		tally := NewTally(names)
		for _, skipped := range test.skipped {
			ev := event.New()
			ev.SetType(events.Backup.ResultType(events.ResultAccepted))
			if err := ev.SetData(event.ApplicationJSON, events.Accepted{Plan: events.Plan{Skipped: skipped}}); err != nil {
				t.Fatal(err)
			}
			if err := tally.Add(ev); err != nil {
				t.Fatal(err)
			}
			tally.Ended(Succeeded)
		}
		if got := tally.FoundNowhere(); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
		if got := tally.Outcome(0); (got == Failed) != (test.want != nil) {
			t.Errorf("%s: outcome %d", name, got)
		}
	}
}
