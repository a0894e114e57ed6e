package sinktest_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

func TestMemoryConformance(t *testing.T) {
	sinktest.Run(t, func(*testing.T) sinktest.Place { return place{sinktest.NewMemory()} })
}

// place is where a sink in memory lies.
type place struct{ m *sinktest.Memory }

func (p place) Open(*testing.T) sink.Sink             { return p.m.Reopen() }
func (p place) Contents(*testing.T) map[string]string { return p.m.Contents() }
func (p place) Replace(*testing.T)                    { p.m.Replace() }
func (p place) Vanish(*testing.T)                     { p.m.Vanish() }

func (p place) EndLocks(*testing.T) { p.m.LockFor(0) }

func TestLockingConformance(t *testing.T) {
	sinktest.RunLocking(t, func(*testing.T) sinktest.LockingPlace {
		m := sinktest.NewMemory()
		m.LockFor(30 * 24 * time.Hour)
		return place{m}
	})
}

const dir = "points/web01/image/app/20261122T213000Z-0011aabb"

// store stores a point by two writes, and reads it back.
func store(ctx context.Context, s sink.Sink) (err error) {
	staging, err := s.Stage(ctx, dir, "1")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, staging.Discard(ctx)) }()
	w, key, err := staging.Create(ctx, "image.tar.zst", 0)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, "one")
	_, werr := io.WriteString(w, "two")
	if err = errors.Join(err, werr); err == nil {
		err = w.Commit()
	}
	if err != nil {
		return errors.Join(err, w.Abort())
	}
	if err := staging.Publish(ctx, []byte("{}")); err != nil {
		return err
	}
	r, err := s.Open(ctx, key)
	if err != nil {
		return err
	}
	if _, err := io.ReadAll(r); err != nil {
		return err
	}
	if _, err := s.Stat(ctx, key); err != nil {
		return err
	}
	for _, err := range s.Points(ctx, sink.PointsName) {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestPlannedFaults(t *testing.T) {
	broken := errors.New("broken by plan")
	tests := []struct {
		op      sinktest.Op
		nth     int
		visible bool // whether the point is there afterwards
	}{
		{sinktest.OpStage, 1, false},
		{sinktest.OpCreate, 1, false},
		{sinktest.OpWrite, 1, false},
		{sinktest.OpWrite, 2, false},
		{sinktest.OpCommit, 1, false},
		{sinktest.OpPublish, 1, false},
		{sinktest.OpPublished, 1, true},
		{sinktest.OpOpen, 1, true},
		{sinktest.OpRead, 2, true},
		{sinktest.OpStat, 1, true},
		{sinktest.OpPoints, 1, true},
	}
	for _, test := range tests {
		t.Run(string(test.op), func(t *testing.T) {
			m := sinktest.NewMemory()
			fault := m.Fail(t, test.op, test.nth, broken)
			if fault.Hit() {
				t.Error("the fault was hit before anything was done")
			}
			if err := store(t.Context(), m); !errors.Is(err, broken) {
				t.Errorf("the error is %v, want %v", err, broken)
			}
			if !fault.Hit() {
				t.Error("the fault was not hit")
			}
			if _, visible := m.Contents()[dir+"/"+sink.ManifestName]; visible != test.visible {
				t.Errorf("the point is there: %t, want %t", visible, test.visible)
			}
			// It fails once: another attempt gets through, or finds the point.
			if err := store(t.Context(), m); err != nil && !errors.Is(err, sink.ErrExists) {
				t.Error(err)
			}
		})
	}
}

func TestFaultOfDiscard(t *testing.T) {
	broken := errors.New("broken by plan")
	m := sinktest.NewMemory()
	m.Fail(t, sinktest.OpDiscard, 1, broken)
	staging, err := m.Stage(t.Context(), dir, "1")
	if err != nil {
		t.Fatal(err)
	}
	if err := staging.Discard(t.Context()); !errors.Is(err, broken) {
		t.Errorf("the error is %v, want %v", err, broken)
	}
	if err := staging.Discard(t.Context()); err != nil {
		t.Errorf("the second discard: %v", err)
	}
}

// A point whose removal was interrupted is hidden, and the next removal takes the
// rest.
func TestFaultsOfRemoval(t *testing.T) {
	broken := errors.New("broken by plan")
	for op, visible := range map[sinktest.Op]bool{sinktest.OpRemove: true, sinktest.OpHidden: false} {
		m := sinktest.NewMemory()
		if err := store(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		m.Fail(t, op, 1, broken)
		if err := m.RemovePoint(t.Context(), dir); !errors.Is(err, broken) {
			t.Errorf("%s: the error is %v, want %v", op, err, broken)
		}
		if _, there := m.Contents()[dir+"/"+sink.ManifestName]; there != visible || len(m.Contents()) == 0 {
			t.Errorf("%s: the sink holds %q", op, m.Contents())
		}
		if err := m.RemovePoint(t.Context(), dir); err != nil || len(m.Contents()) != 0 {
			t.Errorf("%s: the second removal: %v, and the sink holds %q", op, err, m.Contents())
		}
	}
}

// An attempt with an artifact that could not be aborted is not published.
func TestFaultOfAbort(t *testing.T) {
	broken := errors.New("broken by plan")
	m := sinktest.NewMemory()
	m.Fail(t, sinktest.OpAbort, 1, broken)
	staging, err := m.Stage(t.Context(), dir, "1")
	if err != nil {
		t.Fatal(err)
	}
	w, _, err := staging.Create(t.Context(), "image.tar.zst", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Abort(); !errors.Is(err, broken) {
		t.Errorf("the error is %v, want %v", err, broken)
	}
	if err := staging.Publish(t.Context(), []byte("{}")); err == nil {
		t.Error("the point was published")
	}
	if err := errors.Join(w.Abort(), staging.Discard(t.Context())); err != nil || len(m.Contents()) != 0 {
		t.Errorf("%v, and the sink holds %q", err, m.Contents())
	}
}
