package lease_test

import (
	"context"
	"sync"
	"time"

	"holdfast.io/holdfast/internal/ledger/ledgertest"
)

// gate is one worker's way to a store that others reach.
type gate struct {
	*ledgertest.Memory
	mu     sync.Mutex
	closed chan struct{} // closed when the gate opens again; nil while it is open
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = make(chan struct{})
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.closed)
	g.closed = nil
}

func (g *gate) pass(ctx context.Context) error {
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	if closed == nil {
		return nil
	}
	select {
	case <-closed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (g *gate) Get(ctx context.Context, key string) ([]byte, uint64, error) {
	if err := g.pass(ctx); err != nil {
		return nil, 0, err
	}
	return g.Memory.Get(ctx, key)
}

func (g *gate) Put(ctx context.Context, key string, value []byte, expected uint64, ttl time.Duration) (uint64, error) {
	if err := g.pass(ctx); err != nil {
		return 0, err
	}
	return g.Memory.Put(ctx, key, value, expected, ttl)
}
