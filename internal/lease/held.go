package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/internal/ledger"
)

// Lease is the right to serve a host, while it lasts. It may be used by several
// goroutines.
type Lease struct {
	contender Contender
	ctx       context.Context //nolint:containedctx // the lifetime of the lease, see Context
	lose      context.CancelCauseFunc
	wake      chan struct{} // has the next renewal come at once
	ended     chan struct{} // closed when it is not renewed any more

	mu       sync.Mutex
	revision uint64
	renewed  time.Time     // when the last renewal that succeeded was sent
	again    chan struct{} // closed at the next renewal; nil while nobody waits
}

// begin starts the renewals, which go on until the lease is lost or released.
func (l *Lease) begin() {
	l.ctx, l.lose = context.WithCancelCause(context.Background())
	go func() {
		defer close(l.ended)
		l.keep()
	}()
}

// Context ends with ErrLost as soon as it is known that another worker holds the
// lease, and with context.Canceled after Release.
func (l *Lease) Context() context.Context { return l.ctx }

// Since is when the lease was acquired.
func (l *Lease) Since() time.Time { return l.contender.Since }

// Confirm returns when it is certain that no other worker holds the lease: at once
// if it was renewed less than ten seconds ago, and else as soon as it is renewed. A
// worker that was frozen finds out here. It reports ErrLost, or the cause of ctx.
func (l *Lease) Confirm(ctx context.Context) error {
	for {
		if l.ctx.Err() != nil {
			return context.Cause(l.ctx)
		}
		l.mu.Lock()
		if time.Since(l.renewed) < duration {
			l.mu.Unlock()
			return nil
		}
		if l.again == nil {
			l.again = make(chan struct{})
		}
		again := l.again
		l.mu.Unlock()
		select {
		case l.wake <- struct{}{}:
		default:
		}
		select {
		case <-again:
		case <-l.ctx.Done():
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Release ends the lease, so that another worker takes over at once. It returns
// when the server has it, or ctx ends.
func (l *Lease) Release(ctx context.Context) error {
	held := l.ctx.Err() == nil
	l.lose(context.Canceled)
	<-l.ended
	if !held {
		return nil
	}
	// By compare-and-set: another worker may hold the lock by now.
	_, err := l.write(ctx, Holder{})
	if err != nil && !errors.Is(err, ledger.ErrConflict) {
		return fmt.Errorf("release the lock of host %s: %w", l.contender.Host, err)
	}
	return nil
}

// write writes the lock in place of the one that was written last.
func (l *Lease) write(ctx context.Context, c Holder) (revision uint64, err error) {
	c.Version = lockVersion
	raw, err := json.Marshal(c)
	if err != nil {
		return 0, fmt.Errorf("encode the lock: %w", err)
	}
	l.mu.Lock()
	revision = l.revision
	l.mu.Unlock()
	return l.contender.Locks.Put(ctx, l.contender.Host, raw, revision, duration)
}

// keep renews until the lease's context ends. While the server is away it retries:
// when the server is back the lease goes on, unless another worker holds it.
func (l *Lease) keep() {
	next := time.NewTimer(renewal)
	defer next.Stop()
	for {
		select {
		case <-next.C:
		case <-l.wake:
		case <-l.ctx.Done():
			return
		}
		err := l.renew(l.ctx)
		switch {
		case errors.Is(err, ErrLost):
			l.contender.Log.Warn("another worker serves the host now; this one stops", zap.String("host", l.contender.Host))
			l.lose(ErrLost)
			return
		case err != nil && l.ctx.Err() == nil:
			l.contender.Log.Error("the host's lock could not be renewed; retrying", zap.String("host", l.contender.Host), zap.Error(err))
		}
		next.Reset(renewal)
	}
}

// renew writes the lock again, also one that has lapsed. It reports ErrLost if
// another worker holds it.
func (l *Lease) renew(ctx context.Context) error {
	for {
		sent := time.Now()
		revision, err := l.write(ctx, l.contender.Holder)
		if err == nil {
			l.succeeded(sent, revision)
			return nil
		}
		if !errors.Is(err, ledger.ErrConflict) {
			return fmt.Errorf("renew the lock of host %s: %w", l.contender.Host, err)
		}
		holder, revision, err := l.contender.holder(ctx)
		switch {
		case errors.Is(err, errNewerLock):
			return ErrLost
		case errors.Is(err, ledger.ErrNotFound): // it has lapsed, and nobody took it
			revision = 0
		case err != nil:
			return err
		case holder.Owner != l.contender.Owner:
			return ErrLost
		}
		l.mu.Lock()
		l.revision = revision
		l.mu.Unlock()
	}
}

// succeeded counts a renewal from when it was sent, as the server may have stored
// it at once and answered late.
func (l *Lease) succeeded(sent time.Time, revision uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.revision, l.renewed = revision, sent
	if l.again != nil {
		close(l.again)
		l.again = nil
	}
}
