// Package config is the settings of a worker and of the command line as plain data:
// their members, their defaults, and what makes sense. It knows neither flags nor an
// environment, and starts nothing.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"holdfast.io/holdfast/events"
)

// Config is every setting, as it stands in the configuration file. The tag env names
// the environment variable of each, without the prefix; who starts the program reads
// the environment and the flags.
type Config struct {
	// StateDir holds what one worker keeps on disk; empty means the default of whom the
	// program runs as.
	StateDir string `yaml:"stateDir" env:"STATE_DIR"`
	// Slots is how many items are worked on at a time.
	Slots int `yaml:"slots" env:"SLOTS"`
	// ShutdownGrace is how long running jobs may go on after SIGTERM.
	ShutdownGrace time.Duration `yaml:"shutdownGrace" env:"SHUTDOWN_GRACE"`
	// RetryFor is how long a job waits for an Engine or a sink that is away, before
	// its items fail.
	RetryFor time.Duration `yaml:"retryFor" env:"RETRY_FOR"`
	Timeouts Timeouts      `yaml:"timeouts" envPrefix:"TIMEOUTS_"`
	NATS     NATS          `yaml:"nats" envPrefix:"NATS_"`
	Docker   Docker        `yaml:"docker" envPrefix:"DOCKER_"`
	Host     Host          `yaml:"host" envPrefix:"HOST_"`
	Helper   Helper        `yaml:"helper" envPrefix:"HELPER_"`
	Sinks    Sinks         `yaml:"sinks" env:"SINKS" envKeyValSeparator:"="`
	// IdentityFile is that of sinks that name no identity of their own, see [open.Config].
	IdentityFile string      `yaml:"identityFile" env:"IDENTITY_FILE"`
	Compression  Compression `yaml:"compression" envPrefix:"COMPRESSION_"`
	Push         Push        `yaml:"push" envPrefix:"PUSH_"`
	Policy       Policy      `yaml:"policy" envPrefix:"POLICY_"`
	Prune        Prune       `yaml:"prune" envPrefix:"PRUNE_"`
	Log          Log         `yaml:"log" envPrefix:"LOG_"`

	// Sink is what --sink says: the name of a sink, or, when the worker runs in this process
	// and no sink of this name is configured, a location.
	Sink string `yaml:"-" env:"SINK"`
}

// NamesSink reports whether --sink names a sink that is configured.
func (c *Config) NamesSink() bool {
	_, named := c.Sinks[c.Sink]
	return named && c.Sink != ""
}

// NATS is how the message server is reached and what it keeps. A password and a token are
// given as they are, or as the File that holds them, not as both.
type NATS struct {
	URL          string `yaml:"url" env:"URL"`
	User         string `yaml:"user" env:"USER"`
	Password     string `yaml:"password" env:"PASSWORD"`
	PasswordFile string `yaml:"passwordFile" env:"PASSWORD_FILE"`
	Token        string `yaml:"token" env:"TOKEN"`
	TokenFile    string `yaml:"tokenFile" env:"TOKEN_FILE"`
	// CredentialsFile is a file with a JWT and a seed, as nsc makes it.
	CredentialsFile string `yaml:"credentialsFile" env:"CREDENTIALS_FILE"`
	TLS             TLS    `yaml:"tls" envPrefix:"TLS_"`
	// InboxPrefix is where answers arrive, for a user that may have inboxes of its
	// own only; empty means _INBOX.
	InboxPrefix string `yaml:"inboxPrefix" env:"INBOX_PREFIX"`
	// Replicas is how many servers of a cluster keep each stream.
	Replicas int `yaml:"replicas" env:"REPLICAS"`
}

// TLS are files in PEM form: the authorities that may sign for the server, and the
// certificate and key of this client; an empty one is left out.
type TLS struct {
	CA   string `yaml:"ca" env:"CA"`
	Cert string `yaml:"cert" env:"CERT"`
	Key  string `yaml:"key" env:"KEY"`
}

// Docker is which Engine is backed up.
type Docker struct {
	// Host is the Engine's address; empty means what the docker command uses.
	Host string `yaml:"host" env:"HOST"`
}

