// Package prime has a classic Engine learn the layers of bases that it did not pull, while
// the worker has nothing else to do: the first push of what is based on one would have it
// compress all of the base. It pulls them from the worker's registry, as a sink has them, as
// an image of another configuration, which is removed again; from then on it asks for these
// layers when it pushes, and does not send them.
package prime

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/state"
	"holdfast.io/holdfast/internal/transport"
	"holdfast.io/holdfast/internal/undo"
)

// Bounds of what is done while the worker is idle.
const (
	// DefaultWait is for how long no job has run before a base is primed.
	DefaultWait = 30 * time.Second
	// maxTries is how often a base is tried, those tries included that a job ends, and
	// firstDelay how long after the first one that fails; it grows threefold.
	maxTries   = 3
	firstDelay = 10 * time.Minute
	// maxWaiting and maxRemembered bound how many bases wait, and of how many is kept what
	// is known.
	maxWaiting    = 100
	maxRemembered = 1000
)

// Engine is what is needed of an Engine.
type Engine interface {
	About(ctx context.Context) (engine.About, error)
	Images(ctx context.Context) ([]engine.Image, error)
	engine.Images
}

// Memory keeps what is known of bases, so that it outlives the process.
type Memory interface {
	Bases() (map[string]state.Base, error)
	KeepBases(all map[string]state.Base) error
}

// Base is an image that a container was made from, whose layers a sink has.
type Base struct {
	// Image is its full id.
	Image string
	// DiffIDs are the digests of its plain layers, the lowest first.
	DiffIDs []string
	// Sink and Dir are where a point lies that has the layers.
	Sink, Dir string
}

// Primer primes bases, one at a time. It may be used by several goroutines; its fields are
// not changed once it is in use.
type Primer struct {
	Engine Engine
	// EngineID is the Engine's own id: another one knows nothing of what this one does.
	EngineID string
	// Push has the registry, which the Engine reaches; its Engine is the same.
	Push *transport.Push
	// Transport knows how much room the Engine has.
	Transport *transport.Save
	Sinks     undo.Sinks
	Sweeper   *undo.Sweeper
	Memory    Memory
	// Wait is for how long no job has run before a base is primed.
	Wait time.Duration
	Log  *zap.Logger

	mu      sync.Mutex
	jobs    int       // that run
	idle    time.Time // since when none does
	cancel  context.CancelCauseFunc
	waiting []*candidate
	known   map[string]state.Base // by key; nil until it was read
	changed chan struct{}         // closed at the next change
}

// candidate is a base that waits.
type candidate struct {
	Base
	key   string
	after time.Time // when it may be tried
}

// errJob ends what is done while the worker is idle.
var errJob = errors.New("a job has come")

// errUnneeded: the Engine knows the layers of a base, or nothing is gained if it does, or it
// cannot be primed.
var errUnneeded = errors.New("the base is not primed")

// Busy says that a job begins, until ended is called. What is being primed is given up at
// once.
func (p *Primer) Busy() (ended func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.jobs++
	if p.cancel != nil {
		p.cancel(errJob)
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.jobs--
		p.idle = time.Now()
		p.change()
	}
}

// Saved says that what is based on an image was stored in layers that the Engine did not
// push, though it could: it may not know them.
func (p *Primer) Saved(b Base) {
	if len(b.DiffIDs) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c := &candidate{Base: b, key: p.key(b.DiffIDs)}
	p.drop(c.key) // the later point is there for longer
	if !p.wants(c) {
		return
	}
	c.after = p.known[c.key].Next
	p.waiting = append(p.waiting, c)
	if len(p.waiting) > maxWaiting {
		p.waiting = p.waiting[1:]
	}
	p.change()
}

// Pushed says that the Engine has pushed what is based on an image with these layers: it
// knows them.
func (p *Primer) Pushed(diffIDs []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := p.key(diffIDs)
	p.drop(key)
	if p.known != nil && !p.known[key].Known {
		p.remember(key, func(b *state.Base) { b.Known = true })
	}
}

