package main

import (
	"maps"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/state"
)

// sinkLocations returns the configured sinks by name. What --sink says is the
// default one.
func (c *config) sinkLocations() map[string]string {
	locations := maps.Clone(c.Sinks)
	if locations == nil {
		locations = map[string]string{}
	}
	if c.Sink != "" {
		locations[events.DefaultSink] = c.Sink
	}
	if c.usesStateDirSink() {
		locations[events.DefaultSink] = state.DefaultSink(c.StateDir)
	}
	return locations
}

// usesStateDirSink reports whether no sink is configured at all.
func (c *config) usesStateDirSink() bool { return c.Sink == "" && len(c.Sinks) == 0 }
