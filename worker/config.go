package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"go.yaml.in/yaml/v3"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/job/backupjob"
	"holdfast.io/holdfast/internal/plan"
	"holdfast.io/holdfast/internal/sink/open"
)

// config is every setting, as it stands in the configuration file. Each has an
// environment variable too, and the common ones a flag. A flag wins over the
// environment, the environment over the file.
type config struct {
	// StateDir holds what one worker keeps on disk.
	StateDir string `yaml:"stateDir" env:"STATE_DIR"`
	// Slots is how many items are worked on at a time.
	Slots int `yaml:"slots" env:"SLOTS"`
	// ShutdownGrace is how long running jobs may go on after SIGTERM.
	ShutdownGrace time.Duration `yaml:"shutdownGrace" env:"SHUTDOWN_GRACE"`
	// RetryFor is how long a job waits for an Engine or a sink that is away, before
	// its items fail.
	RetryFor    time.Duration     `yaml:"retryFor" env:"RETRY_FOR"`
	Timeouts    timeoutsConfig    `yaml:"timeouts" envPrefix:"TIMEOUTS_"`
	NATS        natsConfig        `yaml:"nats" envPrefix:"NATS_"`
	Docker      dockerConfig      `yaml:"docker" envPrefix:"DOCKER_"`
	Host        hostConfig        `yaml:"host" envPrefix:"HOST_"`
	Sinks       sinksConfig       `yaml:"sinks" env:"SINKS" envKeyValSeparator:"="`
	Compression compressionConfig `yaml:"compression" envPrefix:"COMPRESSION_"`
	Policy      policyConfig      `yaml:"policy" envPrefix:"POLICY_"`
	Log         logConfig         `yaml:"log" envPrefix:"LOG_"`

	// Sink is what --sink says: a location when the worker runs in this process,
	// and the name of a sink when it is reached over the network.
	Sink string `yaml:"-" env:"SINK"`
}

type natsConfig struct {
	URL          string `yaml:"url" env:"URL"`
	User         string `yaml:"user" env:"USER"`
	Password     string `yaml:"password" env:"PASSWORD"`
	PasswordFile string `yaml:"passwordFile" env:"PASSWORD_FILE"`
	Token        string `yaml:"token" env:"TOKEN"`
	TokenFile    string `yaml:"tokenFile" env:"TOKEN_FILE"`
	// CredentialsFile is a file with a JWT and a seed, as nsc makes it.
	CredentialsFile string    `yaml:"credentialsFile" env:"CREDENTIALS_FILE"`
	TLS             tlsConfig `yaml:"tls" envPrefix:"TLS_"`
	// InboxPrefix is where answers arrive, for a user that may have inboxes of its
	// own only; empty means _INBOX.
	InboxPrefix string `yaml:"inboxPrefix" env:"INBOX_PREFIX"`
	// Replicas is how many servers of a cluster keep each stream.
	Replicas int `yaml:"replicas" env:"REPLICAS"`
}

type tlsConfig struct {
	CA   string `yaml:"ca" env:"CA"`
	Cert string `yaml:"cert" env:"CERT"`
	Key  string `yaml:"key" env:"KEY"`
}

type dockerConfig struct {
	// Host is the Engine's address; empty means what the docker command uses.
	Host string `yaml:"host" env:"HOST"`
}

type hostConfig struct {
	// ID is the host's id; empty means the Engine's own name.
	ID string `yaml:"id" env:"ID"`
}

type compressionConfig struct {
	// Level is a level of the zstd tool, 1 to 19.
	Level int `yaml:"level" env:"LEVEL"`
}

// timeoutsConfig bounds what a job may take; 0 means no bound.
type timeoutsConfig struct {
	Job  time.Duration `yaml:"job" env:"JOB"`
	Item time.Duration `yaml:"item" env:"ITEM"`
	// Progress is how long an item may be without progress.
	Progress time.Duration `yaml:"progress" env:"PROGRESS"`
}

// policyConfig is what requests may ask for.
type policyConfig struct {
	Kinds []events.Kind `yaml:"kinds" env:"KINDS"`
	// Quiesce are the modes that requests and labels may ask for.
	Quiesce []events.Quiesce `yaml:"quiesce" env:"QUIESCE"`
	// Hooks has the commands run that the labels of containers name.
	Hooks bool `yaml:"hooks" env:"HOOKS"`
	// HookOutput lets the last line out that a failing command wrote: into events, the
	// ledger and logs. It may hold secrets of the container.
	HookOutput bool `yaml:"hookOutput" env:"HOOK_OUTPUT"`
	// Sinks are names of configured sinks; empty means all.
	Sinks      []string         `yaml:"sinks" env:"SINKS"`
	Containers containersPolicy `yaml:"containers" envPrefix:"CONTAINERS_"`
}

