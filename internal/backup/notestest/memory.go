package notestest

import (
	"maps"
	"slices"
	"sync"

	"holdfast.io/holdfast/internal/backup"
)

// Memory keeps notes in memory, for the tests of what needs some. The zero value
// is empty and ready to use.
type Memory struct {
	mu          sync.Mutex
	notes       map[string]backup.Note
	writeErr    error
	failRemoves int
	removeErr   error
}

var _ backup.Notes = (*Memory)(nil)

// FailWrites has every Write fail with err, until it is nil again.
func (m *Memory) FailWrites(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writeErr = err
}

// FailRemoves has the next n calls of Remove fail with err.
func (m *Memory) FailRemoves(n int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failRemoves, m.removeErr = n, err
}

// Write implements [backup.Notes].
func (m *Memory) Write(n *backup.Note) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.writeErr != nil {
		return m.writeErr
	}
	if m.notes == nil {
		m.notes = map[string]backup.Note{}
	}
	m.notes[n.ID()] = *n
	return nil
}

// Remove implements [backup.Notes].
func (m *Memory) Remove(id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failRemoves > 0 {
		m.failRemoves--
		return m.removeErr
	}
	delete(m.notes, id)
	return nil
}

// List implements [backup.Notes].
func (m *Memory) List() ([]backup.Note, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.notes)), nil
}
