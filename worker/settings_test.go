package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"holdfast.io/holdfast/internal/config"
	"holdfast.io/holdfast/internal/sink/open"
)

// settingsOf loads a configuration file and an environment.
func settingsOf(t *testing.T, yaml string, environ map[string]string) (*config.Config, error) {
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

// The sinks of the environment stand for those of the file.
func TestSinksOfTheEnvironment(t *testing.T) {
	const yaml = "sinks:\n  default: /mnt/backup\n  offsite: {url: /mnt/offsite}\n"
	c, err := settingsOf(t, yaml, map[string]string{"HOLDFAST_SINKS": "default=/a,nas=file:///b"})
	if want := (config.Sinks{"default": {URL: "/a"}, "nas": {URL: "file:///b"}}); err != nil || !reflect.DeepEqual(c.Sinks, want) {
		t.Errorf("with the environment the sinks are %+v, %v, want %+v", c.Sinks, err, want)
	}
}

// A location that is not given is noticed where the sink is opened.
func TestSinksWithoutALocation(t *testing.T) {
	for _, yaml := range []string{"sinks:\n  nas:", "sinks:\n  nas: {}", "sinks:\n  nas: ''"} {
		c, err := settingsOf(t, yaml, nil)
		if err != nil {
			t.Errorf("%q: %v", yaml, err)
			continue
		}
		if _, err := open.New(sinkConfigs(c), nil, open.Keys{}); err == nil || !strings.Contains(err.Error(), "sink nas: the location is empty") {
			t.Errorf("%q: %v, want that the sink is refused", yaml, err)
		}
	}
}
