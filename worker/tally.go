package main

import (
	"fmt"
	"slices"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
)

// tally is what came of a request to all hosts.
type tally struct {
	names    []events.Skipped // those in the request
	found    map[events.Skipped]bool
	plans    int
	statuses []int // how the jobs ended, as exit statuses
	silent   int   // hosts that did not begin
}

func newTally(req *events.BackupRequest) *tally {
	t := &tally{found: map[events.Skipped]bool{}}
	if req.Containers != nil {
		for _, name := range req.Containers.Names {
			t.names = append(t.names, events.Skipped{Kind: events.ItemContainer, Name: name})
		}
	}
	if req.Images != nil {
		for _, name := range req.Images.Names {
			t.names = append(t.names, events.Skipped{Kind: events.ItemImage, Name: name})
		}
	}
	return t
}

// heard enters the plan of a host, if that is what the event brings.
func (t *tally) heard(ev event.Event) error {
	if r := events.ResultOf(ev.Type()); r != events.ResultAccepted && r != events.ResultPlanned {
		return nil
	}
	var plan events.Plan
	if err := ev.DataAs(&plan); err != nil {
		return fmt.Errorf("read event %s: %w", ev.Type(), err)
	}
	t.plans++
	for _, name := range t.names {
		// A name that may be among those left out of the list gets the benefit of
		// the doubt.
		if !slices.Contains(plan.Skipped, name) {
			t.found[name] = true
		}
	}
	return nil
}

func (t *tally) ended(status int) { t.statuses = append(t.statuses, status) }

// foundNowhere returns the names that no host has, of those that said what they
// have.
func (t *tally) foundNowhere() []events.Skipped {
	var missing []events.Skipped
	for _, name := range t.names {
		if t.plans > 0 && !t.found[name] {
			missing = append(missing, name)
		}
	}
	return missing
}

// exit is the exit status of the whole; absent is how many hosts were not there
// when they were asked.
func (t *tally) exit(absent int) error {
	silent := t.silent + absent
	some := slices.Contains(t.statuses, 0) || slices.Contains(t.statuses, exitPartial)
	all := func(status int) bool {
		return len(t.statuses) > 0 && !slices.ContainsFunc(t.statuses, func(s int) bool { return s != status })
	}
	switch {
	case len(t.foundNowhere()) > 0:
		return &exitError{status: exitFailed}
	case silent == 0 && all(0):
		return nil
	case all(exitCancelled):
		return &exitError{status: exitCancelled}
	case !some && len(t.statuses) > 0:
		return &exitError{status: exitFailed}
	}
	return &exitError{status: exitPartial}
}
