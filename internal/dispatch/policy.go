package dispatch

import (
	"fmt"
	"slices"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/plan"
)

// Policy is what the host's configuration allows a request.
type Policy struct {
	// Kinds are the kinds of request that are carried out.
	Kinds []events.Kind
	// Quiesce are the allowed modes.
	Quiesce []events.Quiesce
	// Sinks are the names of the sinks that requests may name; nil means all.
	Sinks []string
	// Containers are those that may be backed up.
	Containers plan.Allowed
}

func (p Policy) allowsKind(k events.Kind) bool { return slices.Contains(p.Kinds, k) }

// refuse holds a job without a plan against the time and the host's
// configuration. What was accepted before is carried to its end.
func (j *job) refuse(now time.Time) *rejection {
	if j.claim.Plan() != nil || len(j.claim.Terminal()) > 0 || j.claim.Cancelled() {
		return nil
	}
	r := j.expired(now)
	if r == nil {
		r = j.forbidden()
	}
	if r != nil {
		r.claim = j.claim
	}
	return r
}

func (j *job) forbidden() *rejection {
	if !j.Sinks.Has(j.sink) {
		return j.rejected(events.ReasonUnknownSink, events.Violation{Pointer: "/sink",
			Message: fmt.Sprintf("no sink %q is configured on host %s; there are: %q", j.sink, j.Host, j.Sinks.Names())})
	}
	if j.Policy.Sinks != nil && !slices.Contains(j.Policy.Sinks, j.sink) {
		return j.rejected(events.ReasonPolicy, events.Violation{Pointer: "/sink",
			Message: fmt.Sprintf("host %s does not allow sink %q to requests, only %q (policy.sinks in its configuration)", j.Host, j.sink, j.Policy.Sinks)})
	}
	if q := j.backupData.Quiesce; q != "" && !slices.Contains(j.Policy.Quiesce, q) {
		return j.rejected(events.ReasonPolicy, events.Violation{Pointer: "/quiesce",
			Message: fmt.Sprintf("host %s does not allow quiesce %s, only %q (policy.quiesce in its configuration)", j.Host, q, j.Policy.Quiesce)})
	}
	return nil
}
