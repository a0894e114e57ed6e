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
	"time"

	"github.com/gofrs/flock"
)

// Files and folders in a state dir.
const (
	lockName     = "lock"
	endpointName = "endpoint.json"
	sinksName    = "sinks.json"
	keysName     = "keys.json"
	registryName = "registry.json"
	basesName    = "bases.json"
	natsName     = "nats"
	sinkName     = "sink"
)

var (
	// ErrLocked is reported when another process holds the state dir.
	ErrLocked = errors.New("the state dir is in use by another process")
	// ErrOpenToOthers is reported where other users of the machine may use what is
	// made for this one alone: the file system keeps no modes or owners.
	ErrOpenToOthers = errors.New("other users may read and change it")
)

// Dir is a state dir that this process holds.
type Dir struct {
	path string
	lock *flock.Flock
}

// Endpoint is how the embedded server of a state dir is reached, and which host it
// serves. It holds a password, and lies in a file that only its owner may read.
type Endpoint struct {
	URL      string `json:"url"`
	User     string `json:"user"`
	Password string `json:"password"`
	// Host is the id of the host that the worker serves.
	Host string `json:"host"`
	// Sink is the location of the worker's default sink, and SinkSettings how it is opened,
	// as it was given.
	Sink         string          `json:"sink"`
	SinkSettings json.RawMessage `json:"sinkSettings"`
}

// Hold makes the folder if it is not there, and takes its lock. It reports
// ErrLocked, and does not wait, if another process has it. The lock ends with
// the process, however that ends. It reports ErrOpenToOthers where a state dir
// cannot be kept from other users: it holds a password, and names commands.
func Hold(path string) (*Dir, error) {
	if err := os.MkdirAll(path, folderMode); err != nil {
		return nil, fmt.Errorf("make the state dir: %w; choose another one with --state-dir", err)
	}
	lock := flock.New(filepath.Join(path, lockName), flock.SetPermissions(fileMode))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock the state dir %s: %w; choose another one with --state-dir", path, err)
	}
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrLocked, path)
	}
	d := &Dir{path: path, lock: lock}
	if err := d.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("the state dir %s: %w; choose another one with --state-dir", path, err), lock.Close())
	}
	return d, nil
}

// prepare looks whether files here are for this user alone, and removes what
// processes that died were just writing.
func (d *Dir) prepare() error {
	f, err := os.CreateTemp(d.path, temporary+"probe.json.*")
	if err != nil {
		return err
	}
	if err := errors.Join(makePrivate(f), f.Close(), os.Remove(f.Name())); err != nil {
		return fmt.Errorf("a new file: %w", err)
	}
	return removeTemporary(d.path)
}

// Close withdraws the endpoint and releases the lock.
func (d *Dir) Close() error {
	err := os.Remove(filepath.Join(d.path, endpointName))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, d.lock.Close())
}

// NATS makes the folder of the embedded server, and returns it.
func (d *Dir) NATS() (string, error) {
	path := filepath.Join(d.path, natsName)
	if err := privateFolder(path); err != nil {
		return "", fmt.Errorf("make the message server's folder: %w", err)
	}
	return path, nil
}

// MakeDefaultSink makes the folder of the sink that is used when none is
// configured.
func (d *Dir) MakeDefaultSink() error {
	if err := os.MkdirAll(DefaultSink(d.path), folderMode); err != nil {
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

// Keys are what a worker signs with. They hold a secret, and lie in a file that only its
// owner may read.
type Keys struct {
	// Private is the private half of the key that is used, and Public its public half.
	Private string `json:"private"`
	Public  string `json:"public"`
	// Retired are public halves of keys that were used before.
	Retired []string `json:"retired,omitempty"`
}

// KeepKeys replaces the worker's keys, durably.
func (d *Dir) KeepKeys(k Keys) error { return d.write(keysName, k) }

// FindKeys returns the keys of the worker whose state dir is at path. It reports
// fs.ErrNotExist if there are none yet.
func FindKeys(path string) (Keys, error) {
	var k Keys
	err := read(filepath.Join(path, keysName), &k)
	return k, err
}

// All returns the public halves of all keys, the one that is used first.
func (k Keys) All() []string {
	if k.Public == "" {
		return nil
	}
	return append([]string{k.Public}, k.Retired...)
}

// Registry is how an Engine reaches the registry of a worker. It holds a password, and lies
// in a file that only its owner may read.
type Registry struct {
	// Port is that on loopback; 0 for any.
	Port     int    `json:"port"`
	User     string `json:"user"`
	Password string `json:"password"`
}

// Registry returns how an Engine reaches the worker's registry. It reports fs.ErrNotExist if
// that is not known yet.
func (d *Dir) Registry() (r Registry, err error) {
	err = read(filepath.Join(d.path, registryName), &r)
	return r, err
}

// KeepRegistry keeps how an Engine reaches the worker's registry, durably.
func (d *Dir) KeepRegistry(r Registry) error { return d.write(registryName, r) }

// Base is what is known of a base that an Engine is to learn the layers of.
type Base struct {
	// Known is set if the Engine knows them.
	Known bool `json:"known,omitempty"`
	// Tries is how often that was tried in vain, and Next when it may be tried again.
	Tries int       `json:"tries,omitempty"`
	Next  time.Time `json:"next,omitzero"`
	// Time is when this was entered.
	Time time.Time `json:"time"`
}

// Bases returns what is known of bases, by what they are found by; none if nothing is.
func (d *Dir) Bases() (map[string]Base, error) {
	all := map[string]Base{}
	err := read(filepath.Join(d.path, basesName), &all)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return all, err
}

// KeepBases replaces what is known of bases, durably.
func (d *Dir) KeepBases(all map[string]Base) error { return d.write(basesName, all) }

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
