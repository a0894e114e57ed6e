package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// dial connects, once or, with o.Wait, until it succeeds or ctx ends. It logs
// the first failure only.
func (o Options) dial(ctx context.Context, opts []nats.Option, log *zap.Logger) (*nats.Conn, error) {
	address, err := o.address()
	if err != nil {
		return nil, err
	}
	var last error
	attempt := func() (*nats.Conn, error) {
		nc, err := connect(ctx, o.URL, opts)
		if err == nil {
			return nc, nil
		}
		if !o.Wait {
			return nil, backoff.Permanent(err)
		}
		if ctx.Err() == nil {
			if last == nil {
				log.Warn("the message server cannot be reached; retrying", zap.String("address", address), zap.Error(err))
			}
			last = err
		}
		return nil, err
	}
	nc, err := backoff.Retry(ctx, attempt, backoff.WithBackOff(NewBackOff()), backoff.WithMaxElapsedTime(0))
	if err != nil {
		return nil, fmt.Errorf("connect to the message server at %s: %w", address, ended(err, last))
	}
	return nc, nil
}

// connect returns when ctx ends, which the library's function does not.
func connect(ctx context.Context, url string, opts []nats.Option) (*nats.Conn, error) {
	type result struct {
		nc  *nats.Conn
		err error
	}
	done := make(chan result, 1)
	go func() {
		nc, err := nats.Connect(url, opts...)
		done <- result{nc, err}
	}()
	select {
	case r := <-done:
		if errors.Is(r.err, nats.ErrNoServers) { // the library's word for a refused connection
			return nil, errRefused
		}
		return r.nc, r.err
	case <-ctx.Done():
		go func() { // ends within the connect timeout
			if r := <-done; r.err == nil {
				r.nc.Close()
			}
		}()
		return nil, context.Cause(ctx)
	}
}
