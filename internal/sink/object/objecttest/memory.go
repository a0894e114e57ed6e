package objecttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
)

// Memory is a place in memory for a store.
type Memory struct {
	mu      sync.Mutex // guards what follows
	gone    bool
	version int
	objects map[string]stored
	uploads map[*upload]bool
	fault   func(op, key string) error

	lockFor time.Duration
	locked  map[string]time.Time // until when, by key
	skew    time.Duration
}

type stored struct {
	content []byte
	version string
	time    time.Time
}

func (o stored) info() object.Info {
	return object.Info{Size: int64(len(o.content)), Version: o.version, Modified: o.time}
}

var _ Place = (*Memory)(nil)

// NewMemory returns an empty place.
func NewMemory() *Memory { return &Memory{objects: map[string]stored{}, uploads: map[*upload]bool{}} }

// NewLocking returns an empty place whose store locks objects for some days.
func NewLocking() *Memory {
	m := NewMemory()
	m.lockFor, m.locked = 30*24*time.Hour, map[string]time.Time{}
	return m
}

// EndLocks ends all locks.
func (m *Memory) EndLocks(*testing.T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.locked)
}

// Open implements [Place].
func (m *Memory) Open(*testing.T) object.Store {
	if m.lockFor > 0 {
		return memoryLocker{memoryStore{m}}
	}
	return memoryStore{m}
}

// Contents implements [Place].
func (m *Memory) Contents(*testing.T) map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[string]string{}
	for key, o := range m.objects {
		all[key] = string(o.content)
	}
	for u := range m.uploads {
		all[u.key+" (upload)"] = u.content.String()
	}
	return all
}

// Clear implements [Place].
func (m *Memory) Clear(*testing.T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.objects)
	clear(m.uploads)
}

// Vanish implements [Place].
func (m *Memory) Vanish(*testing.T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gone = true
	clear(m.objects)
	clear(m.uploads)
}

// Skew has the place's clock be so much ahead of this machine's.
func (m *Memory) Skew(ahead time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.skew = ahead
}

