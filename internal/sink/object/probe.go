package object

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast.io/holdfast/internal/sink"
)

const (
	// probeName is the object that a store is tried with. Where nothing may be removed it is
	// left there.
	probeName = ".probe"
	// lockProbeName is the object that locking is tried with. It stays until the next time.
	lockProbeName = ".probe-lock"
)

// Probe implements [sink.Prober].
func (s *Sink) Probe(ctx context.Context) (p sink.Probed, err error) {
	if err := s.check(ctx); err != nil {
		return p, err
	}
	if p.Warnings, err = s.store.Caveats(ctx, probeName); err != nil {
		return p, err
	}
	began := time.Now()
	if err := s.tryToWrite(ctx); err != nil {
		return p, err
	}
	ended := time.Now()
	info, err := s.store.Stat(ctx, probeName)
	if err != nil {
		return p, err
	}
	p.Warnings = append(p.Warnings, sink.ClockCaveats(began, ended, info.Modified)...)
	for _, err := range s.store.List(ctx, sink.PointsName+"/") {
		if err != nil {
			return p, err
		}
		break
	}
	p.May = []string{"read", "write", "list"}
	switch err := s.store.Delete(ctx, probeName); {
	case errors.Is(err, sink.ErrMayNotRemove):
		p.Warnings = append(p.Warnings, "these credentials may not delete: backups work, prune does not; where the "+
			"store keeps versions, or locks, that protects what is stored against whoever takes this machine")
	case err != nil:
		p.Warnings = append(p.Warnings,
			fmt.Sprintf("nothing can be removed here: prune, and what failed attempts leave, need somebody else (%v)", err))
	default:
		p.May = append(p.May, "delete")
	}
	return p, s.tryToLock(ctx, &p)
}

// tryToWrite stores the probe, and reads it back.
func (s *Sink) tryToWrite(ctx context.Context) error {
	content := []byte("holdfast looks whether it can write here\n")
	if err := s.store.Put(ctx, probeName, content); err != nil {
		return err
	}
	back, err := readSmall(ctx, s.store, probeName, sink.MaxIdentity)
	if err == nil && !bytes.Equal(back, content) {
		err = fmt.Errorf("%s: %w: what was written is read back as something else", s.store.Place(probeName), sink.ErrUnavailable)
	}
	return err
}

func (s *Sink) tryToLock(ctx context.Context, p *sink.Probed) error {
	if s.locker == nil {
		return nil
	}
	if err := s.store.Delete(ctx, lockProbeName); err != nil && !sink.IsKept(err) { // that of the last time
		return err
	}
	how, err := s.locker.TryLock(ctx, lockProbeName)
	if err != nil {
		return err
	}
	p.May = append(p.May, "lock ("+how+")")
	return nil
}

// MayRemove implements [sink.Permitter].
func (s *Sink) MayRemove(ctx context.Context) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	if err := s.tryToWrite(ctx); err != nil {
		return err
	}
	return s.store.Delete(ctx, probeName)
}
