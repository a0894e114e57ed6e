package bus

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"holdfast.io/holdfast/events"
)

// A reader looks for more at once when it hears of a message, and again after
// growing pauses: the message may not be stored yet when it is heard of, and on a
// connection that breaks it may not be heard of at all.
const (
	shortestPause = 2 * time.Millisecond
	longestPause  = 5 * time.Second
	pauseGrowth   = 4
)

// reader reads the stored events of a subject from the beginning, in order,
// without a gap and each once.
type reader struct {
	bus     *Bus
	subject string
	from    uint64        // no message before this sequence is asked for
	heard   chan struct{} // says that there may be more
}

func (b *Bus) reader(subject string) *reader {
	return &reader{bus: b, subject: subject, from: 1, heard: make(chan struct{}, 1)}
}

// listen lets the reader hear of messages on their way to the stream. What is
// published after the server has the subscription is found at once, and not only
// after a pause.
func (r *reader) listen() (*nats.Subscription, error) {
	return r.bus.nc.Subscribe(r.subject, func(*nats.Msg) {
		select {
		case r.heard <- struct{}{}:
		default: // it has not yet looked for the one before
		}
	})
}

func (r *reader) query() query { return query{NextFor: r.subject, Sequence: r.from} }

// check reports what prevents reading: ErrNotProvisioned, or what went wrong at
// the server. It asks once.
func (r *reader) check(ctx context.Context) error {
	_, err := r.bus.load(ctx, events.StreamEvents, r.query())
	if errors.Is(err, errNoMessage) {
		return nil
	}
	return named(err)
}

// run delivers until ctx ends, and then returns nil, or until there is nothing
// more to be had.
func (r *reader) run(ctx context.Context, deliver func(context.Context, *stored)) error {
	pause := shortestPause
	for {
		session, err := r.bus.link.wait(ctx)
		if err != nil {
			return unlessDone(ctx, err)
		}
		m, err := r.bus.find(ctx, events.StreamEvents, r.query())
		if err != nil {
			return unlessDone(ctx, err)
		}
		if m != nil {
			deliver(ctx, m)
			r.from = m.sequence + 1
			continue
		}
		select {
		case <-time.After(pause):
			pause = min(pause*pauseGrowth, longestPause)
		case <-r.heard:
			pause = shortestPause
		case <-session: // what was published since was not heard of
			pause = shortestPause
		case <-r.bus.link.closing:
		case <-ctx.Done():
		}
	}
}

// unlessDone returns no error if it is only the end of ctx.
func unlessDone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
