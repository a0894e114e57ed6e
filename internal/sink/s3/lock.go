package s3

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/minio/minio-go/v7"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
)

// The modes of a lock, as a configuration has them.
const (
	Governance = "governance" // who has the right to bypass it can remove what is locked
	Compliance = "compliance" // nobody can, not even the account's owner
)

// Lock says how long objects of points are locked, and how.
type Lock struct {
	Mode string
	For  time.Duration
}

// MinLock is the least time for which points are locked.
const MinLock = time.Minute

// Check refuses what makes no sense.
func (l Lock) Check() error {
	switch {
	case l.Mode != Governance && l.Mode != Compliance:
		return fmt.Errorf("lock is %q; it must be %s or %s", l.Mode, Governance, Compliance)
	case l.For < MinLock:
		return fmt.Errorf("lockFor is %s; it must say how long points are locked: at least %s, as in 720h", l.For, MinLock)
	}
	return nil
}

func (l Lock) mode() minio.RetentionMode {
	if l.Mode == Compliance {
		return minio.Compliance
	}
	return minio.Governance
}

// LockedStore is a prefix in a bucket with object lock. Such a bucket keeps every version of
// its objects, and removing one only hides it; so Delete removes the versions.
type LockedStore struct {
	*Store
	lock Lock
}

var _ object.Locker = (*LockedStore)(nil)

// NewLocked is New, for objects that are locked.
func NewLocked(o Options, l Lock) (*LockedStore, error) {
	if err := l.Check(); err != nil {
		return nil, err
	}
	s, err := New(o)
	if err != nil {
		return nil, err
	}
	s.versioned = true
	return &LockedStore{Store: s, lock: l}, nil
}

// noLock is the code of a service's answer about a bucket without object lock.
const noLock = "ObjectLockConfigurationNotFoundError"

// CheckLock implements [object.Locker].
func (s *LockedStore) CheckLock(ctx context.Context) error {
	enabled, _, _, _, err := s.core.GetObjectLockConfig(ctx, s.options.Bucket)
	answer, answered := errors.AsType[minio.ErrorResponse](err)
	_, other := errors.AsType[xml.UnmarshalError](err) // it answers another question
	const instead = "; use one that was made with it, or leave lock out of the sink's configuration"
	switch {
	case err == nil && enabled == "Enabled":
		return nil
	case err == nil, answer.Code == noLock:
		return fmt.Errorf("%s: %w: the bucket has no object lock"+instead, s.Place(""), sink.ErrUnavailable)
	case other, answered && (answer.StatusCode == http.StatusNotImplemented || answer.StatusCode == http.StatusMethodNotAllowed):
		return fmt.Errorf("%s: %w: the service knows no object lock"+instead+": %w", s.Place(""), sink.ErrUnavailable, err)
	}
	return s.explain("", err)
}

// LockFor implements [object.Locker].
func (s *LockedStore) LockFor() time.Duration { return s.lock.For }

// whole is a time as services keep it: in whole seconds, and not earlier.
func whole(t time.Time) time.Time { return t.Add(time.Second - 1).UTC().Truncate(time.Second) }

// Lock implements [object.Locker]. What somebody else locks at the same time, for longer, is
// refused to be shortened; then what counts is what it came to.
func (s *LockedStore) Lock(ctx context.Context, key string, until time.Time) error {
	until = whole(until)
	now, err := s.retention(ctx, key, "")
	if err != nil || now.covers(s.lock.mode(), until) {
		return s.explain(key, err)
	}
	next := retention{s.lock.mode(), until}
	if now.mode == minio.Compliance { // it can be made no weaker
		next.mode = now.mode
	}
	if now.until.After(until) {
		next.until = whole(now.until)
	}
	if now.mode == minio.Governance && next.mode == minio.Compliance {
		if err := s.again(ctx, key); err != nil {
			return err
		}
	}
	o := minio.PutObjectRetentionOptions{Mode: &next.mode, RetainUntilDate: &next.until}
	err = s.core.PutObjectRetention(ctx, s.options.Bucket, s.prefix+key, o)
	if err == nil {
		return nil
	}
	if now, rerr := s.retention(ctx, key, ""); rerr == nil && now.covers(s.lock.mode(), until) {
		return nil
	}
	return s.explain(key, err)
}

// again puts a copy of an object in its place, which is not locked: services do not have a lock of
// governance made one of compliance, some not even one that has ended.
func (s *LockedStore) again(ctx context.Context, key string) error {
	info, err := s.Stat(ctx, key)
	if err != nil {
		return err
	}
	return s.Copy(ctx, key, key, info.Size)
}

