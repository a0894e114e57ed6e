package read

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
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
	bus     *bus.Bus
	subject string
	from    uint64        // no message before this sequence is asked for
	heard   chan struct{} // says that there may be more
}

func newReader(b *bus.Bus, subject string) *reader {
	return &reader{bus: b, subject: subject, from: 1, heard: make(chan struct{}, 1)}
}

// listen lets the reader hear of messages on their way to the stream. What is
// published after the server has the subscription is found at once, and not only
// after a pause.
func (r *reader) listen() (*nats.Subscription, error) {
	return r.bus.Conn().Subscribe(r.subject, func(*nats.Msg) {
		select {
		case r.heard <- struct{}{}:
		default: // it has not yet looked for the one before
		}
	})
}

// check reports what prevents reading: bus.ErrNotProvisioned, or what went wrong at
// the server. It asks once.
func (r *reader) check(ctx context.Context) error {
	return r.bus.CheckBatch(ctx, events.StreamEvents, r.subject)
}

// run delivers until ctx ends, and then returns nil, or until there is nothing
// more to be had.
func (r *reader) run(ctx context.Context, deliver func(context.Context, *bus.Stored)) error {
	pause := shortestPause
	for {
		session, err := r.bus.Session(ctx)
		if err != nil {
			return unlessDone(ctx, err)
		}
		batch, err := r.bus.Batch(ctx, events.StreamEvents, r.subject, r.from)
		if err != nil {
			return unlessDone(ctx, err)
		}
		for _, m := range batch {
			deliver(ctx, m)
			r.from = m.Sequence + 1
		}
		if len(batch) > 0 {
			continue
		}
		select {
		case <-time.After(pause):
			pause = min(pause*pauseGrowth, longestPause)
		case <-r.heard:
			pause = shortestPause
		case <-session: // what was published since was not heard of
			pause = shortestPause
		case <-r.bus.Closing():
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
