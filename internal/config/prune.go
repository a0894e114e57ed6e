package config

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"holdfast.io/holdfast/events"
)

// Prune is which points are removed without being asked for.
type Prune struct {
	// After is when: AfterBackup, or empty for never.
	After string `yaml:"after" env:"AFTER"`
	// Keep is what stays, of each thing that was backed up.
	Keep Keep `yaml:"keep" envPrefix:"KEEP_"`
	// Grace is how long a removed point can be taken back.
	Grace time.Duration `yaml:"grace" env:"GRACE"`
}

// AfterBackup has points removed after each backup, of what it has stored.
const AfterBackup = "backup"

// Keep is as the member keep of a request to prune.
type Keep struct {
	Last    int           `yaml:"last" env:"LAST"`
	Hourly  int           `yaml:"hourly" env:"HOURLY"`
	Daily   int           `yaml:"daily" env:"DAILY"`
	Weekly  int           `yaml:"weekly" env:"WEEKLY"`
	Monthly int           `yaml:"monthly" env:"MONTHLY"`
	Yearly  int           `yaml:"yearly" env:"YEARLY"`
	Within  time.Duration `yaml:"within" env:"WITHIN"`
	Tags    []string      `yaml:"tags" env:"TAGS"`
}

func (c *Config) checkPrune() error {
	p := c.Prune
	counts := []struct {
		name  string
		value int
	}{
		{"last", p.Keep.Last}, {"hourly", p.Keep.Hourly}, {"daily", p.Keep.Daily}, {"weekly", p.Keep.Weekly},
		{"monthly", p.Keep.Monthly}, {"yearly", p.Keep.Yearly},
	}
	keeps := p.Keep.Within > 0 || len(p.Keep.Tags) > 0
	for _, n := range counts {
		if n.value < 0 {
			return fmt.Errorf("prune.keep.%s is %d; it must not be negative", n.name, n.value)
		}
		keeps = keeps || n.value > 0
	}
	if p.Grace < 0 || p.Keep.Within < 0 {
		return fmt.Errorf("prune.grace is %s and prune.keep.within %s; they must not be negative", p.Grace, p.Keep.Within)
	}
	return c.checkPruneAfter(keeps)
}

// checkPruneAfter checks when a policy applies that keeps something or nothing.
func (c *Config) checkPruneAfter(keeps bool) error {
	switch p := c.Prune; {
	case p.After != "" && p.After != AfterBackup:
		return fmt.Errorf("prune.after is %q; it must be %s", p.After, AfterBackup)
	case p.After == "" && keeps:
		return fmt.Errorf("prune.keep is set, and prune.after is not, so that nothing is ever removed by it; set prune.after to %s", AfterBackup)
	case p.After != "" && !keeps:
		return errors.New("prune.keep keeps nothing; say what stays after each backup, such as daily: 7")
	case p.After != "" && c.Policy.Kinds != nil && !slices.Contains(c.Policy.Kinds, events.Prune):
		return fmt.Errorf("prune.after is %s, and policy.kinds holds no prune; add it there: %q", p.After,
			append(slices.Clone(c.Policy.Kinds), events.Prune))
	}
	return nil
}
