package sinktest

import (
	"context"
	"fmt"
	"time"

	"holdfast.io/holdfast/internal/sink"
)

// LockFor has points locked from now on for so long after they are published, and blobs that are
// extended; 0 for not. Those that are there are locked no longer.
func (m *Memory) LockFor(d time.Duration) {
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	m.store.lockFor = d
	clear(m.store.locked)
}

// LockPoint locks the point at dir from now on.
func (m *Memory) LockPoint(dir string, d time.Duration) {
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	m.store.locked[dir] = time.Now().Add(d)
}

// LockedUntil implements [sink.Locker].
func (m *Memory) LockedUntil(ctx context.Context, dir string) (time.Time, error) {
	if err := sink.CheckPoint(dir); err != nil {
		return time.Time{}, err
	}
	unlock, err := m.begin(ctx, OpStat)
	if err != nil {
		return time.Time{}, err
	}
	defer unlock()
	return m.store.lockOf(dir), nil
}

// Extend implements [sink.Extender].
func (m *Memory) Extend(ctx context.Context, keys []string) error {
	unlock, err := m.begin(ctx, OpExtend)
	if err != nil {
		return err
	}
	defer unlock()
	for _, key := range keys {
		if err := sink.CheckShared(key); err != nil {
			return err
		}
		if m.store.lockFor == 0 {
			continue
		}
		if _, there := m.store.objects[key]; !there {
			return fmt.Errorf("memory: %s: %w", key, sink.ErrNotFound)
		}
		if until := time.Now().Add(m.store.lockFor + sink.ExtendedFor); until.After(m.store.locked[key]) {
			m.store.locked[key] = until
		}
	}
	return nil
}

// BlobLockedUntil implements [sink.Extender].
func (m *Memory) BlobLockedUntil(ctx context.Context, key string) (time.Time, error) {
	if err := sink.CheckShared(key); err != nil {
		return time.Time{}, err
	}
	unlock, err := m.begin(ctx, OpExtend)
	if err != nil {
		return time.Time{}, err
	}
	defer unlock()
	return m.store.lockOf(key), nil
}

// lockOf returns until when the point in a folder, or the blob at a key, is locked; zero if it is
// not. The store must be locked.
func (s *store) lockOf(place string) time.Time {
	if until := s.locked[place]; until.After(time.Now()) {
		return until
	}
	return time.Time{}
}

// checkUnlocked reports a *sink.LockedError while that is locked. The store must be locked.
func (s *store) checkUnlocked(place string) error {
	if until := s.lockOf(place); !until.IsZero() {
		return &sink.LockedError{Place: "memory: " + place, Until: until}
	}
	return nil
}
