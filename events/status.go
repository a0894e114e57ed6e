package events

import "time"

// Role is what a worker is to its host.
type Role string

// The roles of a worker.
const (
	// RoleServing is the one worker that takes the host's requests.
	RoleServing Role = "serving"
	// RoleStandby is a worker that takes over when the one that serves is gone.
	RoleStandby Role = "standby"
)

// HostStatus is the answer of a worker to whoever asks on [StatusSubject]. It is
// plain JSON, not a CloudEvent. It names no
// container, no place of a sink and nothing of the environment.
type HostStatus struct {
	Host string `json:"host"`
	Role Role   `json:"role"`
	// Owner is the worker process, by an id of its own.
	Owner   string     `json:"owner"`
	Version string     `json:"version"`
	Engine  HostEngine `json:"engine"`
	// Since is when the worker got its role.
	Since time.Time `json:"since"`
	// Slots is how many items the worker works on at a time, Busy how many it
	// works on at this moment.
	Slots int `json:"slots"`
	Busy  int `json:"busy"`
	// Jobs are the ids of the jobs that run.
	Jobs []string `json:"jobs"`
	// Sinks are the names of the configured sinks.
	Sinks []string `json:"sinks"`
	// Kinds are the kinds of request that the worker carries out.
	Kinds []Kind `json:"kinds"`
}

// HostEngine is the Docker Engine of a host.
type HostEngine struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// Store is what keeps the Engine's images.
	Store string `json:"store"`
}
