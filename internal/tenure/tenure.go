// Package tenure decides who serves a host. Of all workers of a host one is its
// tenant; the others stand by, and one of them takes over when the tenant gives
// up, or is not heard of for ten seconds. What a worker may do as long as it is
// the tenant, it must not do any more when it has lost that.
package tenure

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
	// lapse is how long after its last renewal a tenure ends.
	lapse = 10 * time.Second
	// renewal is how often a tenure is renewed.
	renewal = 3 * time.Second
	// look is how often one who stands by looks whether the tenure has lapsed.
	look = time.Second
)

var (
	// ErrLost is the cause with which a tenure's context ends when the host has
	// another tenant.
	ErrLost = errors.New("another worker serves the host now")
	// ErrOtherEngine is reported when the host has a tenant with another Engine.
	ErrOtherEngine = errors.New("another Engine is served under the same host id")
)

// Claimant is a worker that would serve a host. It is JSON in the lock.
type Claimant struct {
	// Owner is unique for each worker process; empty in a lock that was given up.
	Owner string `json:"owner"`
	// EngineID is the Engine's own id.
	EngineID string `json:"engineId"`
	// Process says to people where the worker runs.
	Process string    `json:"process,omitempty"`
	Since   time.Time `json:"since"`
}

// Candidate asks for the tenure of a host.
type Candidate struct {
	// Locks holds one lock for each host, under its id.
	Locks ledger.Store
	Host  string
	Claimant
	// Predecessor is the owner of an earlier worker that is known to be dead; its
	// lock is taken at once. It may be empty.
	Predecessor string
	// StandBy is called once if there is a tenant, who is waited for. It may be nil.
	StandBy func(tenant Claimant)
	Log     *zap.Logger
}

// Take waits until the host has no tenant, and becomes it. It reports
// ErrOtherEngine, or the cause of ctx.
func (c Candidate) Take(ctx context.Context) (*Tenure, error) {
	stoodBy := false
	for {
		t, tenant, err := c.try(ctx)
		if err != nil || t != nil {
			return t, err
		}
		if !stoodBy && tenant.Owner != "" {
			stoodBy = true
			if c.StandBy != nil {
				c.StandBy(tenant)
			}
		}
		select {
		case <-time.After(look):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// try takes the lock if it is free. Otherwise it returns who has it.
func (c Candidate) try(ctx context.Context) (*Tenure, Claimant, error) {
	tenant, revision, err := c.holder(ctx)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
	case err != nil:
		return nil, Claimant{}, err
	case tenant.Owner == "": // given up
	case tenant.EngineID != c.EngineID:
		return nil, Claimant{}, fmt.Errorf("host %s: %w: %s serves Engine %s, and this is Engine %s; give one of them another id with --host-id",
			c.Host, ErrOtherEngine, tenant.Process, tenant.EngineID, c.EngineID)
	case tenant.Owner != c.Predecessor && tenant.Owner != c.Owner:
		return nil, tenant, nil
	}
	c.Since = time.Now().UTC()
	t := &Tenure{candidate: c, revision: revision, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	if err := t.renew(ctx); err != nil {
		if errors.Is(err, ErrLost) { // somebody was quicker
			return nil, Claimant{}, nil
		}
		return nil, Claimant{}, err
	}
	t.begin()
	return t, Claimant{}, nil
}

// holder returns who has the lock. It reports ledger.ErrNotFound.
func (c Candidate) holder(ctx context.Context) (Claimant, uint64, error) {
	raw, revision, err := c.Locks.Get(ctx, c.Host)
	if err != nil {
		return Claimant{}, 0, fmt.Errorf("look who serves host %s: %w", c.Host, err)
	}
	var held Claimant
	if err := json.Unmarshal(raw, &held); err != nil {
		return Claimant{}, 0, fmt.Errorf("the lock of host %s is damaged: %w", c.Host, err)
	}
	return held, revision, nil
}