// Host is the host that a worker serves.
type Host struct {
	// ID is the host's id; empty means the Engine's own name.
	ID string `yaml:"id" env:"ID"`
}

// Helper is what reads and writes volumes on the Engine.
type Helper struct {
	// Image is a reference of an image on the Engine, for its platform, whose entrypoint
	// is a holdfast of this version; empty for the program that runs.
	Image string `yaml:"image" env:"IMAGE"`
}

// Compression is how an archive is made smaller.
type Compression struct {
	// Level is a level of the zstd tool, 1 to 19.
	Level int `yaml:"level" env:"LEVEL"`
}

// Push is how an Engine pushes what is new of containers into sinks in layers.
type Push struct {
	// Prime has an Engine learn, while no job runs, the layers of bases that it did not pull.
	Prime bool `yaml:"prime" env:"PRIME"`
}

// Timeouts bound what a job may take; 0 means no bound.
type Timeouts struct {
	Job  time.Duration `yaml:"job" env:"JOB"`
	Item time.Duration `yaml:"item" env:"ITEM"`
	// Progress is how long an item may be without progress.
	Progress time.Duration `yaml:"progress" env:"PROGRESS"`
}

// Policy is what requests may ask for.
type Policy struct {
	// Kinds are the kinds of request that are taken. Left out, serve takes all but restore
	// and prune, and a command that works in its own process all.
	Kinds []events.Kind `yaml:"kinds" env:"KINDS"`
	// Quiesce are the modes that requests and labels may ask for.
	Quiesce []events.Quiesce `yaml:"quiesce" env:"QUIESCE"`
	// Hooks has the commands run that the labels of containers name.
	Hooks bool `yaml:"hooks" env:"HOOKS"`
	// HookOutput lets the last line out that a failing command wrote: into events, the
	// ledger and logs. It may hold secrets of the container.
	HookOutput bool `yaml:"hookOutput" env:"HOOK_OUTPUT"`
	// Sinks are names of configured sinks; empty means all.
	Sinks      []string   `yaml:"sinks" env:"SINKS"`
	Containers Containers `yaml:"containers" envPrefix:"CONTAINERS_"`
	// Binds are absolute paths on the Engine's host: bind mounts of them, and of what
	// lies below, may be read for a backup. Empty means none.
	Binds []string `yaml:"binds" env:"BINDS"`
}

// Containers are the containers that may be backed up: those that one of the
// entries finds, or all if there are none.
type Containers struct {
	// Match are unanchored RE2 expressions on names.
	Match []string `yaml:"match" env:"MATCH"`
	// Labels are K or K=V.
	Labels []string `yaml:"labels" env:"LABELS"`
}

// Log is what is logged, and how; it goes to standard error.
type Log struct {
	// Level is debug, info, warn or error; empty means info for serve, else warn.
	Level  string `yaml:"level" env:"LEVEL"`
	Format string `yaml:"format" env:"FORMAT"`
}

// Default returns the settings of who configures nothing.
func Default() Config {
	return Config{
		Slots:         2,
		ShutdownGrace: 30 * time.Second,
		RetryFor:      10 * time.Minute,
		Timeouts:      Timeouts{Progress: 10 * time.Minute},
		NATS:          NATS{Replicas: 1},
		Compression:   Compression{Level: 3},
		Push:          Push{Prime: true},
		Policy:        Policy{Hooks: true},
		Prune:         Prune{Grace: 24 * time.Hour},
		Log:           Log{Format: "console"},
	}
}

// Load returns the defaults with what the YAML file at path sets over them; an empty
// path names no file. An unknown member is an error with its line. What comes over the
// file may still change the result, so it is not checked yet, see [Config.Check].
func Load(path string) (*Config, error) {
	c := Default()
	if path == "" {
		return &c, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	if err := dec.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	return &c, nil
}

// ReadSecrets reads the secrets that lie in files, without the line break at their
// end, into the members that hold them. One that is given both ways is an error.
func (c *Config) ReadSecrets() error {
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
	return nil
}
