package object

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"holdfast.io/holdfast/internal/sink"
)

// Sink is a sink in an object store.
type Sink struct {
	store  Store
	locker Locker // nil if the store locks nothing
	own    sink.Identity
}

var (
	_ sink.Sink      = (*Sink)(nil)
	_ sink.Prober    = (*Sink)(nil)
	_ sink.Permitter = (*Sink)(nil)
	_ sink.Locker    = (*Sink)(nil)
	_ sink.Extender  = (*Sink)(nil)
	_ sink.Sweeper   = (*Sink)(nil)
	_ sink.Sizer     = (*Sink)(nil)
	_ sink.Billed    = (*Sink)(nil)
	_ sink.Formatted = (*Sink)(nil)
)

// Open returns the sink that lies in a store. known is the id that the caller remembers
// from earlier, or empty for a sink that it never used; only then, and only if the store
// has neither an identity nor points, one is set up there, with this format. Several processes that set one
// up at a time agree on one id, if the store can create objects only if absent. Errors
// wrap [sink.ErrUnavailable], or [sink.ErrFull] where there is no room to set it up.
func Open(ctx context.Context, store Store, known, format string) (*Sink, error) {
	if err := checkLock(ctx, store); err != nil {
		return nil, err
	}
	own, err := readIdentity(ctx, store)
	switch {
	case !errors.Is(err, sink.ErrNotFound):
	case known != "":
		err = fmt.Errorf("it is not the sink %s that was used before: it has no %s; is it the right place?", known, sink.IdentityName)
	default:
		own, err = setUp(ctx, store, format)
	}
	if err == nil && known != "" && own.ID != known {
		err = fmt.Errorf("it is the sink %s, and not %s that was used before; is it the right place?", own.ID, known)
	}
	return opened(store, own, err)
}

// OpenExisting returns the sink that lies in a store, whichever it is, and sets none up.
// Errors wrap [sink.ErrUnavailable].
func OpenExisting(ctx context.Context, store Store) (*Sink, error) {
	if err := checkLock(ctx, store); err != nil {
		return nil, err
	}
	own, err := readIdentity(ctx, store)
	if errors.Is(err, sink.ErrNotFound) {
		err = fmt.Errorf("it holds no sink: it has no %s; the first backup sets a sink up", sink.IdentityName)
	}
	return opened(store, own, err)
}

func opened(store Store, own sink.Identity, err error) (*Sink, error) {
	if err != nil {
		return nil, unavailable(store, err)
	}
	locker, _ := store.(Locker)
	return &Sink{store: store, locker: locker, own: own}, nil
}

// checkLock reports why a store that is to lock objects cannot.
func checkLock(ctx context.Context, store Store) error {
	locker, ok := store.(Locker)
	if !ok {
		return nil
	}
	if err := locker.CheckLock(ctx); err != nil {
		return unavailable(store, err)
	}
	return nil
}

// setUp makes the store a sink, with this format.
func setUp(ctx context.Context, store Store, format string) (sink.Identity, error) {
	for _, err := range store.List(ctx, sink.PointsName+"/") {
		if err == nil {
			err = fmt.Errorf("it has %s, but no %s; restore that object from a copy", sink.PointsName, sink.IdentityName)
		}
		return sink.Identity{}, err
	}
	raw, err := sink.NewIdentity(format).Encode()
	if err != nil {
		return sink.Identity{}, err
	}
	if err := store.PutNew(ctx, sink.IdentityName, raw); err != nil && !errors.Is(err, sink.ErrExists) {
		return sink.Identity{}, err
	}
	return readIdentity(ctx, store) // of several that try at a time the first one counts
}

func readIdentity(ctx context.Context, store Store) (sink.Identity, error) {
	raw, err := readSmall(ctx, store, sink.IdentityName, sink.MaxIdentity)
	if err != nil {
		return sink.Identity{}, err
	}
	return sink.DecodeIdentity(raw)
}

// readSmall reads the object at key, of which at most so many bytes are of interest.
func readSmall(ctx context.Context, store Store, key string, most int64) ([]byte, error) {
	r, err := openWhole(ctx, store, key)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(r, most))
	return raw, errors.Join(err, r.Close())
}

// ID implements [sink.Sink].
func (s *Sink) ID() string { return s.own.ID }

// Format implements [sink.Formatted].
func (s *Sink) Format() string { return s.own.Format }

// Repository returns the repository of an image registry that the store is, if it is one: see
// [sink.RepositoryOf].
func (s *Sink) Repository() (sink.Repository, bool) {
	r, ok := s.store.(sink.Repository)
	return r, ok
}

// check reports ErrUnavailable if the store no longer holds this sink.
func (s *Sink) check(ctx context.Context) error {
	own, err := readIdentity(ctx, s.store)
	switch {
	case errors.Is(err, sink.ErrNotFound):
		err = fmt.Errorf("it no longer holds the sink %s: it has no %s", s.own.ID, sink.IdentityName)
	case err == nil && own.ID != s.own.ID:
		err = fmt.Errorf("it now holds the sink %s, and not %s", own.ID, s.own.ID)
	}
	if err == nil || ctx.Err() != nil {
		return err
	}
	return unavailable(s.store, err)
}

// unavailable makes err say that the whole sink cannot be used. A full one stays just that.
func unavailable(store Store, err error) error {
	if errors.Is(err, sink.ErrUnavailable) || errors.Is(err, sink.ErrFull) {
		return err
	}
	return fmt.Errorf("%s: %w: %w", store.Place(""), sink.ErrUnavailable, err)
}

// missing is what a key that leads to nothing means: that, or that the whole sink is gone.
func (s *Sink) missing(ctx context.Context, err error) error {
	if !errors.Is(err, sink.ErrNotFound) {
		return err
	}
	if gone := s.check(ctx); gone != nil {
		return gone
	}
	return err
}

// What a point takes of requests beside its uploads, if all goes well.
const (
	// requestsEach: see checkThere.
	requestsEach = 1
	// requestsLocked: a Locker looks how an object is locked, and locks it.
	requestsLocked = 2
	// requestsOnce: a backup looks for the manifest, and then for the identity; Stage reads
	// that, and looks for uploads and for objects; Publish reads it again, looks for a manifest
	// and creates it, and looks for the fence and for one artifact.
	requestsOnce = 2 + 3 + 5
)

// Requests implements [sink.Billed].
func (s *Sink) Requests(sizes []int64) int64 {
	store, ok := s.store.(Billed)
	if !ok {
		return 0
	}
	requests := int64(requestsOnce)
	for _, size := range sizes {
		requests += store.Requests(size) + requestsEach
		if s.locker != nil {
			requests += requestsLocked
		}
	}
	return requests
}

// attemptPrefix is where an attempt keeps its artifacts. It refuses what [sink.AttemptName]
// refuses.
func attemptPrefix(dir, attempt string) (string, error) {
	if _, err := sink.AttemptName(dir, attempt); err != nil {
		return "", err
	}
	return path.Join(dir, attempt) + "/", nil
}
