package sinktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"path"
	"slices"
	"sync"

	"github.com/google/uuid"

	"holdfast.io/holdfast/internal/sink"
)

// Memory is a sink in memory, for the tests of what stores to one. It can be made
// to fail by plan, with [Memory.Fail].
type Memory struct {
	id    string
	store *store
}

var _ sink.Sink = (*Memory)(nil)

// store is what instances of one sink share. All its members are guarded by mu.
type store struct {
	mu      sync.Mutex
	id      string // empty when the sink has vanished
	objects map[string][]byte
	staged  map[string]*memoryStaging // by the name of the attempt
	faults  []*Fault
}

// NewMemory returns a sink without points.
func NewMemory() *Memory {
	s := &store{}
	s.replace(uuid.NewString())
	return &Memory{id: s.id, store: s}
}

// Reopen returns another instance of the sink that is there now, as another
// process has it.
func (m *Memory) Reopen() *Memory {
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	return &Memory{id: m.store.id, store: m.store}
}

// Replace puts another sink, which is empty, in the place of this one.
func (m *Memory) Replace() { m.store.replace(uuid.NewString()) }

// Vanish takes the sink away.
func (m *Memory) Vanish() { m.store.replace("") }

func (s *store) replace(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id, s.objects, s.staged = id, map[string][]byte{}, map[string]*memoryStaging{}
}

// Contents returns every object by its key, and what is staged as
// staging/<attempt>/<name>.
func (m *Memory) Contents() map[string]string {
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	all := map[string]string{}
	for key, content := range m.store.objects {
		all[key] = string(content)
	}
	for name, t := range m.store.staged {
		for key, content := range t.objects {
			all[path.Join("staging", name, key)] = string(content)
		}
	}
	return all
}

// begin locks the store for an operation, which ends with the unlock. It fails,
// and nothing is locked, if the operation may not be done.
func (m *Memory) begin(ctx context.Context, op Op) (unlock func(), err error) {
	m.store.mu.Lock()
	err = ctx.Err()
	if err == nil && m.store.id != m.id {
		err = fmt.Errorf("memory: %w: it was replaced", sink.ErrUnavailable)
	}
	if err == nil {
		err = m.store.fault(op)
	}
	if err != nil {
		m.store.mu.Unlock()
		return nil, err
	}
	return m.store.mu.Unlock, nil
}

// ID implements [sink.Sink].
func (m *Memory) ID() string { return m.id }

// Open implements [sink.Sink].
func (m *Memory) Open(ctx context.Context, key string) (io.ReadCloser, error) {
	if err := sink.CheckKey(key); err != nil {
		return nil, err
	}
	unlock, err := m.begin(ctx, OpOpen)
	if err != nil {
		return nil, err
	}
	defer unlock()
	content, ok := m.store.objects[key]
	if !ok {
		return nil, fmt.Errorf("memory: %s: %w", key, sink.ErrNotFound)
	}
	return &memoryReader{ctx: ctx, sink: m, r: bytes.NewReader(content)}, nil
}

type memoryReader struct {
	ctx  context.Context
	sink *Memory
	r    *bytes.Reader
}

func (r *memoryReader) Read(p []byte) (int, error) {
	unlock, err := r.sink.begin(r.ctx, OpRead)
	if err != nil {
		return 0, err
	}
	defer unlock()
	return r.r.Read(p)
}

func (r *memoryReader) Close() error { return nil }

// Points implements [sink.Sink].
func (m *Memory) Points(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		dirs, err := m.points(ctx)
		for _, dir := range dirs {
			if !yield(dir, nil) {
				return
			}
		}
		if err != nil {
			yield("", err)
		}
	}
}

func (m *Memory) points(ctx context.Context) (dirs []string, err error) {
	unlock, err := m.begin(ctx, OpPoints)
	if err != nil {
		return nil, err
	}
	defer unlock()
	for _, key := range slices.Sorted(maps.Keys(m.store.objects)) {
		if path.Base(key) == sink.ManifestName && sink.CheckPoint(path.Dir(key)) == nil {
			dirs = append(dirs, path.Dir(key))
		}
	}
	return dirs, nil
}

var errEnded = errors.New("memory: the attempt has ended")
