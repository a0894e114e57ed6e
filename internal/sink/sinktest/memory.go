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
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"holdfast.io/holdfast/internal/sink"
)

// Memory is a sink in memory, for the tests of what stores to one. It can be made
// to fail by plan, with [Memory.Fail].
type Memory struct {
	id    string
	store *store
}

var (
	_ sink.Sink     = (*Memory)(nil)
	_ sink.Locker   = (*Memory)(nil)
	_ sink.Extender = (*Memory)(nil)
)

// store is what instances of one sink share. All its members are guarded by mu.
type store struct {
	mu      sync.Mutex
	id      string // empty when the sink has vanished
	objects map[string][]byte
	staged  map[string]*memoryStaging // by the name of the attempt
	lockFor time.Duration
	locked  map[string]time.Time // until when, by the folder of the point, or the key of the blob
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
	s.id, s.objects, s.staged, s.locked = id, map[string][]byte{}, map[string]*memoryStaging{}, map[string]time.Time{}
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

// Open implements [sink.Reader].
func (m *Memory) Open(ctx context.Context, key string) (io.ReadCloser, error) {
	return m.open(ctx, key, func(content []byte) ([]byte, error) { return content, nil })
}

// OpenRange implements [sink.Reader].
func (m *Memory) OpenRange(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := sink.CheckRange(offset, length); err != nil {
		return nil, err
	}
	return m.open(ctx, key, func(content []byte) ([]byte, error) {
		if size := int64(len(content)); length > size || offset > size-length {
			return nil, fmt.Errorf("memory: %s: %w", key, sink.ErrRange)
		}
		return content[offset : offset+length], nil
	})
}

func (m *Memory) open(ctx context.Context, key string, part func(content []byte) ([]byte, error)) (io.ReadCloser, error) {
	content, err := m.find(ctx, OpOpen, key)
	if err == nil {
		content, err = part(content)
	}
	if err != nil {
		return nil, err
	}
	return &memoryReader{ctx: ctx, sink: m, r: bytes.NewReader(content)}, nil
}

// Stat implements [sink.Reader].
func (m *Memory) Stat(ctx context.Context, key string) (sink.Info, error) {
	content, err := m.find(ctx, OpStat, key)
	return sink.Info{Size: int64(len(content))}, err
}

func (m *Memory) find(ctx context.Context, op Op, key string) ([]byte, error) {
	if err := sink.CheckKey(key); err != nil {
		return nil, err
	}
	unlock, err := m.begin(ctx, op)
	if err != nil {
		return nil, err
	}
	defer unlock()
	content, ok := m.store.objects[key]
	if !ok {
		return nil, fmt.Errorf("memory: %s: %w", key, sink.ErrNotFound)
	}
	return content, nil
}

type memoryReader struct {
	ctx  context.Context //nolint:containedctx // a reader has no other place for it
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

// Points implements [sink.Lister].
func (m *Memory) Points(ctx context.Context, below string) iter.Seq2[sink.Found, error] {
	return each(func() ([]sink.Found, error) { return m.points(ctx, below) })
}

func (m *Memory) points(ctx context.Context, below string) (all []sink.Found, err error) {
	if _, err := sink.LevelsBelow(below); err != nil {
		return nil, err
	}
	unlock, err := m.begin(ctx, OpPoints)
	if err != nil {
		return nil, err
	}
	defer unlock()
	for _, key := range slices.Sorted(maps.Keys(m.store.objects)) {
		if dir := path.Dir(key); path.Base(key) == sink.ManifestName && sink.CheckPoint(dir) == nil && strings.HasPrefix(dir+"/", below+"/") {
			all = append(all, sink.Found{Dir: dir, Marks: m.store.marks(dir)})
		}
	}
	return all, nil
}

// Sizes implements [sink.Sizer].
func (m *Memory) Sizes(ctx context.Context) iter.Seq2[sink.Portion, error] {
	return each(func() ([]sink.Portion, error) { return m.sizes(ctx) })
}

func (m *Memory) sizes(ctx context.Context) (all []sink.Portion, err error) {
	unlock, err := m.begin(ctx, OpPoints)
	if err != nil {
		return nil, err
	}
	defer unlock()
	for key, content := range m.store.objects {
		if strings.HasPrefix(key, sink.PointsName+"/") {
			all = append(all, sink.Portion{Of: strings.Split(key+"////", "/")[4], Bytes: int64(len(content))})
		}
	}
	for name, t := range m.store.staged {
		for _, content := range t.objects {
			all = append(all, sink.Portion{Of: name, Bytes: int64(len(content))})
		}
	}
	return all, nil
}

// marks returns the names of the marks beside a point. The store must be locked.
func (s *store) marks(dir string) (names []string) {
	for _, name := range sink.MarkNames {
		if _, there := s.objects[path.Join(dir, name)]; there {
			names = append(names, name)
		}
	}
	return names
}

// RemovePoint implements [sink.Remover].
func (m *Memory) RemovePoint(ctx context.Context, dir string) error {
	if err := sink.CheckPoint(dir); err != nil {
		return err
	}
	unlock, err := m.begin(ctx, OpRemove)
	if err != nil {
		return err
	}
	defer unlock()
	if err := m.store.checkUnlocked(dir); err != nil {
		return err
	}
	delete(m.store.objects, path.Join(dir, sink.ManifestName))
	if err := m.store.fault(OpHidden); err != nil {
		return err
	}
	maps.DeleteFunc(m.store.objects, func(key string, _ []byte) bool { return strings.HasPrefix(key, dir+"/") })
	return nil
}

// Leftovers implements [sink.Remover].
func (m *Memory) Leftovers(ctx context.Context, below string) iter.Seq2[string, error] {
	return each(func() ([]string, error) { return m.leftovers(ctx, below) })
}

func (m *Memory) leftovers(ctx context.Context, below string) (dirs []string, err error) {
	if _, err := sink.LevelsBelow(below); err != nil {
		return nil, err
	}
	unlock, err := m.begin(ctx, OpPoints)
	if err != nil {
		return nil, err
	}
	defer unlock()
	for _, key := range slices.Sorted(maps.Keys(m.store.objects)) {
		dir := path.Dir(key)
		_, there := m.store.objects[path.Join(dir, sink.ManifestName)]
		if path.Base(key) == sink.RemovedName && !there && sink.CheckPoint(dir) == nil && strings.HasPrefix(dir+"/", below+"/") {
			dirs = append(dirs, dir)
		}
	}
	return dirs, nil
}

// Remove implements [sink.Remover].
func (m *Memory) Remove(ctx context.Context, key string) error {
	if err := sink.CheckRemovable(key); err != nil {
		return err
	}
	unlock, err := m.begin(ctx, OpRemove)
	if err != nil {
		return err
	}
	defer unlock()
	delete(m.store.objects, key)
	return nil
}

// PutMark implements [sink.Marker].
func (m *Memory) PutMark(ctx context.Context, dir, name string, content []byte) error {
	if err := errors.Join(sink.CheckPoint(dir), sink.CheckMark(name)); err != nil {
		return err
	}
	unlock, err := m.begin(ctx, OpMark)
	if err != nil {
		return err
	}
	defer unlock()
	if _, there := m.store.objects[path.Join(dir, sink.ManifestName)]; !there {
		return fmt.Errorf("memory: %s: %w", dir, sink.ErrNotFound)
	}
	m.store.objects[path.Join(dir, name)] = bytes.Clone(content)
	return nil
}

// Shared implements [sink.Sharer].
func (m *Memory) Shared(ctx context.Context, folder string) iter.Seq2[sink.Object, error] {
	return each(func() ([]sink.Object, error) { return m.shared(ctx, folder) })
}

func (m *Memory) shared(ctx context.Context, folder string) (all []sink.Object, err error) {
	if err := sink.CheckSharedFolder(folder); err != nil {
		return nil, err
	}
	unlock, err := m.begin(ctx, OpShared)
	if err != nil {
		return nil, err
	}
	defer unlock()
	for _, key := range slices.Sorted(maps.Keys(m.store.objects)) {
		if path.Dir(key) == folder {
			all = append(all, sink.Object{Key: key, Info: sink.Info{Size: int64(len(m.store.objects[key]))}})
		}
	}
	return all, nil
}

// PutShared implements [sink.Sharer].
func (m *Memory) PutShared(ctx context.Context, key string, content []byte) error {
	if err := sink.CheckPutShared(key); err != nil {
		return err
	}
	unlock, err := m.begin(ctx, OpPutShared)
	if err != nil {
		return err
	}
	defer unlock()
	m.store.objects[key] = bytes.Clone(content)
	return nil
}

// RemoveShared implements [sink.Sharer].
func (m *Memory) RemoveShared(ctx context.Context, key string) error {
	if err := sink.CheckShared(key); err != nil {
		return err
	}
	unlock, err := m.begin(ctx, OpRemove)
	if err != nil {
		return err
	}
	defer unlock()
	if err := m.store.checkUnlocked(key); err != nil {
		return err
	}
	delete(m.store.objects, key)
	return nil
}

// each yields what find has found, and then its error.
func each[T any](find func() ([]T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		all, err := find()
		for _, one := range all {
			if !yield(one, nil) {
				return
			}
		}
		if err != nil {
			var none T
			yield(none, err)
		}
	}
}

var errEnded = errors.New("memory: the attempt, or its artifact, has ended")
