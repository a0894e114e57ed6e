package objecttest

import (
	"context"
	"fmt"
	"time"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
)

// memoryLocker is a store that locks objects.
type memoryLocker struct{ memoryStore }

var _ object.Locker = memoryLocker{}

func (m memoryLocker) CheckLock(context.Context) error { return nil }

func (m memoryLocker) LockFor() time.Duration { return m.lockFor }

func (m memoryLocker) Lock(ctx context.Context, key string, until time.Time) error {
	unlock, err := m.begin(ctx, "Lock", key)
	if err != nil {
		return err
	}
	defer unlock()
	if _, there := m.objects[key]; !there {
		return fmt.Errorf("%s: %w", m.Place(key), sink.ErrNotFound)
	}
	if m.locked[key].Before(until) {
		m.locked[key] = until
	}
	return nil
}

func (m memoryLocker) PutNewLocked(ctx context.Context, key string, content []byte, until time.Time) error {
	return m.create(ctx, "PutNewLocked", key, content, until)
}

func (m memoryLocker) LockedUntil(ctx context.Context, key string) (time.Time, error) {
	unlock, err := m.begin(ctx, "LockedUntil", key)
	if err != nil {
		return time.Time{}, err
	}
	defer unlock()
	return m.locked[key], nil
}

func (m memoryLocker) TryLock(ctx context.Context, key string) (string, error) {
	return "memory", m.Put(ctx, key, nil)
}