// PutNewLocked implements [object.Locker].
func (s *LockedStore) PutNewLocked(ctx context.Context, key string, content []byte, until time.Time) error {
	o := s.putOptions()
	o.Mode, o.RetainUntilDate = s.lock.mode(), whole(until)
	return s.putNew(ctx, key, content, o)
}

// LockedUntil implements [object.Locker].
func (s *LockedStore) LockedUntil(ctx context.Context, key string) (time.Time, error) {
	now, err := s.retention(ctx, key, "")
	if err = s.explain(key, err); errors.Is(err, sink.ErrNotFound) {
		err = nil
	}
	return now.until, err
}

// TryLock implements [object.Locker].
func (s *LockedStore) TryLock(ctx context.Context, key string) (how string, err error) {
	o := s.putOptions()
	o.Mode, o.RetainUntilDate = s.lock.mode(), time.Now().Add(MinLock)
	if err := s.put(ctx, key, []byte("holdfast looks whether it can lock here\n"), o); err != nil {
		return "", err
	}
	until, err := s.LockedUntil(ctx, key)
	if err == nil && until.IsZero() {
		err = fmt.Errorf("%s: %w: the service says that it has object lock, and does not lock; "+
			"or these credentials may not know (s3:GetObjectRetention)", s.Place(key), sink.ErrUnavailable)
	}
	return fmt.Sprintf("%s, %s", s.lock.Mode, s.lock.For), err
}

// What a service says of an object that is locked. The call that is meant for it is answered in
// ways that differ.
const (
	retainUntil = "X-Amz-Object-Lock-Retain-Until-Date"
	retainMode  = "X-Amz-Object-Lock-Mode"
)

// retention is how an object is locked; zero if it is not.
type retention struct {
	mode  minio.RetentionMode
	until time.Time
}

// covers reports whether nothing is to be done to have an object locked so.
func (r retention) covers(mode minio.RetentionMode, until time.Time) bool {
	return !r.until.Before(until) && (r.mode == mode || r.mode == minio.Compliance)
}

// retention returns how a version of an object is locked, which is the newest one without an
// id; zero if it is not, or the credentials may not know. Errors are those of the service.
func (s *Store) retention(ctx context.Context, key, version string) (r retention, err error) {
	info, err := s.core.StatObject(ctx, s.options.Bucket, s.prefix+key, minio.StatObjectOptions{VersionID: version})
	if err != nil {
		return r, err
	}
	said := info.Metadata.Get(retainUntil)
	if said == "" {
		return r, nil
	}
	r.mode = minio.RetentionMode(info.Metadata.Get(retainMode))
	r.until, err = time.Parse(time.RFC3339, said)
	return r, err
}

// deleteVersions removes all versions of the object at key. The oldest goes first: if it
// cannot, no newer one that was in its place goes, so that none comes back.
func (s *Store) deleteVersions(ctx context.Context, key string) error {
	var versions []string
	o := minio.ListObjectsOptions{Prefix: s.prefix + key, Recursive: true, WithVersions: true}
	for info := range s.core.ListObjectsIter(ctx, s.options.Bucket, o) {
		if info.Err != nil {
			return s.mayNotRemove(key, info.Err)
		}
		if info.Key != s.prefix+key {
			break // a longer one: it comes after
		}
		versions = append(versions, info.VersionID)
	}
	for _, version := range slices.Backward(versions) {
		err := s.core.RemoveObject(ctx, s.options.Bucket, s.prefix+key, minio.RemoveObjectOptions{VersionID: version})
		if err = s.whyKept(ctx, key, version, s.mayNotRemove(key, err)); err != nil && !errors.Is(err, sink.ErrNotFound) {
			return err
		}
	}
	return nil
}

// clockSkew is by how much this machine's clock and the service's may differ: requests are
// refused beyond that.
const clockSkew = 15 * time.Minute

// whyKept returns a *sink.LockedError in place of an error that a version may not be removed,
// where that is locked: services answer the same for both. Not all of them say of an older
// version that it is; then what counts is what has taken its place.
func (s *Store) whyKept(ctx context.Context, key, version string, err error) error {
	if !errors.Is(err, sink.ErrMayNotRemove) {
		return err
	}
	now, rerr := s.retention(ctx, key, version)
	if rerr == nil && now.until.IsZero() {
		now, rerr = s.retention(ctx, key, "")
	}
	if rerr == nil && now.until.After(time.Now().Add(-clockSkew)) {
		return &sink.LockedError{Place: s.Place(key), Until: now.until}
	}
	return err
}
