package config_test

import (
	"fmt"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/config"
)

// Each error names the member, what it is and what it must be.
func TestCheck(t *testing.T) {
	const s = time.Second
	for want, set := range map[string]func(*config.Config){
		"slots is 0; it must be at least 1":                 func(c *config.Config) { c.Slots = 0 },
		"compression.level is 0; it must be 1 to 19":        func(c *config.Config) { c.Compression.Level = 0 },
		"compression.level is 20; it must be 1 to 19":       func(c *config.Config) { c.Compression.Level = 20 },
		`log.format is "xml"; it must be console or json`:   func(c *config.Config) { c.Log.Format = "xml" },
		"nats.replicas is 0; it must be 1 to 5":             func(c *config.Config) { c.NATS.Replicas = 0 },
		"nats.replicas is 6; it must be 1 to 5":             func(c *config.Config) { c.NATS.Replicas = 6 },
		"shutdownGrace is -1s; it must not be negative":     func(c *config.Config) { c.ShutdownGrace = -s },
		"retryFor is -1s; it must not be negative":          func(c *config.Config) { c.RetryFor = -s },
		"timeouts.job is -1s; it must not be negative":      func(c *config.Config) { c.Timeouts.Job = -s },
		"timeouts.item is -1s; it must not be negative":     func(c *config.Config) { c.Timeouts.Item = -s },
		"timeouts.progress is -1s; it must not be negative": func(c *config.Config) { c.Timeouts.Progress = -s },
		`policy.kinds holds "dance"; it must be one of ` + kinds(): func(c *config.Config) {
			c.Policy.Kinds = []events.Kind{events.Backup, "dance"}
		},
		`policy.quiesce holds "kill"; it must be pause, none or stop`: func(c *config.Config) {
			c.Policy.Quiesce = []events.Quiesce{events.QuiesceStop, "kill"}
		},
		"policy.containers.match holds \"(\": error parsing regexp: missing closing ): `(`": func(c *config.Config) {
			c.Policy.Containers.Match = []string{"web", "("}
		},
		`host.id is "a.b"; it must be letters, digits and '-', with every other byte as _XX (hex): a_2Eb`: func(c *config.Config) {
			c.Host.ID = "a.b"
		},
		`prune.after is "reboot"; it must be backup`: func(c *config.Config) { c.Prune.After = "reboot" },
		"prune.keep.weekly is -1; it must not be negative": func(c *config.Config) {
			c.Prune = config.Prune{After: "backup", Keep: config.Keep{Last: 1, Weekly: -1}}
		},
		"prune.grace is -1s and prune.keep.within 0s; they must not be negative":       func(c *config.Config) { c.Prune.Grace = -s },
		"prune.keep keeps nothing; say what stays after each backup, such as daily: 7": func(c *config.Config) { c.Prune.After = "backup" },
		"prune.keep is set, and prune.after is not, so that nothing is ever removed by it; set prune.after to backup": func(c *config.Config) {
			c.Prune.Keep.Tags = []string{"gold"}
		},
		`prune.after is backup, and policy.kinds holds no prune; add it there: ["backup" "prune"]`: func(c *config.Config) {
			c.Prune = config.Prune{After: "backup", Keep: config.Keep{Last: 1}}
			c.Policy.Kinds = []events.Kind{events.Backup}
		},
		// The first of several, always the same.
		"retryFor is -2s; it must not be negative": func(c *config.Config) {
			c.RetryFor, c.Timeouts = -2*s, config.Timeouts{Job: -s, Item: -s, Progress: -s}
		},
	} {
		c := config.Default()
		set(&c)
		if err := c.Check(); err == nil || err.Error() != want {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// What is at a bound still makes sense.
func TestCheckAcceptsBounds(t *testing.T) {
	c := config.Default()
	c.Slots, c.Compression.Level, c.NATS.Replicas, c.Host.ID = 1, 19, 5, "web-1_2E"
	c.ShutdownGrace, c.RetryFor, c.Timeouts = 0, 0, config.Timeouts{}
	c.Policy = config.Policy{Kinds: events.Kinds, Quiesce: []events.Quiesce{events.QuiescePause, events.QuiesceNone, events.QuiesceStop}}
	if err := c.Check(); err != nil {
		t.Error(err)
	}
}

func kinds() string { return fmt.Sprintf("%q", events.Kinds) }
