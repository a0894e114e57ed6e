// Package lease decides who serves a host. Of all workers of a host one holds the
// lease; the others stand by, and one of them takes over when the holder releases
// the lease or has not renewed it for ten seconds. A worker may act for the host
// only while it holds the lease.
package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/internal/ledger"
)

const (
	// duration is how long a lease lasts after its last renewal.
	duration = 10 * time.Second
	// renewal is how often a lease is renewed.
	renewal = 3 * time.Second
	// standbyPoll is how often a standby checks whether the lease is free.
	standbyPoll = time.Second
)

var (
	// ErrLost is the cause with which a lease's context ends when another worker
	// holds it.
	ErrLost = errors.New("another worker serves the host now")
	// ErrOtherEngine is reported when the holder serves another Engine.
	ErrOtherEngine = errors.New("another Engine is served under the same host id")
)

// lockVersion is the version of the lock's format. A reader refuses a higher one.
const lockVersion = 1

// errNewerLock is reported for a lock that a newer version of Holdfast wrote.
var errNewerLock = errors.New("a newer version of Holdfast serves it; update this worker")

// Holder is a worker that serves a host, or would. It is JSON in the lock.
type Holder struct {
	// Version is the version of the format. It is set when the lock is written.
	Version int `json:"version"`
	// Owner is unique for each worker process; empty in a lock that was released.
	Owner string `json:"owner"`
	// EngineID is the Engine's own id.
	EngineID string `json:"engineId"`
	// Process says to people where the worker runs.
	Process string    `json:"process,omitempty"`
	Since   time.Time `json:"since"`
}

// Contender asks for the lease of a host.
type Contender struct {
	// Locks holds one lock for each host, under its id.
	Locks ledger.Store
	Host  string
	Holder
	// Predecessor is the owner of an earlier worker that is known to be dead; its
	// lock is taken at once. It may be empty.
	Predecessor string
	// StandBy is called once if another worker holds the lease and has to be waited
	// for. It may be nil.
	StandBy func(holder Holder)
	Log     *zap.Logger
}

// Acquire waits until nobody holds the host's lease, and takes it. It reports
// ErrOtherEngine, or the cause of ctx.
func (c Contender) Acquire(ctx context.Context) (*Lease, error) {
	stoodBy := false
	for {
		l, holder, err := c.try(ctx)
		if err != nil || l != nil {
			return l, err
		}
		if !stoodBy && holder.Owner != "" {
			stoodBy = true
			if c.StandBy != nil {
				c.StandBy(holder)
			}
		}
		select {
		case <-time.After(standbyPoll):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// try takes the lock if it is free. Otherwise it returns who holds it.
func (c Contender) try(ctx context.Context) (*Lease, Holder, error) {
	holder, revision, err := c.holder(ctx)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
	case err != nil:
		return nil, Holder{}, err
	case holder.Owner == "": // released
	case holder.EngineID != c.EngineID:
		return nil, Holder{}, fmt.Errorf("host %s: %w: %s serves Engine %s, and this is Engine %s; give one of them another id with --host-id",
			c.Host, ErrOtherEngine, holder.Process, holder.EngineID, c.EngineID)
	case holder.Owner != c.Predecessor && holder.Owner != c.Owner:
		return nil, holder, nil
	}
	c.Since = time.Now().UTC()
	l := &Lease{contender: c, revision: revision, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	if err := l.renew(ctx); err != nil {
		if errors.Is(err, ErrLost) { // somebody was quicker
			return nil, Holder{}, nil
		}
		return nil, Holder{}, err
	}
	l.begin()
	return l, Holder{}, nil
}

// holder returns who holds the lock, and the lock's revision. It reports
// ledger.ErrNotFound, and errNewerLock for one that it cannot read.
func (c Contender) holder(ctx context.Context) (Holder, uint64, error) {
	raw, revision, err := c.Locks.Get(ctx, c.Host)
	if err != nil {
		return Holder{}, 0, fmt.Errorf("look who serves host %s: %w", c.Host, err)
	}
	var held Holder
	if err := json.Unmarshal(raw, &held); err != nil {
		return Holder{}, 0, fmt.Errorf("the lock of host %s is damaged: %w", c.Host, err)
	}
	if held.Version > lockVersion {
		return Holder{}, 0, fmt.Errorf("the lock of host %s has format %d, and this version knows %d: %w", c.Host, held.Version,
			lockVersion, errNewerLock)
	}
	return held, revision, nil
}
