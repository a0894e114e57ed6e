package transport

import (
	"context"
	"sync"

	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/registry"
)

// Push moves images as docker push does, to a registry of ours on the Engine's loopback, and
// knows what the Engine is known to send for it. It may be used by several goroutines; its fields are not changed once it is in use.
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

// Run has the Engine push the image that has the session's reference. again, asked when it has
// ended, has it push once more. Run returns when the session is closed. An error of the receiver
// is told apart by the session's Err.
func (p *Push) Run(ctx context.Context, s *registry.Session, again func() bool) (err error) {
	defer s.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for once := true; once || again() && s.Err() == nil; once = false {
		err = p.Engine.Push(ctx, s.Reference(), p.Credentials, func() {}) // the session sees what comes
	}
	return err
}

// Pull has the Engine pull what the session offers. An error of what is offered comes before
// the Engine's own, which says less of it.
func (p *Push) Pull(ctx context.Context, s *registry.Session) error {
	err := p.Engine.Pull(ctx, s.Reference(), p.Credentials)
	if broken := s.Err(); err != nil && broken != nil && ctx.Err() == nil {
		return broken
	}
	return err
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

// Told says that the Engine knows this layer, and those below, by now.
func (p *Push) Told(diffID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.untold, diffID)
}

// IsUntold reports whether Untold was called for this layer, and not Told since.
func (p *Push) IsUntold(diffID string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.untold[diffID]
}
