package config

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"time"

	"holdfast.io/holdfast/events"
)

// Check returns what makes no sense, with the name of the member, what it is and what
// it must be. A sink is checked where it is opened.
func (c *Config) Check() error {
	switch {
	case c.Slots < 1:
		return fmt.Errorf("slots is %d; it must be at least 1", c.Slots)
	case c.Compression.Level < 1 || c.Compression.Level > 19:
		return fmt.Errorf("compression.level is %d; it must be 1 to 19", c.Compression.Level)
	case c.Log.Format != "console" && c.Log.Format != "json":
		return fmt.Errorf("log.format is %q; it must be console or json", c.Log.Format)
	case c.NATS.Replicas < 1 || c.NATS.Replicas > 5:
		return fmt.Errorf("nats.replicas is %d; it must be 1 to 5", c.NATS.Replicas)
	case c.Host.ID != "" && !events.ValidHostID(c.Host.ID):
		return fmt.Errorf("host.id is %q; it must be letters, digits and '-', with every other byte as _XX (hex): %s",
			c.Host.ID, events.HostID(c.Host.ID))
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"shutdownGrace", c.ShutdownGrace}, {"retryFor", c.RetryFor}, {"timeouts.job", c.Timeouts.Job},
		{"timeouts.item", c.Timeouts.Item}, {"timeouts.progress", c.Timeouts.Progress},
	} {
		if d.value < 0 {
			return fmt.Errorf("%s is %s; it must not be negative", d.name, d.value)
		}
	}
	if err := c.Policy.check(); err != nil {
		return err
	}
	return c.checkPrune()
}

func (p Policy) check() error {
	for _, k := range p.Kinds {
		if !slices.Contains(events.Kinds, k) {
			return fmt.Errorf("policy.kinds holds %q; it must be one of %q", k, events.Kinds)
		}
	}
	for _, q := range p.Quiesce {
		if !slices.Contains([]events.Quiesce{events.QuiescePause, events.QuiesceNone, events.QuiesceStop}, q) {
			return fmt.Errorf("policy.quiesce holds %q; it must be pause, none or stop", q)
		}
	}
	for _, b := range p.Binds {
		if !path.IsAbs(b) || path.Clean(b) != b {
			return fmt.Errorf("policy.binds holds %q; it must be an absolute path without \"..\", \".\" and a slash at its end", b)
		}
	}
	for _, m := range p.Containers.Match {
		if _, err := regexp.Compile(m); err != nil {
			return fmt.Errorf("policy.containers.match holds %q: %w", m, err)
		}
	}
	return nil
}