// containersPolicy are the containers that may be backed up: those that one of the
// entries finds, or all if there are none.
type containersPolicy struct {
	// Match are unanchored RE2 expressions on names.
	Match []string `yaml:"match" env:"MATCH"`
	// Labels are K or K=V.
	Labels []string `yaml:"labels" env:"LABELS"`
}

type logConfig struct {
	// Level is debug, info, warn or error; empty means info for serve, else warn.
	Level  string `yaml:"level" env:"LEVEL"`
	Format string `yaml:"format" env:"FORMAT"`
}

func defaultConfig() config {
	return config{
		Slots:         2,
		ShutdownGrace: 30 * time.Second,
		RetryFor:      10 * time.Minute,
		Timeouts:      timeoutsConfig{Progress: 10 * time.Minute},
		NATS:          natsConfig{Replicas: 1},
		Compression:   compressionConfig{Level: 3},
		Policy:        policyConfig{Kinds: []events.Kind{events.Backup, events.Verify, events.Cancel}, Hooks: true},
		Log:           logConfig{Format: "console"},
	}
}

// globalFlags are the flags of every command.
func globalFlags(fs *pflag.FlagSet) {
	fs.String("config", "", "configuration `FILE` (YAML)")
	fs.String("state-dir", "", "what the worker keeps on disk (default /var/lib/holdfast for root, else $XDG_STATE_HOME/holdfast)")
	fs.String("nats", "", "`URL` of the NATS server; without one, a server of our own")
	fs.String("sink", "", "where points are stored: a path or file:// URL; with --nats the `NAME` of a configured sink (default <state dir>/sink)")
	fs.String("docker-host", "", "`ADDRESS` of the Docker Engine (default as the docker command)")
	fs.String("host-id", "", "`ID` of this host (default the Engine's name)")
	fs.String("log-level", "", "debug, info, warn or error (default info for serve, else warn)")
	fs.String("log-format", "", "console or json (default console)")
}

// loadConfig reads the settings: defaults, then the file, the environment and
// the flags, each over the one before.
func loadConfig(fs *pflag.FlagSet, environ map[string]string) (*config, error) {
	c := defaultConfig()
	path := environ["HOLDFAST_CONFIG"]
	if f := fs.Lookup("config"); f.Changed {
		path = f.Value.String()
	}
	if path != "" {
		if err := c.readFile(path); err != nil {
			return nil, err
		}
	}
	if err := c.readEnvironment(environ); err != nil {
		return nil, fmt.Errorf("environment: %w", err)
	}
	for name, into := range map[string]*string{
		"state-dir": &c.StateDir, "nats": &c.NATS.URL, "sink": &c.Sink, "docker-host": &c.Docker.Host,
		"host-id": &c.Host.ID, "log-level": &c.Log.Level, "log-format": &c.Log.Format,
	} {
		if f := fs.Lookup(name); f.Changed {
			*into = f.Value.String()
		}
	}
	return &c, c.complete(environ)
}

func (c *config) readFile(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	if err := dec.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("configuration %s: %w", path, err)
	}
	return nil
}

// readEnvironment takes the variables that are set and not empty. One that is
// misspelt is an error, as it is in the file.
func (c *config) readEnvironment(environ map[string]string) error {
	const prefix = "HOLDFAST_"
	set := map[string]string{}
	for name, value := range environ {
		if strings.HasPrefix(name, prefix) && name != prefix+"CONFIG" && value != "" {
			set[name] = value
		}
	}
	options := env.Options{Prefix: prefix, Environment: set, FuncMap: map[reflect.Type]env.ParserFunc{
		reflect.TypeFor[open.Config](): func(url string) (any, error) { return open.Config{URL: url}, nil },
	}}
	known, err := env.GetFieldParamsWithOptions(c, options)
	if err != nil {
		return err
	}
	for _, name := range sortedKeys(set) {
		if !slices.ContainsFunc(known, func(p env.FieldParams) bool { return p.Key == name }) {
			return fmt.Errorf("%s is no setting", name)
		}
	}
	return env.ParseWithOptions(c, options)
}

