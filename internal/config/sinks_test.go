package config_test

import (
	"reflect"
	"strings"
	"testing"

	"holdfast.io/holdfast/internal/config"
)

func TestSinksAreURLsOrMappings(t *testing.T) {
	c, err := load(t, `
sinks:
  default: &local /mnt/backup
  same: *local
  offsite: {url: "file:///mnt/offsite"}
  third: &third
    url: /mnt/third
    modes: ignored
  again: *third
`)
	if err != nil {
		t.Fatal(err)
	}
	want := config.Sinks{"default": {URL: "/mnt/backup"}, "same": {URL: "/mnt/backup"}, "offsite": {URL: "file:///mnt/offsite"},
		"third": {URL: "/mnt/third", Modes: "ignored"}, "again": {URL: "/mnt/third", Modes: "ignored"}}
	if !reflect.DeepEqual(c.Sinks, want) {
		t.Errorf("the sinks are %+v, want %+v", c.Sinks, want)
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
		if _, err := load(t, yaml); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", yaml, err, want)
		}
	}
}
