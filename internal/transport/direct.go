package transport

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/sink"
)

// Direct moves images as docker push does, to the registry in which a sink lies: the worker sees
// none of their bytes. It may be used by several goroutines; its fields are not changed once it is
// in use.
type Direct struct {
	Engine engine.Registries

	mu    sync.Mutex
	known map[string]reached // by what the registry was asked for
}

// reached is whether the Engine reaches a registry.
type reached struct {
	at  time.Time
	err error // why not
}

// rememberFor is for how long it is remembered whether an Engine reaches a registry, and askFor how
// long it may take to find out.
const (
	rememberFor = 10 * time.Minute
	askFor      = 30 * time.Second
)

// ErrNotDirect is wrapped by the errors of a push that are the registry's or those of the way to it.
var ErrNotDirect = errors.New("the Engine does not push to the sink's registry by itself")

// Reached reports why the Engine does not reach a registry, or is not let in; nil if it does. What
// the Engine is asked for is there alone: at the address that the worker knows, another registry may
// answer the Engine.
func (d *Direct) Reached(ctx context.Context, r sink.Repository) error {
	own, err := r.Own(ctx)
	if err != nil {
		return err
	}
	d.mu.Lock()
	known, ok := d.known[own]
	d.mu.Unlock()
	if ok && time.Since(known.at) < rememberFor {
		return known.err
	}
	if err = d.ask(ctx, r, own); ctx.Err() == nil {
		d.remember(own, err)
	}
	return err
}

func (d *Direct) ask(ctx context.Context, r sink.Repository, own string) error {
	auth, err := credentials(ctx, r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, askFor, fmt.Errorf("it has not answered within %s", askFor))
	defer cancel()
	if err = d.Engine.LookUp(ctx, own, auth); errors.Is(err, engine.ErrNotFound) {
		return fmt.Errorf("%w: another registry answers it there", ErrNotDirect)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotDirect, err)
	}
	return nil
}

// remember keeps what came of asking, or of a push, unless that is the Engine's being away.
func (d *Direct) remember(own string, err error) {
	if errors.Is(err, engine.ErrEngineUnavailable) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil {
		d.known = map[string]reached{}
	}
	d.known[own] = reached{time.Now(), err}
}

// Run has the Engine push the image that has a reference of the repository. progress is called as
// it goes on. A push that fails is remembered: Reached reports it for a while.
func (d *Direct) Run(ctx context.Context, r sink.Repository, reference string, progress func()) error {
	auth, err := credentials(ctx, r)
	if err != nil {
		return err
	}
	if err = d.Engine.Push(ctx, reference, auth, progress); err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err = fmt.Errorf("%w: %w", ErrNotDirect, err)
	if !errors.Is(err, engine.ErrNotFound) {
		if own, oerr := r.Own(ctx); oerr == nil {
			d.remember(own, err)
		}
	}
	return err
}

func credentials(ctx context.Context, r sink.Repository) (engine.Credentials, error) {
	l, err := r.Login(ctx)
	return engine.Credentials{User: l.User, Password: l.Password, RegistryToken: l.RegistryToken, IdentityToken: l.IdentityToken}, err
}