// complete reads the secrets that lie in files, fills in what depends on the
// user, and refuses what makes no sense.
func (c *config) complete(environ map[string]string) error {
	for _, s := range []struct {
		name  string
		value *string
		file  string
	}{{"nats.password", &c.NATS.Password, c.NATS.PasswordFile}, {"nats.token", &c.NATS.Token, c.NATS.TokenFile}} {
		if s.file == "" {
			continue
		}
		if *s.value != "" {
			return fmt.Errorf("%s and %sFile are both set; leave one out", s.name, s.name)
		}
		raw, err := os.ReadFile(s.file)
		if err != nil {
			return fmt.Errorf("read %sFile: %w", s.name, err)
		}
		*s.value = strings.TrimRight(string(raw), "\r\n")
	}
	if c.StateDir == "" {
		c.StateDir = defaultStateDir(environ)
	}
	var err error
	if c.StateDir, err = filepath.Abs(c.StateDir); err != nil {
		return err
	}
	return c.check()
}

func (c *config) check() error {
	switch {
	case c.Slots < 1:
		return fmt.Errorf("slots is %d; it must be at least 1", c.Slots)
	case c.Compression.Level < 1 || c.Compression.Level > 19:
		return fmt.Errorf("compression.level is %d; it must be 1 to 19", c.Compression.Level)
	case c.ShutdownGrace < 0:
		return fmt.Errorf("shutdownGrace is %s; it must not be negative", c.ShutdownGrace)
	case c.Log.Format != "console" && c.Log.Format != "json":
		return fmt.Errorf("log.format is %q; it must be console or json", c.Log.Format)
	case c.NATS.Replicas < 1 || c.NATS.Replicas > 5:
		return fmt.Errorf("nats.replicas is %d; it must be 1 to 5", c.NATS.Replicas)
	case c.Host.ID != "" && !events.ValidHostID(c.Host.ID):
		return fmt.Errorf("host.id is %q; it must be letters, digits and '-', with every other byte as _XX (hex): %s",
			c.Host.ID, events.HostID(c.Host.ID))
	}
	for name, d := range map[string]time.Duration{"retryFor": c.RetryFor, "timeouts.job": c.Timeouts.Job,
		"timeouts.item": c.Timeouts.Item, "timeouts.progress": c.Timeouts.Progress} {
		if d < 0 {
			return fmt.Errorf("%s is %s; it must not be negative", name, d)
		}
	}
	return c.Policy.check()
}

func (p policyConfig) check() error {
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
	for _, m := range p.Containers.Match {
		if _, err := regexp.Compile(m); err != nil {
			return fmt.Errorf("policy.containers.match holds %q: %w", m, err)
		}
	}
	return nil
}

// rules returns the policy of backups as the worker applies it.
func (p policyConfig) rules() backupjob.Policy {
	rules := backupjob.Policy{Quiesce: p.Quiesce, Sinks: p.Sinks, Containers: plan.Allowed{Labels: p.Containers.Labels}}
	for _, m := range p.Containers.Match {
		rules.Containers.Match = append(rules.Containers.Match, regexp.MustCompile(m)) // checked at the start
	}
	return rules
}

// defaultStateDir follows the XDG Base Directory Specification, except for root.
func defaultStateDir(environ map[string]string) string {
	if os.Geteuid() == 0 {
		return "/var/lib/holdfast"
	}
	if dir := environ["XDG_STATE_HOME"]; dir != "" {
		return filepath.Join(dir, "holdfast")
	}
	return filepath.Join(environ["HOME"], ".local", "state", "holdfast")
}

// connect reaches the configured NATS server.
func (c *config) connect(ctx context.Context, log *zap.Logger) (*bus.Bus, error) {
	options := c.busOptions()
	options.Logger = log
	return bus.Connect(ctx, options)
}

// busOptions is how the configured NATS server is reached.
func (c *config) busOptions() bus.Options {
	return bus.Options{
		URL: c.NATS.URL, User: c.NATS.User, Password: c.NATS.Password, Token: c.NATS.Token,
		CredentialsFile: c.NATS.CredentialsFile,
		TLS:             bus.TLS{CA: c.NATS.TLS.CA, Cert: c.NATS.TLS.Cert, Key: c.NATS.TLS.Key},
		Name:            "holdfast",
		InboxPrefix:     c.NATS.InboxPrefix,
	}
}