// Interrupt has fault called before every operation, without a lock, by the name of its
// method; what it returns is what the operation fails with. It may use the place.
func (m *Memory) Interrupt(fault func(op, key string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = fault
}

// begin locks the place for an operation.
func (m *Memory) begin(ctx context.Context, op, key string) (unlock func(), err error) {
	m.mu.Lock()
	fault := m.fault
	m.mu.Unlock()
	if fault != nil {
		if err := fault(op, key); err != nil {
			return nil, err
		}
	}
	m.mu.Lock()
	err = ctx.Err()
	if err == nil && m.gone {
		err = fmt.Errorf("memory: %w: it is gone", sink.ErrUnavailable)
	}
	if err != nil {
		m.mu.Unlock()
		return nil, err
	}
	return m.mu.Unlock, nil
}

func (m *Memory) put(key string, content []byte) {
	m.version++
	m.objects[key] = stored{bytes.Clone(content), fmt.Sprint(m.version), time.Now().Add(m.skew)}
}

// memoryStore is the store.
type memoryStore struct{ *Memory }

var _ object.Store = memoryStore{}

func (m memoryStore) Place(key string) string { return "memory:" + key }

func (m memoryStore) Put(ctx context.Context, key string, content []byte) error {
	unlock, err := m.begin(ctx, "Put", key)
	if err != nil {
		return err
	}
	defer unlock()
	m.put(key, content)
	return nil
}

func (m memoryStore) PutNew(ctx context.Context, key string, content []byte) error {
	return m.create(ctx, "PutNew", key, content, time.Time{})
}

// create is an operation that puts an object where there is none, locked until a time, if
// that is not zero.
func (m memoryStore) create(ctx context.Context, op, key string, content []byte, until time.Time) error {
	unlock, err := m.begin(ctx, op, key)
	if err != nil {
		return err
	}
	defer unlock()
	if _, there := m.objects[key]; there {
		return fmt.Errorf("%s: %w", m.Place(key), sink.ErrExists)
	}
	m.put(key, content)
	if !until.IsZero() {
		m.locked[key] = until
	}
	return nil
}

func (m memoryStore) Open(ctx context.Context, key string, offset, length int64, version string) (io.ReadCloser, object.Info, error) {
	unlock, err := m.begin(ctx, "Open", key)
	if err != nil {
		return nil, object.Info{}, err
	}
	defer unlock()
	o, there := m.objects[key]
	size := int64(len(o.content))
	switch {
	case !there:
		return nil, object.Info{}, fmt.Errorf("%s: %w", m.Place(key), sink.ErrNotFound)
	case version != "" && version != o.version:
		return nil, object.Info{}, fmt.Errorf("%s: %w", m.Place(key), object.ErrChanged)
	case offset > size:
		return nil, object.Info{}, fmt.Errorf("%s: %w", m.Place(key), sink.ErrRange)
	}
	end := size
	if length >= 0 {
		end = min(size, offset+length)
	}
	r := bytes.NewReader(o.content[offset:end])
	return &memoryReader{ctx: ctx, m: m.Memory, key: key, r: r}, o.info(), nil
}

type memoryReader struct {
	ctx context.Context //nolint:containedctx // a reader has no other place for it
	m   *Memory
	key string
	r   io.Reader
}

func (r *memoryReader) Read(p []byte) (int, error) {
	unlock, err := r.m.begin(r.ctx, "Read", r.key)
	if err != nil {
		return 0, err
	}
	defer unlock()
	return r.r.Read(p)
}

func (r *memoryReader) Close() error { return nil }

func (m memoryStore) Stat(ctx context.Context, key string) (object.Info, error) {
	unlock, err := m.begin(ctx, "Stat", key)
	if err != nil {
		return object.Info{}, err
	}
	defer unlock()
	o, there := m.objects[key]
	if !there {
		return object.Info{}, fmt.Errorf("%s: %w", m.Place(key), sink.ErrNotFound)
	}
	return o.info(), nil
}

func (m memoryStore) List(ctx context.Context, prefix string) iter.Seq2[object.Entry, error] {
	return func(yield func(object.Entry, error) bool) {
		entries, err := m.list(ctx, prefix)
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
		if err != nil {
			yield(object.Entry{}, err)
		}
	}
}

func (m memoryStore) list(ctx context.Context, prefix string) (entries []object.Entry, err error) {
	unlock, err := m.begin(ctx, "List", prefix)
	if err != nil {
		return nil, err
	}
	defer unlock()
	for _, key := range slices.Sorted(maps.Keys(m.objects)) {
		if strings.HasPrefix(key, prefix) {
			entries = append(entries, object.Entry{Key: key, Info: m.objects[key].info()})
		}
	}
	return entries, nil
}

func (m memoryStore) Delete(ctx context.Context, key string) error {
	unlock, err := m.begin(ctx, "Delete", key)
	if err != nil {
		return err
	}
	defer unlock()
	if until := m.locked[key]; until.After(time.Now()) {
		return &sink.LockedError{Place: m.Place(key), Until: until}
	}
	delete(m.objects, key)
	return nil
}

func (m memoryStore) Sweep(ctx context.Context, prefix string) error {
	unlock, err := m.begin(ctx, "Sweep", prefix)
	if err != nil {
		return err
	}
	defer unlock()
	maps.DeleteFunc(m.uploads, func(u *upload, _ bool) bool { return strings.HasPrefix(u.key, prefix) })
	return nil
}

func (m memoryStore) Caveats(ctx context.Context, key string) ([]string, error) {
	if err := m.PutNew(ctx, key, nil); err != nil && !errors.Is(err, sink.ErrExists) {
		return nil, err
	}
	return nil, nil
}

func (m memoryStore) Begin(ctx context.Context, key string, _ int64) (object.Upload, error) {
	unlock, err := m.begin(ctx, "Begin", key)
	if err != nil {
		return nil, err
	}
	defer unlock()
	u := &upload{ctx: ctx, m: m.Memory, key: key}
	m.uploads[u] = true
	return u, nil
}

// upload is an object that is written.
type upload struct {
	ctx     context.Context //nolint:containedctx // a writer has no other place for it
	m       *Memory
	key     string
	content bytes.Buffer
}

var errSwept = errors.New("memory: the upload has ended")

func (u *upload) Write(p []byte) (int, error) {
	unlock, err := u.m.begin(u.ctx, "Write", u.key)
	if err != nil {
		return 0, err
	}
	defer unlock()
	if !u.m.uploads[u] {
		return 0, errSwept
	}
	return u.content.Write(p)
}

func (u *upload) Commit() error {
	unlock, err := u.m.begin(u.ctx, "Commit", u.key)
	if err != nil {
		return err
	}
	defer unlock()
	if !u.m.uploads[u] {
		return errSwept
	}
	delete(u.m.uploads, u)
	u.m.put(u.key, u.content.Bytes())
	return nil
}

func (u *upload) Abort(ctx context.Context) error {
	unlock, err := u.m.begin(ctx, "Abort", u.key)
	if err != nil {
		return err
	}
	defer unlock()
	delete(u.m.uploads, u)
	return nil
}
