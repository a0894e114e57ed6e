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
	// Containers are those that may be backed up.
	Containers plan.Allowed
	// Binds are the absolute, clean paths below which bind mounts may be read.
	Binds []string
}

// Refuse implements [job.Spec].
func (s *spec) Refuse() *job.Refusal {
	if refusal := s.refuseSinks(); refusal != nil {
		return refusal
	}
	policy := s.kind.Policy
	if q := s.data.Quiesce; q != "" && !slices.Contains(policy.Quiesce, q) {
		return job.Refuse(events.ReasonPolicy, "/quiesce",
			fmt.Sprintf("host %s does not allow quiesce %s, only %q (policy.quiesce in its configuration)", s.kind.Host, q, policy.Quiesce))
	}
	return nil
}

// refuseSinks holds each sink against the configuration.
func (s *spec) refuseSinks() *job.Refusal {
	if len(s.data.Sinks) == 0 {
		return s.kind.SinkPolicy.Refuse("/sink", s.options.Sink, s.request.Target)
	}
	for n, name := range s.data.Sinks {
		if refusal := s.kind.SinkPolicy.Refuse(fmt.Sprintf("/sinks/%d", n), name, s.request.Target); refusal != nil {
			return refusal
		}
	}
	return nil
}
