package plan

import (
	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// EngineWarnings says what no point of this Engine holds, and no other would lack.
func EngineWarnings(a engine.About) []events.Warning {
	if !a.NaiveDiff {
		return nil
	}
	return events.Warn(nil, events.WarningNaiveDiff, "the Engine's storage driver %s does not see all changes: a file that is written again "+
		"with the same size, time, mode and owner as in the image is in the point as the image has it", a.Store)
}

// warningsOf says what somebody should look at before the container is backed up.
func warningsOf(c engine.Container) []events.Warning {
	warnings := unknownLabels(c)
	if c.Labels["com.docker.swarm.task.id"] != "" {
		warnings = events.Warn(warnings, events.WarningSwarmTask,
			"container %s is a task of a swarm service: its secrets and configs are not in the point", c.Name)
	}
	return warnings
}
