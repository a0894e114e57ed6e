// Package configured opens the sinks that a worker's configuration names. A
// request names one of them; it never brings a location of its own.
package configured

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/file"
)

// Memory keeps the ids of sinks over restarts.
type Memory interface {
	SinkIDs() (map[string]string, error)
	RememberSink(location, id string) error
}

// Set is a worker's sinks by name. A sink is opened when it is first used, so
// that one that is not there fails the items that need it and not the worker.
// It may be used by several goroutines.
type Set struct {
	locations map[string]string
	memory    Memory

	mu   sync.Mutex
	open map[string]*file.Sink
}

// New checks the locations, which are file:// URLs or paths by name, and opens
// nothing.
func New(locations map[string]string, memory Memory) (*Set, error) {
	s := &Set{locations: map[string]string{}, memory: memory, open: map[string]*file.Sink{}}
	for name, location := range locations {
		path, err := Path(location)
		if err != nil {
			return nil, fmt.Errorf("sink %s: %w", name, err)
		}
		s.locations[name] = path
	}
	return s, nil
}

// Path returns the absolute path that a location means.
func Path(location string) (string, error) {
	path := location
	if strings.Contains(location, "://") {
		u, err := url.Parse(location)
		if err != nil {
			return "", fmt.Errorf("%q is not a URL: %w", location, err)
		}
		if u.Scheme != "file" || u.Host != "" || u.RawQuery != "" || u.Fragment != "" {
			return "", fmt.Errorf("%q is not a sink: this version stores to a path or a file:///path", location)
		}
		path = u.Path
	}
	if path == "" {
		return "", fmt.Errorf("the location is empty")
	}
	return filepath.Abs(path)
}

// Names returns the names of the sinks, sorted.
func (s *Set) Names() []string {
	names := make([]string, 0, len(s.locations))
	for name := range s.locations {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Has reports whether a sink of this name is configured.
func (s *Set) Has(name string) bool {
	_, ok := s.locations[name]
	return ok
}

// Location returns where the sink lies.
func (s *Set) Location(name string) string { return s.locations[name] }

// Open returns the sink of this name.
func (s *Set) Open(ctx context.Context, name string) (sink.Sink, error) { return s.OpenFile(ctx, name) }

// OpenFile returns the sink of this name as what it is, for what only a folder
// can tell.
func (s *Set) OpenFile(ctx context.Context, name string) (*file.Sink, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if opened := s.open[name]; opened != nil {
		return opened, nil
	}
	path, ok := s.locations[name]
	if !ok {
		return nil, fmt.Errorf("no sink %q is configured; there are: %s", name, strings.Join(s.Names(), ", "))
	}
	known, err := s.memory.SinkIDs()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", sink.ErrUnavailable, err)
	}
	opened, err := file.Open(ctx, path, known[path])
	if err != nil {
		return nil, fmt.Errorf("open sink %s: %w", name, err)
	}
	if err := s.memory.RememberSink(path, opened.ID()); err != nil {
		return nil, fmt.Errorf("%w: %w", sink.ErrUnavailable, err)
	}
	s.open[name] = opened
	return opened, nil
}

// OpenExisting returns the sink at a path, for reading.
func OpenExisting(ctx context.Context, path string) (*file.Sink, error) {
	return file.OpenExisting(ctx, path)
}
