package transport

import (
	"context"
	"sync"

	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/registry"
)

// Push moves images as docker push does, to a registry of ours on the Engine's loopback. It
// may be used by several goroutines; its fields are not changed once it is in use.
type Push struct {
	Engine      engine.Registries
	Server      *registry.Server
	Credentials engine.Credentials

	mu     sync.Mutex
	asked  bool
	reach  error           // what the Engine's answer was
	untold map[string]bool // layers that it has sent though they need not be, by their diff ids
}

// Reached reports why the Engine does not reach the registry; nil if it does. It asks the
// Engine once.
func (p *Push) Reached(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked {
		return p.reach
	}
	err := p.Server.Reached(ctx, p.Engine.LookUp)
	if ctx.Err() == nil {
		p.asked, p.reach = true, err
	}
	return err
}

// Run has the Engine push the image that has the session's reference, and returns when the
// session is closed. An error of the receiver is told apart by the session's Err.
func (p *Push) Run(ctx context.Context, s *registry.Session) error {
	defer s.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return p.Engine.Push(ctx, s.Reference(), p.Credentials)
}

// Untold remembers that the Engine has sent layers below this one though the registry has
// them, and IsUntold whether it has.
func (p *Push) Untold(diffID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.untold == nil {
		p.untold = map[string]bool{}
	}
	p.untold[diffID] = true
}

// IsUntold reports whether Untold was called for this layer.
func (p *Push) IsUntold(diffID string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.untold[diffID]
}
