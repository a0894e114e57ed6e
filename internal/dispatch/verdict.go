package dispatch

import (
	"context"
	"time"

	"holdfast.io/holdfast/internal/bus/consume"
)

// verdict is what is to be done with a message. Whoever handles a message returns
// one, and only apply settles the message.
type verdict struct {
	acknowledge bool
	rejection   *rejection
	again       bool
	after       time.Duration
}

var (
	// done: the message is acknowledged.
	done = verdict{acknowledge: true}
	// left: another worker has the message; it is not settled.
	left = verdict{}
)

// again has the message delivered again after the delay.
func again(after time.Duration) verdict { return verdict{again: true, after: after} }

// rejected has the message answered, kept as a dead letter, and delivered no more.
func rejected(r *rejection) verdict { return verdict{rejection: r} }

// apply settles a message.
func (w *Worker) apply(ctx context.Context, m *consume.Message, v verdict) {
	switch {
	case v.rejection != nil:
		w.reject(ctx, m, v.rejection)
	case v.again:
		w.later(m, v.after)
	case v.acknowledge:
		w.done(ctx, m)
	}
}
