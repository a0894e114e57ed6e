package main

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"holdfast.io/holdfast/internal/sink/open"
)

// settingsOf loads a configuration file and an environment.
func settingsOf(t *testing.T, yaml string, environ map[string]string) (*config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	globalFlags(flags)
	if err := flags.Parse([]string{"--config", path}); err != nil {
		t.Fatal(err)
	}
	return loadConfig(flags, environ)
}

func TestSinksAreURLsOrMappings(t *testing.T) {
	const yaml = `
sinks:
  default: &local /mnt/backup
  same: *local
  offsite: {url: "file:///mnt/offsite"}
  third: &third
    url: /mnt/third
  again: *third
`
	c, err := settingsOf(t, yaml, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := sinksConfig{"default": {URL: "/mnt/backup"}, "same": {URL: "/mnt/backup"}, "offsite": {URL: "file:///mnt/offsite"},
		"third": {URL: "/mnt/third"}, "again": {URL: "/mnt/third"}}
	if !maps.Equal(c.Sinks, want) {
		t.Errorf("the sinks are %+v, want %+v", c.Sinks, want)
	}
	c, err = settingsOf(t, yaml, map[string]string{"HOLDFAST_SINKS": "default=/a,nas=file:///b"})
	if want := (sinksConfig{"default": {URL: "/a"}, "nas": {URL: "file:///b"}}); err != nil || !maps.Equal(c.Sinks, want) {
		t.Errorf("with the environment the sinks are %+v, %v, want %+v", c.Sinks, err, want)
	}
}

// What makes no sense is refused with its place.
func TestSinksThatMakeNoSense(t *testing.T) {
	for yaml, want := range map[string]string{
		"sinks: /mnt":        "line 1: cannot unmarshal",
		"sinks:\n  nas: [a]": "sink nas: line 2: it must be a URL, or a mapping with url",
		"sinks:\n  nas:\n    url: /a\n    recipient: x": `sink nas: line 4: it has no member "recipient"; the members are: url`,
		"sinks:\n  nas:\n    url: /a\n    url: /b":      "line 4",
		"sinks:\n  nas: /a\n  nas: /b":                  "line 3",
		"sinks:\n  nas:\n    url: [a]":                  "line 3: cannot unmarshal",
	} {
		if _, err := settingsOf(t, yaml, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", yaml, err, want)
		}
	}
	// What is not given is noticed where the sink is.
	for _, yaml := range []string{"sinks:\n  nas:", "sinks:\n  nas: {}", "sinks:\n  nas: ''"} {
		c, err := settingsOf(t, yaml, nil)
		if err != nil {
			t.Errorf("%q: %v", yaml, err)
			continue
		}
		if _, err := open.New(c.sinks(), nil); err == nil || !strings.Contains(err.Error(), "sink nas: the location is empty") {
			t.Errorf("%q: %v, want that the sink is refused", yaml, err)
		}
	}
}
