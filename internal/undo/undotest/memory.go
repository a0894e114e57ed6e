package undotest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"

	"holdfast.io/holdfast/internal/undo"
)

// Memory keeps records in memory, for the tests of what needs some. The zero value
// is empty and ready to use.
type Memory struct {
	mu          sync.Mutex
	records     map[string][]byte
	writeErr    error
	failRemoves int
	removeErr   error
}

var _ undo.Store = (*Memory)(nil)

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

// Write implements [undo.Store].
func (m *Memory) Write(r *undo.Record) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode undo record %s: %w", r.ID, err)
	}
	return m.Put(r.ID, raw)
}

// Put writes a record as it is encoded, be it one that no Store would write.
func (m *Memory) Put(id string, raw []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.writeErr != nil {
		return m.writeErr
	}
	if m.records == nil {
		m.records = map[string][]byte{}
	}
	m.records[id] = raw
	return nil
}

// Read implements [undo.Store].
func (m *Memory) Read(id string) (undo.Record, error) {
	m.mu.Lock()
	raw, ok := m.records[id]
	m.mu.Unlock()
	if !ok {
		return undo.Record{}, fmt.Errorf("undo record %s: %w", id, undo.ErrNoRecord)
	}
	return undo.Decode(raw)
}

// Remove implements [undo.Store].
func (m *Memory) Remove(id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failRemoves > 0 {
		m.failRemoves--
		return m.removeErr
	}
	delete(m.records, id)
	return nil
}

// List implements [undo.Store].
func (m *Memory) List() ([]undo.Record, error) {
	m.mu.Lock()
	ids := slices.Collect(maps.Keys(m.records))
	m.mu.Unlock()
	var records []undo.Record
	for _, id := range ids {
		r, err := m.Read(id)
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, nil
}
