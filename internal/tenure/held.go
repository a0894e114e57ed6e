package tenure

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

// Tenure is the right to serve a host, while it lasts. It may be used by several
// goroutines.
type Tenure struct {
	candidate Candidate
	ctx       context.Context
	lose      context.CancelCauseFunc
	wake      chan struct{} // has the next renewal come at once
	ended     chan struct{} // closed when it is not renewed any more

	mu       sync.Mutex
	revision uint64
	renewed  time.Time     // when the last renewal that succeeded was sent
	again    chan struct{} // closed at the next renewal; nil while nobody waits
}

// begin has the tenure renewed until it is lost or given up.
func (t *Tenure) begin() {
	t.ctx, t.lose = context.WithCancelCause(context.Background())
	go func() {
		defer close(t.ended)
		t.keep()
	}()
}

// Context ends with ErrLost as soon as it is known that somebody else is the
// tenant, and with context.Canceled after Release.
func (t *Tenure) Context() context.Context { return t.ctx }

// Since is when the tenure began.
func (t *Tenure) Since() time.Time { return t.candidate.Since }

// Confirm returns when it is certain that nobody else has the tenure: at once, if
// it was renewed less than ten seconds ago, and else as soon as it is renewed. A
// worker that was frozen finds out here. It reports ErrLost, or the cause of ctx.
func (t *Tenure) Confirm(ctx context.Context) error {
	for {
		if t.ctx.Err() != nil {
			return context.Cause(t.ctx)
		}
		t.mu.Lock()
		if time.Since(t.renewed) < lapse {
			t.mu.Unlock()
			return nil
		}
		if t.again == nil {
			t.again = make(chan struct{})
		}
		again := t.again
		t.mu.Unlock()
		select {
		case t.wake <- struct{}{}:
		default:
		}
		select {
		case <-again:
		case <-t.ctx.Done():
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Release gives the tenure up, so that another worker takes over at once. It
// returns when that is known to the server, or ctx ends.
func (t *Tenure) Release(ctx context.Context) error {
	held := t.ctx.Err() == nil
	t.lose(context.Canceled)
	<-t.ended
	if !held {
		return nil
	}
	// By compare-and-set: the lock could be somebody else's by now.
	_, err := t.write(ctx, Claimant{})
	if err != nil && !errors.Is(err, ledger.ErrConflict) {
		return fmt.Errorf("give up host %s: %w", t.candidate.Host, err)
	}
	return nil
}

// write writes the lock in place of the one that was written last.
func (t *Tenure) write(ctx context.Context, c Claimant) (revision uint64, err error) {
	raw, err := json.Marshal(c)
	if err != nil {
		return 0, fmt.Errorf("encode the lock: %w", err)
	}
	t.mu.Lock()
	revision = t.revision
	t.mu.Unlock()
	return t.candidate.Locks.Put(ctx, t.candidate.Host, raw, revision, lapse)
}

// keep renews until the tenure's context ends. A server that is away is waited
// for: when it is back the tenure goes on, unless somebody else has it.
func (t *Tenure) keep() {
	next := time.NewTimer(renewal)
	defer next.Stop()
	for {
		select {
		case <-next.C:
		case <-t.wake:
		case <-t.ctx.Done():
			return
		}
		err := t.renew(t.ctx)
		switch {
		case errors.Is(err, ErrLost):
			t.candidate.Log.Warn("another worker serves the host now; this one lets go", zap.String("host", t.candidate.Host))
			t.lose(ErrLost)
			return
		case err != nil && t.ctx.Err() == nil:
			t.candidate.Log.Error("the host's lock could not be renewed; trying on", zap.String("host", t.candidate.Host), zap.Error(err))
		}
		next.Reset(renewal)
	}
}

// renew writes the lock again, also one that has lapsed. It reports ErrLost if
// somebody else has it.
func (t *Tenure) renew(ctx context.Context) error {
	for {
		sent := time.Now()
		revision, err := t.write(ctx, t.candidate.Claimant)
		if err == nil {
			t.succeeded(sent, revision)
			return nil
		}
		if !errors.Is(err, ledger.ErrConflict) {
			return fmt.Errorf("renew the lock of host %s: %w", t.candidate.Host, err)
		}
		holder, revision, err := t.candidate.holder(ctx)
		switch {
		case errors.Is(err, ledger.ErrNotFound): // it has lapsed, and nobody took it
			revision = 0
		case err != nil:
			return err
		case holder.Owner != t.candidate.Owner:
			return ErrLost
		}
		t.mu.Lock()
		t.revision = revision
		t.mu.Unlock()
	}
}

// succeeded counts a renewal from when it was sent: the server may have had it at
// once, and its answer taken long.
func (t *Tenure) succeeded(sent time.Time, revision uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.revision, t.renewed = revision, sent
	if t.again != nil {
		close(t.again)
		t.again = nil
	}
}
