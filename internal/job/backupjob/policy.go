package backupjob

import (
	"fmt"
	"slices"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/plan"
)

// Policy is what the host's configuration allows a backup request.
type Policy struct {
	// Quiesce are the allowed modes.
	Quiesce []events.Quiesce
	// Sinks are the names of the sinks that requests may name; nil means all.
	Sinks []string
	// Containers are those that may be backed up.
	Containers plan.Allowed
}

// Refuse implements [job.Spec].
func (s *spec) Refuse() *job.Refusal {
	host, policy, sinks, name := s.kind.Host, s.kind.Policy, s.kind.Sinks, s.options.Sink
	if !sinks.Has(name) {
		return job.Refuse(events.ReasonUnknownSink, "/sink",
			fmt.Sprintf("no sink %q is configured on host %s; there are: %q", name, host, sinks.Names()))
	}
	if policy.Sinks != nil && !slices.Contains(policy.Sinks, name) {
		return job.Refuse(events.ReasonPolicy, "/sink",
			fmt.Sprintf("host %s does not allow sink %q to requests, only %q (policy.sinks in its configuration)", host, name, policy.Sinks))
	}
	if q := s.data.Quiesce; q != "" && !slices.Contains(policy.Quiesce, q) {
		return job.Refuse(events.ReasonPolicy, "/quiesce",
			fmt.Sprintf("host %s does not allow quiesce %s, only %q (policy.quiesce in its configuration)", host, q, policy.Quiesce))
	}
	return nil
}
