package job

import (
	"context"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
)

// Follower is a Spec whose job has others follow it.
type Follower interface {
	// Follow returns the requests that follow a job, by what came of its items. It is
	// pure: of a job that is repeated it returns the same, with the same identities, so
	// that what is asked for twice is done once.
	Follow(job string, outcomes []events.ItemOutcome) ([]events.Message, error)
}

// follow publishes the requests that follow the job. That has ended then, and its own
// request is not acknowledged yet: if the worker dies in between, they are published
// again. What cannot be published costs the job nothing; an error means that the worker
// stops.
func (a *Attempt) follow() error {
	f, ok := a.spec.(Follower)
	if !ok || a.options.DryRun {
		return nil
	}
	requests, err := a.following(f)
	for _, m := range requests {
		if err == nil {
			err = a.runner.send(a.base, m)
		}
	}
	if a.base.Err() != nil {
		return context.Cause(a.base)
	}
	if err != nil {
		a.Log.Error("what should follow the job could not be asked for", zap.Error(err))
	}
	return nil
}

func (a *Attempt) following(f Follower) ([]events.Message, error) {
	outcomes := a.outcomes
	if outcomes == nil { // the job is repeated
		for _, raw := range a.claim.Outcomes() {
			o, _, err := decodeOutcome(a.request.Job, raw)
			if err != nil {
				return nil, err
			}
			outcomes = append(outcomes, o)
		}
	}
	return f.Follow(a.request.Job, outcomes)
}
