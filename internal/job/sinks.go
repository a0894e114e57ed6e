package job

import (
	"fmt"
	"slices"

	"holdfast.io/holdfast/events"
)

// Sinks are the sinks that the host's configuration names.
type Sinks interface {
	Has(name string) bool
	Names() []string
	// Shared reports whether any host may work on what lies in the sink.
	Shared(name string) bool
}

// SinkPolicy says which sinks requests may name, whatever their kind.
type SinkPolicy struct {
	// Host is the host's id.
	Host  string
	Sinks Sinks
	// Allowed are names of sinks; none means all.
	Allowed []string
}

// Refuse holds a sink's name in a request to a target, at a pointer, against the
// configuration. It returns nil if it is allowed.
func (p SinkPolicy) Refuse(pointer, name string, target events.Target) *Refusal {
	if !p.Sinks.Has(name) {
		return Refuse(events.ReasonUnknownSink, pointer,
			fmt.Sprintf("no sink %q is configured on host %s; there are: %q", name, p.Host, p.Sinks.Names()))
	}
	if len(p.Allowed) > 0 && !slices.Contains(p.Allowed, name) {
		return Refuse(events.ReasonPolicy, pointer,
			fmt.Sprintf("host %s does not allow sink %q to requests, only %q (policy.sinks in its configuration)", p.Host, name, p.Allowed))
	}
	if target == events.TargetAny && !p.Sinks.Shared(name) {
		return Refuse(events.ReasonPolicy, pointer,
			fmt.Sprintf("sink %q of host %s is not declared to be shared (shared: true in its configuration), and a request to any host "+
				"may only name one that is: ask the host itself", name, p.Host))
	}
	return nil
}
