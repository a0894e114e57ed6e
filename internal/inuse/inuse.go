// Package inuse is where jobs say which points they read, so that nobody removes one
// meanwhile: in the bucket of the locks, for all hosts of a fleet to see.
//
// Who reads a point registers first and looks then whether the point was removed; who
// removes one hides it first and looks then whether it is in use. So one of both sees
// the other. A process with another message server is not seen: for it there is the
// grace between the hiding of a point and the removal of its bytes.
package inuse

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"holdfast.io/holdfast/internal/ledger"
)

const (
	// lasts is how long a registration lasts after its last renewal.
	lasts = 10 * time.Second
	// renewal is how often it is renewed.
	renewal = 3 * time.Second
)

// Registry are the points that jobs of all hosts use. It may be used by several
// goroutines.
type Registry struct {
	// Locks is the bucket: its keys are point.<host>.<sink's id>.<point's id>.<job>.
	Locks ledger.Store
	// Host is the host whose jobs register here.
	Host string
}

// Point is a point in a sink, by their ids.
type Point struct{ Sink, ID string }

// Register says that a job uses a point, until release is called. It returns when all
// see it. While the message server is away for longer than ten seconds the
// registration may lapse; it is there again when the server is. Two registrations of
// one point by one job are one: they must not overlap.
func (r *Registry) Register(ctx context.Context, p Point, job string) (release func(), err error) {
	key := strings.Join([]string{"point", r.Host, p.Sink, p.ID, job}, ".")
	if !ledger.ValidKey(key) {
		return nil, fmt.Errorf("point %s of the sink %s cannot be registered as in use: %q is not a key", p.ID, p.Sink, key)
	}
	if err := r.put(ctx, key); err != nil {
		return nil, fmt.Errorf("register that point %s is in use: %w", p.ID, err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.renew(ctx, key)
	}()
	return func() {
		cancel()
		<-ended
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), renewal)
		defer cancel()
		_ = r.Locks.Delete(ctx, key) // it lapses by itself
	}, nil
}

// renew renews a registration until ctx ends.
func (r *Registry) renew(ctx context.Context, key string) {
	for {
		select {
		case <-time.After(renewal):
			_ = r.put(ctx, key) // it is tried again
		case <-ctx.Done():
			return
		}
	}
}

// put writes a key, whatever is there.
func (r *Registry) put(ctx context.Context, key string) error {
	for {
		_, revision, err := r.Locks.Get(ctx, key)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return err
		}
		if _, err = r.Locks.Put(ctx, key, []byte("{}"), revision, lasts); !errors.Is(err, ledger.ErrConflict) {
			return err
		}
	}
}

// Users returns who uses points of a sink, by the points' ids, in words.
func (r *Registry) Users(ctx context.Context, sink string) (map[string]string, error) {
	return r.users(ctx, "point.*."+sink+".>")
}

// UserOf returns who uses a point, in words; empty if nobody does.
func (r *Registry) UserOf(ctx context.Context, p Point) (string, error) {
	users, err := r.users(ctx, "point.*."+p.Sink+"."+p.ID+".*")
	return users[p.ID], err
}

func (r *Registry) users(ctx context.Context, pattern string) (map[string]string, error) {
	users := map[string]string{}
	for e, err := range r.Locks.List(ctx, pattern) {
		if err != nil {
			return nil, fmt.Errorf("look which points are in use: %w", err)
		}
		if parts := strings.Split(e.Key, "."); len(parts) == 5 {
			users[parts[3]] = fmt.Sprintf("job %s of host %s", parts[4], parts[1])
		}
	}
	return users, nil
}
