// Package node is one worker process put together: the state dir, the message
// server if it is our own, the Engine, the sinks, and the worker that serves the
// host while this process holds its lease.
package node

import (
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/job/backupjob"
	"holdfast.io/holdfast/internal/sink/open"
)

// Options are the settings of a node.
type Options struct {
	StateDir string
	// NATS is the message server; without a URL the node runs one of its own.
	NATS bus.Options
	// DockerHost is the Engine's address; empty means what the docker command uses.
	DockerHost string
	// Engine is served in place of the one at DockerHost: one that is not Docker's,
	// as a simulated host has. The node does not close it. It may be nil.
	Engine engine.Engine
	// HelperImage is an image on the Engine that helpers are made from; empty for none.
	HelperImage string
	// HostID is the host's id; empty means the Engine's own name.
	HostID string
	// Sinks are the sinks by name.
	Sinks map[string]open.Config
	// MakeSink has the default sink's folder in the state dir made.
	MakeSink bool
	// Slots is how many items are worked on at a time.
	Slots       int
	Compression codec.Compression
	// Prime has the Engine learn bases while no job runs.
	Prime bool
	// Kinds are the kinds of request that the host takes, and AllowedSinks the names of
	// the sinks that they may name; none means all.
	Kinds        []events.Kind
	AllowedSinks []string
	// Policy is what the host allows backups.
	Policy backupjob.Policy
	// PruneAfter is what is removed after a backup; nil for nothing.
	PruneAfter *backupjob.PruneAfter
	// Hooks lets the labels of containers name commands that run inside them.
	Hooks bool
	// HookOutput lets the last line out that a failing command wrote.
	HookOutput bool
	Timeouts   job.Timeouts
	// StallTimeout bounds how long an item may be without progress; 0 means no bound.
	StallTimeout time.Duration
	// RetryFor is how long a job waits for an Engine or a sink that is away.
	RetryFor time.Duration
	// ShutdownGrace is how long running jobs may go on after the end was asked for.
	ShutdownGrace time.Duration
	// Wait has the node wait for an Engine, a message server, and another process
	// with the same state dir, rather than fail.
	Wait bool
	// Version is the program's.
	Version string
	Log     *zap.Logger
}
