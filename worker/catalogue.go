package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/user"

	"github.com/spf13/cobra"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/config"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/present"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/open"
	"holdfast.io/holdfast/internal/state"
)

// readSink opens the sink that a command about stored points means, and returns where
// it lies: --sink as a URL, with --nats as a name in the configuration, and else the
// worker's own.
func readSink(cmd *cobra.Command) (from sink.Sink, location string, err error) {
	return readSinkOf(cmd, "")
}

// readSinkOf is readSink for a sink by its name in the configuration; empty for the one
// that readSink means.
func readSinkOf(cmd *cobra.Command, name string) (from sink.Sink, location string, err error) {
	cfg, _, err := settings(cmd)
	if err != nil {
		return nil, "", err
	}
	sinks := sinkConfigs(cfg)
	if cfg.NATS.URL != "" {
		name = cmp.Or(name, cfg.Sink, events.DefaultSink)
		if _, ok := cfg.Sinks[name]; !ok {
			return nil, "", usage("no sink %q is configured here; with --nats, %s uses the sinks of this configuration", name, cmd.Name())
		}
	} else if name = cmp.Or(name, namedSink(cfg), events.DefaultSink); !hasSink(sinks, name) {
		return nil, "", usage("no sink %q is configured here", name)
	} else if end, err := state.Find(cfg.StateDir); err == nil && usesStateDirSink(cfg) {
		if sinks[name], err = announcedSink(end); err != nil {
			return nil, "", err
		}
	}
	if location, err = open.Location(sinks[name]); err != nil {
		return nil, "", usage("sink %s: %w", name, err)
	}
	from, err = open.Existing(cmd.Context(), sinks[name], ownKeys(cfg.StateDir))
	return from, location, err
}

// namedSink is the name of the sink that --sink names; empty if it names none.
func namedSink(cfg *config.Config) string {
	if cfg.NamesSink() {
		return cfg.Sink
	}
	return ""
}

// ownKeys returns the public keys of the worker of a state dir. Who may not read them trusts
// no signature as its own.
func ownKeys(stateDir string) []string {
	keys, _ := state.FindKeys(stateDir)
	return keys.All()
}

func hasSink(sinks map[string]open.Config, name string) bool { _, ok := sinks[name]; return ok }

// announcedSink returns the default sink of the worker that serves.
func announcedSink(end state.Endpoint) (c open.Config, err error) {
	if err := json.Unmarshal(end.SinkSettings, &c); err != nil {
		return c, fmt.Errorf("the worker that serves has left its sink in a form that this version cannot read (%w); restart it", err)
	}
	return c, nil
}

// findPoint finds the point that an argument means, in the sink that the command means.
// Its manifest may be one that cannot be read.
func findPoint(cmd *cobra.Command, arg string) (sink.Sink, point.Entry, error) {
	s, location, err := readSink(cmd)
	if err != nil {
		return nil, point.Entry{}, err
	}
	found, err := point.Find(cmd.Context(), s, arg, point.Query{})
	if err != nil {
		return nil, point.Entry{}, fmt.Errorf("%w (in the sink %s; 'holdfast list' shows its points)", err, location)
	}
	for _, e := range found.Unread {
		warn(cmd, "%s may be a newer point, and cannot be read: %v", e.Dir, e.Err)
	}
	warnOfMarks(cmd, found.Entry)
	return s, found.Entry, nil
}

// findReadable is findPoint for what needs the manifest.
func findReadable(cmd *cobra.Command, arg string) (sink.Sink, point.Entry, error) {
	s, e, err := findPoint(cmd, arg)
	if err == nil && e.Err != nil {
		err = fmt.Errorf("read point %s: %w", e.ID(), e.Err)
	}
	return s, e, err
}

// warnOfMarks says which marks of a point cannot be read, and returns how many.
func warnOfMarks(cmd *cobra.Command, e point.Entry) int {
	for _, name := range sortedKeys(e.Marks.Unread) {
		warn(cmd, "%v", e.Marks.Unread[name])
	}
	return len(e.Marks.Unread)
}

func warn(cmd *cobra.Command, format string, args ...any) {
	fmt.Fprintf(cmd.ErrOrStderr(), "holdfast: %s\n", present.Escape(fmt.Sprintf(format, args...)))
}

// whoAsks returns who runs this program, as user@host.
func whoAsks() string {
	name, host := fmt.Sprint("uid ", os.Getuid()), "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return name + "@" + host
}

// listed is what list and show print of a point with --json.
type listed struct {
	Point string `json:"point"`
	// Path is the point's folder in the sink.
	Path     string          `json:"path"`
	Manifest *point.Manifest `json:"manifest,omitempty"`
	// SignedBy is the fingerprint of the key that has signed the manifest, and Trusted is set
	// if that is this worker's or one of the sink's signers'.
	SignedBy  string           `json:"signedBy,omitempty"`
	Trusted   bool             `json:"trusted,omitempty"`
	Verified  *point.Verified  `json:"verified,omitempty"`
	Protected *point.Protected `json:"protected,omitempty"`
	Removed   *point.Removed   `json:"removed,omitempty"`
	// Damaged says why the manifest cannot be read.
	Damaged string `json:"damaged,omitempty"`
	// DamagedMarks say why marks cannot be read, by their names.
	DamagedMarks map[string]string `json:"damagedMarks,omitempty"`
}

func listedOf(e point.Entry) listed {
	l := listed{Point: e.ID(), Path: e.Dir, Manifest: e.Manifest,
		Verified: e.Marks.Verified, Protected: e.Marks.Protected, Removed: e.Marks.Removed}
	if e.Manifest != nil {
		l.SignedBy, l.Trusted = e.Manifest.Signed.Signer, e.Manifest.Signed.Trusted
	}
	if e.Err != nil {
		l.Damaged = e.Err.Error()
	}
	for name, err := range e.Marks.Unread {
		if l.DamagedMarks == nil {
			l.DamagedMarks = map[string]string{}
		}
		l.DamagedMarks[name] = err.Error()
	}
	return l
}