// Run primes bases until ctx ends, or the Engine may not be told to.
func (p *Primer) Run(ctx context.Context) {
	known, err := p.Memory.Bases()
	if err != nil {
		p.Log.Warn("bases are not primed: it is not known which were", zap.Error(err))
		return
	}
	p.mu.Lock()
	p.known, p.idle = known, time.Now()
	if p.known == nil {
		p.known = map[string]state.Base{}
	}
	p.waiting = slices.DeleteFunc(p.waiting, func(c *candidate) bool { return !p.wants(c) })
	p.mu.Unlock()
	for ctx.Err() == nil {
		c, wait, changed := p.next()
		var due <-chan time.Time
		if c != nil {
			due = time.After(wait)
		}
		select {
		case <-due:
			if !p.try(ctx, c) {
				return
			}
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// next returns the base that is to be tried first, and in how long; none while a job runs.
func (p *Primer) next() (c *candidate, wait time.Duration, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	if p.jobs > 0 || len(p.waiting) == 0 {
		return nil, 0, p.changed
	}
	c = slices.MinFunc(p.waiting, func(a, b *candidate) int { return a.after.Compare(b.after) })
	at := p.idle.Add(p.Wait)
	if c.after.After(at) {
		at = c.after
	}
	return c, time.Until(at), p.changed
}

// try primes a base, and keeps what came of it. It returns false if nothing more is to be
// tried.
func (p *Primer) try(ctx context.Context, c *candidate) bool {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if !p.begin(c, cancel) {
		return true
	}
	began := time.Now()
	var size int64
	err := panics.Catch(func() (err error) {
		size, err = p.prime(ctx, c.Base)
		return err
	})
	log := p.Log.With(zap.String("image", c.Image))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cancel = nil
	switch {
	case err == nil:
		log.Info("primed: the Engine knows the layers of a base", zap.Int64("bytes", size),
			zap.Float64("seconds", time.Since(began).Seconds()))
		p.Push.Told(c.top())
		p.drop(c.key)
		p.remember(c.key, func(b *state.Base) { b.Known = true })
	case errors.Is(err, errUnneeded):
		log.Debug("not primed", zap.Error(err))
		p.drop(c.key)
	case errors.Is(err, engine.ErrRefused):
		log.Warn("bases are not primed; the first push of what is based on them takes longer", zap.Error(err))
		return false
	case ctx.Err() != nil && !errors.Is(context.Cause(ctx), errJob): // the worker ends
	default:
		p.failed(c, err, log)
	}
	return true
}

// begin reports whether a base may be tried, as no job has begun meanwhile.
func (p *Primer) begin(c *candidate, cancel context.CancelCauseFunc) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.jobs > 0 || time.Since(p.idle) < p.Wait || !slices.Contains(p.waiting, c) {
		return false
	}
	p.cancel = cancel
	return true
}

// The methods below are called with the mutex held.

// wants reports whether a base is to be tried, by what is known of it. What the Engine knew
// and has sent all the same it has forgotten.
func (p *Primer) wants(c *candidate) bool {
	known := p.known[c.key]
	return (!known.Known || p.Push.IsUntold(c.top())) && known.Tries < maxTries
}

// failed keeps that a try has failed. How often it was interrupted counts too: what is never
// done in time is not begun again and again.
func (p *Primer) failed(c *candidate, err error, log *zap.Logger) {
	now := p.known[c.key]
	p.remember(c.key, func(b *state.Base) {
		b.Tries++
		if !errors.Is(err, errJob) {
			delay := firstDelay
			for range now.Tries {
				delay *= 3
			}
			b.Next = time.Now().UTC().Add(delay)
		}
	})
	now = p.known[c.key]
	c.after = now.Next
	fields := []zap.Field{zap.Int("try", now.Tries), zap.Error(err), panics.LogStack(err)}
	if now.Tries >= maxTries {
		p.drop(c.key)
		log.Warn("a base could not be primed, and is not tried again; the first push of what is based on it takes longer", fields...)
		return
	}
	log.Info("a base was not primed; it is tried again", fields...)
}

func (p *Primer) drop(key string) {
	p.waiting = slices.DeleteFunc(p.waiting, func(c *candidate) bool { return c.key == key })
}

// remember keeps what is known of a base, durably if that can be.
func (p *Primer) remember(key string, change func(b *state.Base)) {
	b := p.known[key]
	change(&b)
	b.Time = time.Now().UTC()
	p.known[key] = b
	if len(p.known) > maxRemembered {
		oldest := slices.MinFunc(slices.Collect(maps.Keys(p.known)), func(a, b string) int {
			return p.known[a].Time.Compare(p.known[b].Time)
		})
		delete(p.known, oldest)
	}
	if err := p.Memory.KeepBases(p.known); err != nil {
		p.Log.Warn("it is not kept which bases the Engine knows", zap.Error(err))
	}
}

func (p *Primer) change() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// key is what is kept of a base on this Engine is found by.
func (p *Primer) key(diffIDs []string) string {
	sum := sha256.Sum256([]byte(p.EngineID + "\n" + strings.Join(diffIDs, "\n")))
	return hex.EncodeToString(sum[:])
}

// top is the highest layer.
func (b *Base) top() string { return b.DiffIDs[len(b.DiffIDs)-1] }
