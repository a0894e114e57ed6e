package main

import (
	"go.uber.org/zap"

	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/node"
)

// nodeOptions turns the settings into those of a worker in this process.
func nodeOptions(cfg *config, log *zap.Logger) node.Options {
	return node.Options{
		StateDir: cfg.StateDir, NATS: cfg.busOptions(), DockerHost: cfg.Docker.Host, HostID: cfg.Host.ID,
		Sinks: cfg.sinks(), MakeSink: cfg.usesStateDirSink(),
		Slots: cfg.Slots, Compression: codec.Compression{Level: cfg.Compression.Level},
		Kinds: cfg.Policy.Kinds, Policy: cfg.Policy.rules(), Hooks: cfg.Policy.Hooks, HookOutput: cfg.Policy.HookOutput,
		Timeouts:     job.Timeouts{Job: cfg.Timeouts.Job, Item: cfg.Timeouts.Item},
		StallTimeout: cfg.Timeouts.Progress, RetryFor: cfg.RetryFor, ShutdownGrace: cfg.ShutdownGrace,
		Version: programVersion(), Log: log,
	}
}
