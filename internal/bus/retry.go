package bus

import (
	"context"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"
)

// AttemptTimeout bounds one exchange with the server.
const AttemptTimeout = 5 * time.Second

// NewBackOff returns jittered delays that grow from a quarter of a second to
// five: short enough that a command feels the server's return, long enough that
// a fleet does not storm it.
func NewBackOff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval = 250 * time.Millisecond
	b.MaxInterval = 5 * time.Second
	return b
}

// Retry runs an exchange with the server until it succeeds, fails for good or
// ctx ends. It logs the first failure only.
func (b *Bus) Retry(ctx context.Context, what string, exchange func(context.Context) error) error {
	return b.RetryEach(ctx, what, AttemptTimeout, exchange)
}

// RetryEach is Retry for exchanges that may take longer than [AttemptTimeout] each.
func (b *Bus) RetryEach(ctx context.Context, what string, each time.Duration, exchange func(context.Context) error) error {
	var last error
	attempt := func() (struct{}, error) {
		err := b.Once(ctx, each, exchange)
		if final(err) {
			return struct{}{}, backoff.Permanent(err)
		}
		if err != nil && ctx.Err() == nil {
			if last == nil {
				b.log.Warn(what+" is delayed; retrying", zap.Error(err))
			}
			last = err
		}
		return struct{}{}, err
	}
	_, err := backoff.Retry(ctx, attempt, backoff.WithBackOff(NewBackOff()), backoff.WithMaxElapsedTime(0))
	return ended(err, last)
}

// Once runs an exchange, and gives it up after a time or when the connection is lost,
// since no answer comes then.
func (b *Bus) Once(ctx context.Context, within time.Duration, exchange func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	ctx, leave := b.link.during(ctx)
	defer leave()
	err := exchange(ctx)
	if err != nil && context.Cause(ctx) == ErrAway {
		return ErrAway
	}
	return Named(err)
}

// ended adds to the end of a context what went wrong before.
func ended(err, last error) error {
	if err == nil || last == nil || final(err) {
		return err
	}
	return fmt.Errorf("%w; before that: %w", err, last)
}
