// Package ledgertest holds implementations of [ledger.Store] to the comments of
// that port ([Run]), and has one in memory ([Memory]).
package ledgertest

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast.io/holdfast/internal/ledger"
)

// Memory is a Store in memory. It may be used by several goroutines.
type Memory struct {
	mu       sync.Mutex
	revision uint64
	entries  map[string]*kept
	room     int           // entries that it holds at most; 0 means no bound
	away     chan struct{} // closed when it is back; nil while it is not away
}

type kept struct {
	ledger.Entry
	until time.Time // zero: for ever
}

var _ ledger.Store = (*Memory)(nil)

// NewMemory returns a Store without entries.
func NewMemory() *Memory { return &Memory{entries: map[string]*kept{}} }

// SetAway has every call wait until it is back, or the call's context ends.
func (m *Memory) SetAway(away bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case away && m.away == nil:
		m.away = make(chan struct{})
	case !away && m.away != nil:
		close(m.away)
		m.away = nil
	}
}

// SetRoom bounds how many entries it holds.
func (m *Memory) SetRoom(entries int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.room = entries
}

// begin returns with the lock held, as soon as the server is there.
func (m *Memory) begin(ctx context.Context) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		m.mu.Lock()
		away := m.away
		if away == nil {
			return nil
		}
		m.mu.Unlock()
		select {
		case <-away:
		case <-ctx.Done():
		}
	}
}

// live returns the entry of a key; nil if there is none. The lock is held.
func (m *Memory) live(key string) *kept {
	k := m.entries[key]
	if k != nil && !k.until.IsZero() && !time.Now().Before(k.until) {
		delete(m.entries, key)
		return nil
	}
	return k
}

// Get implements [ledger.Store].
func (m *Memory) Get(ctx context.Context, key string) ([]byte, uint64, error) {
	if err := m.begin(ctx); err != nil {
		return nil, 0, err
	}
	defer m.mu.Unlock()
	k := m.live(key)
	if k == nil {
		return nil, 0, fmt.Errorf("%w: %s", ledger.ErrNotFound, key)
	}
	return bytes.Clone(k.Value), k.Revision, nil
}

// Put implements [ledger.Store].
func (m *Memory) Put(ctx context.Context, key string, value []byte, expected uint64, ttl time.Duration) (uint64, error) {
	if err := m.begin(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	k, revision := m.live(key), uint64(0)
	if k != nil {
		revision = k.Revision
	}
	switch {
	case revision != expected && k != nil && revision > expected && bytes.Equal(k.Value, value):
		return revision, nil
	case revision != expected:
		return 0, fmt.Errorf("%w: %s", ledger.ErrConflict, key)
	case k == nil && m.room > 0 && len(m.entries) >= m.room:
		return 0, fmt.Errorf("%w: %s", ledger.ErrFull, key)
	}
	m.revision++
	k = &kept{Entry: ledger.Entry{Key: key, Value: bytes.Clone(value), Revision: m.revision, Time: time.Now()}}
	if ttl > 0 {
		k.until = k.Time.Add(ttl)
	}
	m.entries[key] = k
	return m.revision, nil
}

// Delete implements [ledger.Store].
func (m *Memory) Delete(ctx context.Context, key string) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	delete(m.entries, key)
	return nil
}

// List implements [ledger.Store].
func (m *Memory) List(ctx context.Context, pattern string) iter.Seq2[ledger.Entry, error] {
	return func(yield func(ledger.Entry, error) bool) {
		if err := m.begin(ctx); err != nil {
			yield(ledger.Entry{}, err)
			return
		}
		var found []ledger.Entry
		for key := range m.entries {
			if k := m.live(key); k != nil && matches(pattern, key) {
				found = append(found, k.Entry)
			}
		}
		m.mu.Unlock()
		slices.SortFunc(found, func(a, b ledger.Entry) int { return int(int64(a.Revision) - int64(b.Revision)) })
		for _, e := range found {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// matches reports whether a key fits a pattern of NATS.
func matches(pattern, key string) bool {
	want, have := strings.Split(pattern, "."), strings.Split(key, ".")
	for i, token := range want {
		switch {
		case token == ">":
			return len(have) > i
		case i >= len(have) || token != "*" && token != have[i]:
			return false
		}
	}
	return len(want) == len(have)
}
