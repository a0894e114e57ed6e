package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"holdfast.io/holdfast/internal/config"
	"holdfast.io/holdfast/internal/sink/open"
)

// globalFlags are the flags of every command.
func globalFlags(fs *pflag.FlagSet) {
	fs.String("config", "", "configuration `FILE` (YAML)")
	fs.String("state-dir", "", "what the worker keeps on disk (default /var/lib/holdfast for root, else $XDG_STATE_HOME/holdfast)")
	fs.String("nats", "", "`URL` of the NATS server; without one, a server of our own")
	fs.String("sink", "",
		"where points are stored: the `NAME` of a configured sink, or, without --nats, a path or URL (default <state dir>/sink)")
	fs.String("docker-host", "", "`ADDRESS` of the Docker Engine (default as the docker command)")
	fs.String("host-id", "", "`ID` of this host (default the Engine's name)")
	fs.String("log-level", "", "debug, info, warn or error (default info for serve, else warn)")
	fs.String("log-format", "", "console or json (default console)")
}

// settings reads the configuration of a command.
func settings(cmd *cobra.Command) (*config.Config, *zap.Logger, error) {
	environ := map[string]string{}
	for _, kv := range os.Environ() {
		k, v, _ := strings.Cut(kv, "=")
		environ[k] = v
	}
	cfg, err := loadConfig(cmd.Flags(), environ)
	if err != nil {
		return nil, nil, &exitError{status: exitUsage, cause: err}
	}
	if cfg.Log.Level == "" {
		cfg.Log.Level = "warn"
		if cmd.Name() == "serve" {
			cfg.Log.Level = "info"
		}
	}
	log, err := newLogger(cfg.Log)
	if err != nil {
		return nil, nil, &exitError{status: exitUsage, cause: err}
	}
	return cfg, log, nil
}

// loadConfig reads the settings: defaults, then the file, the environment and
// the flags, each over the one before; and checks what came of it.
func loadConfig(fs *pflag.FlagSet, environ map[string]string) (*config.Config, error) {
	path := environ["HOLDFAST_CONFIG"]
	if f := fs.Lookup("config"); f.Changed {
		path = f.Value.String()
	}
	c, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	if err := readEnvironment(c, environ); err != nil {
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
	if c.StateDir == "" {
		c.StateDir = defaultStateDir(environ)
	}
	if c.StateDir, err = filepath.Abs(c.StateDir); err != nil {
		return nil, err
	}
	if err := c.ReadSecrets(); err != nil {
		return nil, err
	}
	return c, c.Check()
}

// readEnvironment takes the variables that are set and not empty. One that is
// misspelt is an error, as it is in the file.
func readEnvironment(c *config.Config, environ map[string]string) error {
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

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
