package sinktest

import (
	"bytes"
	"fmt"
	"testing"
)

// Op is an operation of a sink, as a plan of faults names it.
type Op string

// The operations of a sink.
const (
	OpStage   Op = "stage"
	OpCreate  Op = "create"
	OpWrite   Op = "write"
	OpCommit  Op = "commit"
	OpAbort   Op = "abort" // of an artifact that has not ended
	OpPublish Op = "publish"
	// OpPublished fails a Publish that has done its work: the point is there, and
	// the caller does not know.
	OpPublished  Op = "published"
	OpDiscard    Op = "discard" // of an attempt that is staged still
	OpUnstage    Op = "unstage"
	OpOpen       Op = "open" // and OpenRange
	OpRead       Op = "read"
	OpStat       Op = "stat"
	OpPoints     Op = "points"
	OpRemove     Op = "remove" // of a point or an object
	OpMark       Op = "mark"
	OpCreateBlob Op = "create blob"
	OpCommitBlob Op = "commit blob"
	OpShared     Op = "shared"
	OpPutShared  Op = "put shared"
	OpExtend     Op = "extend" // and BlobLockedUntil
	// OpHidden fails a RemovePoint that has removed the manifest, and nothing else.
	OpHidden Op = "hidden"
)

// Fault is one failure that a test has planned.
type Fault struct {
	store *store
	op    Op
	left  int // calls until it is hit
	err   error
	hit   bool
}

// Fail makes the nth call of op from now on, counted from 1 over all instances of
// the sink, fail once with err. The test fails if that was not hit by its end.
func (m *Memory) Fail(t testing.TB, op Op, nth int, err error) *Fault {
	t.Helper()
	if nth < 1 || err == nil {
		t.Fatalf("a fault needs a call, counted from 1, and an error; there are %d and %v", nth, err)
	}
	f := &Fault{store: m.store, op: op, left: nth, err: err}
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	m.store.faults = append(m.store.faults, f)
	t.Cleanup(func() {
		if !f.Hit() {
			t.Errorf("the fault planned for call %d of %s was not hit", nth, op)
		}
	})
	return f
}

// FailMaybe is as Fail, and does not mind if the call does not come.
func (m *Memory) FailMaybe(op Op, nth int, err error) {
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	m.store.faults = append(m.store.faults, &Fault{store: m.store, op: op, left: nth, err: err})
}

// Corrupt changes an object that is there, behind the sink's back.
func (m *Memory) Corrupt(key string, change func(content []byte) []byte) {
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	if content, there := m.store.objects[key]; there {
		m.store.objects[key] = change(bytes.Clone(content))
	}
}

// Hit reports whether the fault has been hit.
func (f *Fault) Hit() bool {
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	return f.hit
}

// fault counts a call and returns the error that was planned for it. The store
// must be locked.
func (s *store) fault(op Op) (err error) {
	for _, f := range s.faults {
		if f.op != op || f.hit {
			continue
		}
		f.left--
		if f.left == 0 {
			f.hit = true
			err = fmt.Errorf("memory: %s: %w", op, f.err)
		}
	}
	return err
}
