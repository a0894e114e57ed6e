package present

import (
	"fmt"
	"slices"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
)

// Tally is what came of a request to all hosts.
type Tally struct {
	names    []events.Skipped // those in the request
	found    map[events.Skipped]bool
	plans    int
	outcomes []Outcome // how the jobs ended
	silent   int       // hosts that did not begin
}

// NewTally returns the tally of a request with these names, of which nothing is known
// yet.
func NewTally(names []events.Skipped) *Tally {
	return &Tally{names: names, found: map[events.Skipped]bool{}}
}

// Add enters the plan of a host, if that is what the event brings.
func (t *Tally) Add(ev event.Event) error {
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

// Ended enters how the job of a host ended.
func (t *Tally) Ended(o Outcome) { t.outcomes = append(t.outcomes, o) }

// Silent enters that a host did not begin.
func (t *Tally) Silent() { t.silent++ }

// FoundNowhere returns the names that no host has, of those that said what they
// have.
func (t *Tally) FoundNowhere() []events.Skipped {
	var missing []events.Skipped
	for _, name := range t.names {
		if t.plans > 0 && !t.found[name] {
			missing = append(missing, name)
		}
	}
	return missing
}

// Outcome is how the whole ended; absent is how many hosts were not there when they
// were asked. A name that no host has is a failure. Else it is what all jobs came to,
// and Partial if they differ and something is stored, or if nothing is known of a host.
func (t *Tally) Outcome(absent int) Outcome {
	silent := t.silent + absent
	some := slices.Contains(t.outcomes, Succeeded) || slices.Contains(t.outcomes, Partial)
	all := func(outcome Outcome) bool {
		return len(t.outcomes) > 0 && !slices.ContainsFunc(t.outcomes, func(o Outcome) bool { return o != outcome })
	}
	switch {
	case len(t.FoundNowhere()) > 0:
		return Failed
	case silent == 0 && all(Succeeded):
		return Succeeded
	case all(Cancelled):
		return Cancelled
	case !some && len(t.outcomes) > 0:
		return Failed
	}
	return Partial
}
