// Package state is the folder that one worker keeps on disk: the lock that makes
// it the only one there, how a command of the same user reaches it, and the ids
// of the sinks that it has used.
package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"
)

// Files and folders in a state dir.
const (
	lockName     = "lock"
	endpointName = "endpoint.json"
	sinksName    = "sinks.json"
	natsName     = "nats"
	sinkName     = "sink"
)

// ErrLocked is reported when another process holds the state dir.
var ErrLocked = errors.New("the state dir is in use by another process")

// Dir is a state dir that this process holds.
type Dir struct {
	path string
	lock *flock.Flock
}

// Endpoint is how the embedded server of a state dir is reached, and whom it
// serves. It holds a password, and lies in a file that only its owner may read.
type Endpoint struct {
	URL      string `json:"url"`
	User     string `json:"user"`
	Password string `json:"password"`
	// Host is the id of the host that the worker serves.
	Host string `json:"host"`
	// Sink is the location of the worker's default sink.
	Sink string `json:"sink"`
}

// Hold makes the folder if it is not there, and takes its lock. It reports
// ErrLocked, and does not wait, if another process has it. The lock ends with
// the process, however that ends.
func Hold(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make the state dir: %w; choose another one with --state-dir", err)
	}
	lock := flock.New(filepath.Join(path, lockName), flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock the state dir %s: %w; choose another one with --state-dir", path, err)
	}
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrLocked, path)
	}
	return &Dir{path: path, lock: lock}, nil
}

// Close withdraws the endpoint and lets the lock go.
func (d *Dir) Close() error {
	err := os.Remove(filepath.Join(d.path, endpointName))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, d.lock.Close())
}

// NATS is the folder of the embedded server.
func (d *Dir) NATS() string { return filepath.Join(d.path, natsName) }

// MakeDefaultSink makes the folder of the sink that is used when none is
// configured.
func (d *Dir) MakeDefaultSink() error {
	if err := os.MkdirAll(DefaultSink(d.path), 0o700); err != nil {
		return fmt.Errorf("make the default sink: %w", err)
	}
	return nil
}

// DefaultSink is the folder of the default sink of the state dir at path.
func DefaultSink(path string) string { return filepath.Join(path, sinkName) }

// Announce leaves the endpoint for commands of the same user.
func (d *Dir) Announce(e Endpoint) error {
	return d.write(endpointName, e)
}

// Find returns the endpoint of the process that holds the state dir at path. It
// reports fs.ErrNotExist if none was announced there.
func Find(path string) (Endpoint, error) {
	var e Endpoint
	err := read(filepath.Join(path, endpointName), &e)
	return e, err
}

// SinkIDs returns the ids of the sinks that were used before, by location.
func (d *Dir) SinkIDs() (map[string]string, error) {
	ids := map[string]string{}
	err := read(filepath.Join(d.path, sinksName), &ids)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return ids, err
}

// RememberSink keeps the id of the sink at a location, so that an empty folder,
// which a mount that failed leaves, is not taken for it.
func (d *Dir) RememberSink(location, id string) error {
	ids, err := d.SinkIDs()
	if err != nil {
		return err
	}
	if ids[location] == id {
		return nil
	}
	ids[location] = id
	return d.write(sinksName, ids)
}

func (d *Dir) write(name string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	if err := renameio.WriteFile(filepath.Join(d.path, name), append(raw, '\n'), 0o600); err != nil {
		return fmt.Errorf("write to the state dir: %w", err)
	}
	return nil
}

func read(path string, v any) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%s is damaged (%w); remove it", path, err)
	}
	return nil
}
