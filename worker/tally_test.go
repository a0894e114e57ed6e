package main

import (
	"errors"
	"slices"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
)

// statusOf returns an error as an exit status.
func statusOf(err error) int {
	if err == nil {
		return 0
	}
	if exit, ok := errors.AsType[*exitError](err); ok {
		return exit.status
	}
	return exitFailed
}

func TestTallyDecidesTheExitStatus(t *testing.T) {
	for name, test := range map[string]struct {
		statuses       []int
		silent, absent int
		want           int
	}{
		"all succeeded":               {[]int{0, 0}, 0, 0, 0},
		"one partial":                 {[]int{0, exitPartial}, 0, 0, exitPartial},
		"one failed":                  {[]int{0, exitFailed}, 0, 0, exitPartial},
		"all failed":                  {[]int{exitFailed, exitFailed}, 0, 0, exitFailed},
		"all cancelled":               {[]int{exitCancelled, exitCancelled}, 0, 0, exitCancelled},
		"one cancelled":               {[]int{0, exitCancelled}, 0, 0, exitPartial},
		"none succeeded":              {[]int{exitFailed, exitCancelled}, 0, 0, exitFailed},
		"one absent":                  {[]int{0}, 0, 1, exitPartial},
		"one did not begin":           {[]int{0}, 1, 0, exitPartial},
		"nobody is there":             {nil, 0, 2, exitPartial},
		"failed and one did not come": {[]int{exitFailed}, 1, 0, exitFailed},
	} {
		tally := newTally(&events.BackupRequest{})
		for _, s := range test.statuses {
			tally.ended(s)
		}
		tally.silent = test.silent
		if got := statusOf(tally.exit(test.absent)); got != test.want {
			t.Errorf("%s: exit status %d, want %d", name, got, test.want)
		}
	}
}

func TestTallyFindsNamesThatNoHostHas(t *testing.T) {
	container := func(name string) events.Skipped { return events.Skipped{Kind: events.ItemContainer, Name: name} }
	image := events.Skipped{Kind: events.ItemImage, Name: "a"}
	req := &events.BackupRequest{
		Containers: &events.ContainerSelector{Names: []string{"a", "b"}},
		Images:     &events.ImageSelector{Names: []string{"a"}},
	}
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
		tally := newTally(req)
		for _, skipped := range test.skipped {
			ev := event.New()
			ev.SetType(events.Backup.ResultType(events.ResultAccepted))
			if err := ev.SetData(event.ApplicationJSON, events.Accepted{Plan: events.Plan{Skipped: skipped}}); err != nil {
				t.Fatal(err)
			}
			if err := tally.heard(ev); err != nil {
				t.Fatal(err)
			}
			tally.ended(0)
		}
		if got := tally.foundNowhere(); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
		if got := statusOf(tally.exit(0)); (got == exitFailed) != (test.want != nil) {
			t.Errorf("%s: exit status %d", name, got)
		}
	}
}
