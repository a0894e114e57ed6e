// Package ledgertest holds any ledger.Store to its contract, and has one in
// memory that can be away or full.
package ledgertest

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"

	"holdfast.io/holdfast/internal/ledger"
)

// Memory is a ledger.Store in memory. It goes by the time of [time.Now] and runs
// no goroutine, so that it can be used in a bubble of testing/synctest, where it
// must also be made. The zero value is not usable, see [NewMemory].
type Memory struct {
	mu       sync.Mutex
	entries  map[string]entry
	revision uint64
	here     chan struct{} // closed unless the store is away
	full     bool
}

type entry struct {
	ledger.Entry
	expires time.Time // zero for never
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	here := make(chan struct{})
	close(here)
	return &Memory{entries: map[string]entry{}, here: here}
}

// SetAway lets every call wait, as if the server could not be reached, until it
// is back.
func (m *Memory) SetAway(away bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case away && m.isHere():
		m.here = make(chan struct{})
	case !away && !m.isHere():
		close(m.here)
	}
}

// SetFull has every Put refused from now on whose value is larger than the one
// that it replaces.
func (m *Memory) SetFull(full bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.full = full
}

// Get implements ledger.Store.
func (m *Memory) Get(ctx context.Context, key string) ([]byte, uint64, error) {
	if err := m.enter(ctx, key); err != nil {
		return nil, 0, fmt.Errorf("memory: get %s: %w", key, err)
	}
	defer m.mu.Unlock()
	e, ok := m.entries[key]
	if !ok {
		return nil, 0, fmt.Errorf("memory: get %s: %w", key, ledger.ErrNotFound)
	}
	return bytes.Clone(e.Value), e.Revision, nil
}

// Put implements ledger.Store.
func (m *Memory) Put(ctx context.Context, key string, value []byte, expected uint64, ttl time.Duration) (uint64, error) {
	if err := m.enter(ctx, key); err != nil {
		return 0, fmt.Errorf("memory: put %s: %w", key, err)
	}
	defer m.mu.Unlock()
	switch old := m.entries[key]; {
	case old.Revision != expected:
		return 0, fmt.Errorf("memory: put %s: %w", key, ledger.ErrConflict)
	case m.full && (expected == 0 || len(value) > len(old.Value)):
		return 0, fmt.Errorf("memory: put %s: %w", key, ledger.ErrFull)
	}
	now := time.Now()
	m.revision++
	e := entry{Entry: ledger.Entry{Key: key, Value: bytes.Clone(value), Revision: m.revision, Time: now}}
	if ttl > 0 {
		e.expires = now.Add((ttl + time.Second - 1).Truncate(time.Second))
	}
	m.entries[key] = e
	return e.Revision, nil
}

// Delete implements ledger.Store.
func (m *Memory) Delete(ctx context.Context, key string) error {
	if err := m.enter(ctx, key); err != nil {
		return fmt.Errorf("memory: delete %s: %w", key, err)
	}
	defer m.mu.Unlock()
	delete(m.entries, key)
	return nil
}

// List implements ledger.Store. It yields what was there when it began.
func (m *Memory) List(ctx context.Context, pattern string) iter.Seq2[ledger.Entry, error] {
	return func(yield func(ledger.Entry, error) bool) {
		found, err := m.matching(ctx, pattern)
		if err != nil {
			yield(ledger.Entry{}, fmt.Errorf("memory: list %s: %w", pattern, err))
			return
		}
		for _, e := range found {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (m *Memory) matching(ctx context.Context, pattern string) ([]ledger.Entry, error) {
	if !ledger.ValidPattern(pattern) {
		return nil, fmt.Errorf("%q is no pattern", pattern)
	}
	if err := m.wait(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var found []ledger.Entry
	for key, e := range m.entries {
		if matches(strings.Split(pattern, "."), strings.Split(key, ".")) {
			e.Value = bytes.Clone(e.Value)
			found = append(found, e.Entry)
		}
	}
	return found, nil // in the map's order, which is another one each time
}

func matches(pattern, key []string) bool {
	for i, token := range pattern {
		switch {
		case i == len(key):
			return false
		case token == ">":
			return true
		case token != "*" && token != key[i]:
			return false
		}
	}
	return len(pattern) == len(key)
}

// enter checks the key, and then is wait.
func (m *Memory) enter(ctx context.Context, key string) error {
	if !ledger.ValidKey(key) {
		return fmt.Errorf("%q is no key", key)
	}
	return m.wait(ctx)
}

// wait returns with the store locked once it is not away, and without what has
// expired. After an error it is not locked.
func (m *Memory) wait(ctx context.Context) error {
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		m.mu.Lock()
		if m.isHere() {
			m.expire()
			return nil
		}
		here := m.here
		m.mu.Unlock()
		select {
		case <-here:
		case <-ctx.Done():
		}
	}
}

func (m *Memory) isHere() bool {
	select {
	case <-m.here:
		return true
	default:
		return false
	}
}

func (m *Memory) expire() {
	now := time.Now()
	for key, e := range m.entries {
		if !e.expires.IsZero() && !now.Before(e.expires) {
			delete(m.entries, key)
		}
	}
}
