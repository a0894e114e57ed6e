package inuse

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"holdfast.io/holdfast/internal/ledger"
)

// ErrTaken is reported where another process does what only one does at a time.
var ErrTaken = errors.New("another process does it now")

// errLapsed ends what is done alone when others may do it too.
var errLapsed = errors.New("the message server was away for too long: another process may do it now")

// Alone has a sink for one process that removes what its points do not need any more, until
// release is called. It reports ErrTaken if another one has it. The context that it returns
// ends with ctx, and before others can have it because the message server was away.
func (r *Registry) Alone(ctx context.Context, sink string) (alone context.Context, release func(), err error) {
	key := "collect." + sink
	if !ledger.ValidKey(key) {
		return nil, nil, fmt.Errorf("the sink %s cannot be had alone: %q is not a key", sink, key)
	}
	value := fmt.Appendf(nil, "%q", r.Host+" "+rand.Text())
	revision, err := r.Locks.Put(ctx, key, value, 0, lasts)
	if errors.Is(err, ledger.ErrConflict) {
		return nil, nil, ErrTaken
	}
	if err != nil {
		return nil, nil, fmt.Errorf("have the sink %s alone: %w", sink, err)
	}
	alone, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		renewed := time.Now()
		for {
			select {
			case <-time.After(renewal):
			case <-alone.Done():
				return
			}
			began := time.Now()
			bounded, stop := context.WithDeadline(alone, renewed.Add(lasts-renewal))
			next, err := r.Locks.Put(bounded, key, value, revision, lasts)
			stop()
			switch {
			case err == nil:
				revision, renewed = next, began
			case errors.Is(err, ledger.ErrConflict), time.Since(renewed) >= lasts-renewal:
				cancel(errLapsed)
				return
			}
		}
	}()
	return alone, func() {
		lapsed := errors.Is(context.Cause(alone), errLapsed)
		cancel(nil)
		<-ended
		if lapsed {
			return // it may be another's by now
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), renewal)
		defer cancel()
		_ = r.Locks.Delete(ctx, key) // it lapses by itself
	}, nil
}
