package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/config"
)

// write makes a file of a test's own, and returns its path.
func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, yaml string) (*config.Config, error) {
	t.Helper()
	return config.Load(write(t, yaml))
}

func TestDefaultsMakeSense(t *testing.T) {
	d := config.Default()
	if err := d.Check(); err != nil {
		t.Error(err)
	}
	for name, path := range map[string]string{"no file": "", "an empty file": write(t, ""), "a comment": write(t, "# later\n")} {
		c, err := config.Load(path)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !reflect.DeepEqual(*c, d) {
			t.Errorf("%s: the settings are %+v, want the defaults %+v", name, *c, d)
		}
	}
}

// The file sets what it names, and leaves the rest of a mapping as it is.
func TestLoad(t *testing.T) {
	c, err := load(t, `
stateDir: /var/lib/there
slots: 4
shutdownGrace: 1m
retryFor: 0s
timeouts: {job: 1h, item: 10m}
nats:
  url: nats://one,nats://two
  tls: {ca: /ca.pem, cert: /cert.pem, key: /key.pem}
docker: {host: "unix:///run/docker.sock"}
host: {id: web01}
compression: {level: 19}
policy:
  kinds: [backup, prune]
  quiesce: [none, stop]
  hooks: false
  hookOutput: true
  sinks: [nas]
  containers: {match: ["^web-"], labels: [tier=web]}
prune: {after: backup, grace: 48h, keep: {last: 3, hourly: 24, daily: 7, weekly: 4, monthly: 12, yearly: 2, within: 72h, tags: [gold]}}
log: {level: debug, format: json}
`)
	if err != nil {
		t.Fatal(err)
	}
	want := config.Default()
	want.StateDir, want.Slots, want.ShutdownGrace, want.RetryFor = "/var/lib/there", 4, time.Minute, 0
	want.Timeouts.Job, want.Timeouts.Item = time.Hour, 10*time.Minute
	want.NATS.URL = "nats://one,nats://two"
	want.NATS.TLS = config.TLS{CA: "/ca.pem", Cert: "/cert.pem", Key: "/key.pem"}
	want.Docker.Host, want.Host.ID, want.Compression.Level = "unix:///run/docker.sock", "web01", 19
	want.Policy = config.Policy{
		Kinds: []events.Kind{events.Backup, events.Prune}, Quiesce: []events.Quiesce{events.QuiesceNone, events.QuiesceStop},
		HookOutput: true, Sinks: []string{"nas"},
		Containers: config.Containers{Match: []string{"^web-"}, Labels: []string{"tier=web"}},
	}
	want.Prune = config.Prune{After: "backup", Grace: 48 * time.Hour, Keep: config.Keep{
		Last: 3, Hourly: 24, Daily: 7, Weekly: 4, Monthly: 12, Yearly: 2, Within: 72 * time.Hour, Tags: []string{"gold"}}}
	want.Log = config.Log{Level: "debug", Format: "json"}
	if !reflect.DeepEqual(*c, want) {
		t.Errorf("the settings are\n%+v, want\n%+v", *c, want)
	}
	if err := c.Check(); err != nil {
		t.Error(err)
	}
}

// A file that cannot be read as settings is refused with its place.
func TestLoadRefuses(t *testing.T) {
	for yaml, want := range map[string]string{
		"slots: 2\nslotz: 3":                   "line 2: field slotz not found",
		"nats:\n  url: a\n  pasword: b":        "line 3: field pasword not found",
		"policy:\n  containers:\n    names: a": "line 3: field names not found",
		"slots: many":                          "line 1: cannot unmarshal",
		"retryFor: 10":                         "line 1: cannot unmarshal",
		"slots: 1\nslots: 2":                   "line 2",
		"sink: /mnt":                           "line 1: field sink not found",
		"slots: [":                             "line 1",
	} {
		_, err := load(t, yaml)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "configuration /") {
			t.Errorf("%q: %v, want the file and %q", yaml, err, want)
		}
	}
	if _, err := config.Load(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "read the configuration: ") {
		t.Errorf("without a file: %v", err)
	}
}

func TestSecretsLieInFiles(t *testing.T) {
	c := config.Default()
	c.NATS.PasswordFile, c.NATS.TokenFile = write(t, "one two \r\n\n"), write(t, "three")
	if err := c.ReadSecrets(); err != nil {
		t.Fatal(err)
	}
	if c.NATS.Password != "one two " || c.NATS.Token != "three" {
		t.Errorf("password %q and token %q", c.NATS.Password, c.NATS.Token)
	}
	for name, test := range map[string]struct {
		nats config.NATS
		want string
	}{
		"both ways":  {config.NATS{Token: "hush", TokenFile: write(t, "x")}, "nats.token and nats.tokenFile are both set; leave one out"},
		"both again": {config.NATS{Password: "hush", PasswordFile: "/none"}, "nats.password and nats.passwordFile are both set; leave one out"},
		"no file":    {config.NATS{PasswordFile: "/nosuch/file"}, "read nats.passwordFile: open /nosuch/file"},
	} {
		c := config.Config{NATS: test.nats}
		err := c.ReadSecrets()
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}
