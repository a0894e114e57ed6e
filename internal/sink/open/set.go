package open

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"holdfast.io/holdfast/internal/sign"
	"holdfast.io/holdfast/internal/sink"
)

// Memory keeps the ids of sinks over restarts, by location. A Set uses it from
// one goroutine at a time.
type Memory interface {
	SinkIDs() (map[string]string, error)
	RememberSink(location, id string) error
}

// Set is a worker's sinks by name. A sink is opened when it is first used, so
// that one that is not there fails the items that need it and not the worker.
// It may be used by several goroutines; a sink that does not answer holds up only
// those that open the same one.
type Set struct {
	sinks  map[string]*lazySink
	signer *sign.Signer

	mu     sync.Mutex // guards memory
	memory Memory
}

// lazySink is a sink that is opened when it is first used.
type lazySink struct {
	settings

	mu     sync.Mutex
	opened sink.Sink
}

// Keys are those of a worker.
type Keys struct {
	// Signer signs what the worker stores; nil for nobody.
	Signer *sign.Signer
	// Own are the public halves of the worker's keys, also of those that it used before.
	Own []string
}

// New checks the configurations by name, and opens nothing.
func New(configs map[string]Config, memory Memory, keys Keys) (*Set, error) {
	s := &Set{sinks: map[string]*lazySink{}, signer: keys.Signer, memory: memory}
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		checked, err := check(configs[name], keys.Own)
		if err != nil {
			return nil, fmt.Errorf("sink %s: %w", name, err)
		}
		s.sinks[name] = &lazySink{settings: checked}
	}
	return s, nil
}

// Names returns the names of the sinks, sorted.
func (s *Set) Names() []string { return slices.Sorted(maps.Keys(s.sinks)) }

// Has reports whether a sink of this name is configured.
func (s *Set) Has(name string) bool { return s.sinks[name] != nil }

// Shared reports whether other hosts have the sink of this name too, by its
// configuration.
func (s *Set) Shared(name string) bool {
	lazy := s.sinks[name]
	return lazy != nil && lazy.config.Shared
}

// Location returns where the sink lies, as [Location] does, or nothing if there is
// none of this name.
func (s *Set) Location(name string) string {
	if lazy := s.sinks[name]; lazy != nil {
		return lazy.location
	}
	return ""
}

// Config returns the configuration of the sink of this name, for another process on this
// machine, whatever folder that works in.
func (s *Set) Config(name string) Config {
	lazy := s.sinks[name]
	if lazy == nil {
		return Config{}
	}
	c := lazy.config
	if lazy.scheme.isPath {
		c.URL = lazy.location
	}
	for _, path := range c.paths() {
		if absolute, err := filepath.Abs(*path); *path != "" && err == nil {
			*path = absolute
		}
	}
	return c
}

// Open returns the sink of this name. A sink that was used before must still be
// the one at its place; one that was never used is set up. Errors wrap
// [sink.ErrUnavailable], or [sink.ErrFull] where there is no room to set it up,
// unless there is no sink of this name.
func (s *Set) Open(ctx context.Context, name string) (sink.Sink, error) {
	lazy := s.sinks[name]
	if lazy == nil {
		return nil, fmt.Errorf("no sink %q is configured; there are: %s", name, strings.Join(s.Names(), ", "))
	}
	lazy.mu.Lock()
	defer lazy.mu.Unlock()
	if lazy.opened != nil {
		return lazy.opened, nil
	}
	opened, err := s.first(ctx, lazy)
	if err != nil {
		return nil, fmt.Errorf("open sink %s: %w", name, err)
	}
	lazy.opened = opened
	return opened, nil
}

// Used returns the sink of this name as Open does, or nil if this worker has not used it
// before: it sets none up.
func (s *Set) Used(ctx context.Context, name string) (sink.Sink, error) {
	if lazy := s.sinks[name]; lazy != nil {
		if id, err := s.known(lazy.location); err != nil || id == "" {
			return nil, err
		}
	}
	return s.Open(ctx, name)
}

// first opens a sink, and remembers which it is.
func (s *Set) first(ctx context.Context, lazy *lazySink) (sink.Sink, error) {
	known, err := s.known(lazy.location)
	if err != nil {
		return nil, fmt.Errorf("%w: recall its id: %w", sink.ErrUnavailable, err)
	}
	opened, err := lazy.scheme.open(ctx, forNew(lazy.config), lazy.location, known)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.memory.RememberSink(lazy.location, opened.ID()); err != nil {
		return nil, fmt.Errorf("%w: remember its id: %w", sink.ErrUnavailable, err)
	}
	return lazy.complete(opened, s.signer)
}

func (s *Set) known(location string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids, err := s.memory.SinkIDs()
	return ids[location], err
}
