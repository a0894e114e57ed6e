package bus

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// noResponders is the status with which the server says that nobody listens.
const noResponders = "503"

// answersEach is how many answers to one question are kept until they are read.
const answersEach = 8

// minAnswers is how many answers are kept at least: a question may go to a whole
// fleet.
const minAnswers = 4096

// Ask sends a question to each subject, and gives heard the answers by the key of
// their subject, or nil where nobody listens. What heard returns is how much
// longer to listen at most; after wait ask returns anyway. The error is that of
// ctx, ErrDenied, ErrClosed, or that the server is away.
func (b *Bus) Ask(ctx context.Context, subjects map[string]string, wait time.Duration,
	heard func(key string, answer *nats.Msg) time.Duration,
) error {
	if len(subjects) == 0 {
		return nil
	}
	inbox := b.nc.NewInbox()
	answers := make(chan *nats.Msg, max(minAnswers, answersEach*len(subjects)))
	sub, err := b.nc.ChanSubscribe(inbox+".*", answers)
	if err != nil {
		return Named(err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only if the connection is closed

	asking, stop := b.link.denials.unlessDenied(ctx, slices.Collect(maps.Values(subjects))...)
	defer stop()
	for key, subject := range subjects {
		if err := b.nc.PublishRequest(subject, inbox+"."+key, nil); err != nil {
			return Named(err)
		}
	}
	deadline := time.Now().Add(wait)
	for {
		over := time.NewTimer(time.Until(deadline))
		select {
		case m := <-answers:
			over.Stop()
			key := strings.TrimPrefix(m.Subject, inbox+".")
			if m.Reply == "" && m.Header.Get("Status") == noResponders {
				m = nil
			}
			if until := time.Now().Add(heard(key, m)); until.Before(deadline) {
				deadline = until
			}
		case <-over.C:
			return nil
		case <-asking.Done():
			over.Stop()
			return context.Cause(asking)
		}
	}
}

// Request sends one request and returns the answer. It reports ErrDenied as soon
// as the server refuses the request.
func (b *Bus) Request(ctx context.Context, subject string, body []byte) (*nats.Msg, error) {
	asking, stop := b.link.denials.unlessDenied(ctx, subject)
	defer stop()
	m, err := b.nc.RequestWithContext(asking, subject, body)
	if err != nil && ctx.Err() == nil && asking.Err() != nil {
		return nil, context.Cause(asking)
	}
	return m, Named(err)
}
