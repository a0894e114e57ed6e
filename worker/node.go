package main

import (
	"context"
	"maps"
	"regexp"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/config"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/job/backupjob"
	"holdfast.io/holdfast/internal/node"
	"holdfast.io/holdfast/internal/plan"
	"holdfast.io/holdfast/internal/sink/open"
	"holdfast.io/holdfast/internal/state"
)

// nodeOptions turns the settings into those of a worker in this process.
func nodeOptions(cfg *config.Config, log *zap.Logger) node.Options {
	return node.Options{
		StateDir: cfg.StateDir, NATS: busOptions(cfg), DockerHost: cfg.Docker.Host, HelperImage: cfg.Helper.Image, HostID: cfg.Host.ID,
		Sinks: sinkConfigs(cfg), MakeSink: usesStateDirSink(cfg),
		Slots: cfg.Slots, Compression: codec.Compression{Level: cfg.Compression.Level},
		Prime: cfg.Push.Prime,
		Kinds: cfg.Policy.Kinds, AllowedSinks: cfg.Policy.Sinks, Policy: backupPolicy(cfg.Policy),
		Hooks: cfg.Policy.Hooks, HookOutput: cfg.Policy.HookOutput,
		PruneAfter:   pruneAfter(cfg.Prune),
		Timeouts:     job.Timeouts{Job: cfg.Timeouts.Job, Item: cfg.Timeouts.Item},
		StallTimeout: cfg.Timeouts.Progress, RetryFor: cfg.RetryFor, ShutdownGrace: cfg.ShutdownGrace,
		Version: programVersion(), Log: log,
	}
}

// backupPolicy is the policy of backups as the worker applies it.
func backupPolicy(p config.Policy) backupjob.Policy {
	rules := backupjob.Policy{Quiesce: p.Quiesce, Containers: plan.Allowed{Labels: p.Containers.Labels}, Binds: p.Binds}
	for _, m := range p.Containers.Match {
		rules.Containers.Match = append(rules.Containers.Match, regexp.MustCompile(m)) // checked at the start
	}
	return rules
}

// pruneAfter is what is removed after each backup.
func pruneAfter(p config.Prune) *backupjob.PruneAfter {
	if p.After != config.AfterBackup {
		return nil
	}
	after := &backupjob.PruneAfter{Grace: p.Grace.String(), Keep: events.Keep{
		Last: p.Keep.Last, Hourly: p.Keep.Hourly, Daily: p.Keep.Daily, Weekly: p.Keep.Weekly, Monthly: p.Keep.Monthly,
		Yearly: p.Keep.Yearly, Tags: p.Keep.Tags,
	}}
	if p.Keep.Within > 0 {
		after.Keep.Within = p.Keep.Within.String()
	}
	return after
}

// sinkConfigs returns the configured sinks. What --sink says is the default one.
func sinkConfigs(cfg *config.Config) map[string]open.Config {
	sinks := map[string]open.Config{}
	maps.Copy(sinks, cfg.Sinks)
	if cfg.Sink != "" && !cfg.NamesSink() {
		sinks[events.DefaultSink] = open.Config{URL: cfg.Sink}
	}
	if usesStateDirSink(cfg) {
		sinks[events.DefaultSink] = open.Config{URL: state.DefaultSink(cfg.StateDir)}
	}
	for name, c := range sinks {
		if c.IdentityFile == "" && len(c.IdentityCommand) == 0 {
			c.IdentityFile = cfg.IdentityFile
			sinks[name] = c
		}
	}
	return sinks
}

// usesStateDirSink reports whether no sink is configured at all.
func usesStateDirSink(cfg *config.Config) bool { return cfg.Sink == "" && len(cfg.Sinks) == 0 }

// connectConfigured connects to the configured NATS server.
func connectConfigured(ctx context.Context, cfg *config.Config, log *zap.Logger) (*bus.Bus, error) {
	options := busOptions(cfg)
	options.Logger = log
	return bus.Connect(ctx, options)
}

// busOptions is how the configured NATS server is reached.
func busOptions(cfg *config.Config) bus.Options {
	return bus.Options{
		URL: cfg.NATS.URL, User: cfg.NATS.User, Password: cfg.NATS.Password, Token: cfg.NATS.Token,
		CredentialsFile: cfg.NATS.CredentialsFile,
		TLS:             bus.TLS{CA: cfg.NATS.TLS.CA, Cert: cfg.NATS.TLS.Cert, Key: cfg.NATS.TLS.Key},
		Name:            "holdfast",
		InboxPrefix:     cfg.NATS.InboxPrefix,
	}
}
