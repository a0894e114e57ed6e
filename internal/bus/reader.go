package bus

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/events"
)

const (
	readBatch = 32
	// readerLinger is how long the server keeps the consumer of a reader that does
	// not ask any more.
	readerLinger = time.Minute
)

// errGap reports that a message was sent and did not arrive.
var errGap = errors.New("a message is missing")

// reader reads the stored messages of a subject from the beginning, in order and
// without a gap. Its consumer serves for one session only: what the server sends
// on a connection that breaks is lost, and another consumer begins after the
// last message that arrived.
type reader struct {
	bus     *Bus
	subject string
	last    uint64 // sequence of the last message delivered
}

func (r *reader) consumer(ctx context.Context) (jetstream.Consumer, error) {
	return r.bus.js.CreateConsumer(ctx, events.StreamEvents, jetstream.ConsumerConfig{
		FilterSubject:     r.subject,
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       r.last + 1,
		AckPolicy:         jetstream.AckNonePolicy,
		InactiveThreshold: readerLinger,
		MemoryStorage:     true,
		Replicas:          1,
	})
}

// run delivers until ctx ends, and then returns nil, or until there is nothing
// more to be had.
func (r *reader) run(ctx context.Context, c jetstream.Consumer, deliver deliver) error {
	delays := newBackOff()
	for {
		session, err := r.bus.link.wait(ctx)
		if err != nil {
			return unlessDone(ctx, err)
		}
		before := r.last
		_ = r.read(ctx, session, c, deliver) // whatever ended it, a new consumer goes on
		if r.last != before {
			delays.Reset()
		}
		select {
		case <-time.After(delays.NextBackOff()):
		case <-ctx.Done():
			return nil
		}
		err = r.bus.retry(ctx, "following "+r.subject, func(ctx context.Context) (err error) {
			c, err = r.consumer(ctx)
			return err
		})
		if err != nil {
			return unlessDone(ctx, err)
		}
	}
}

type deliver func(ctx context.Context, subject string, headers map[string][]string, body []byte)

// read delivers what the consumer brings until the session ends, or anything is
// wrong with the consumer.
func (r *reader) read(ctx context.Context, session <-chan struct{}, c jetstream.Consumer, deliver deliver) error {
	inSession, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-session:
			cancel()
		case <-inSession.Done():
		}
	}()
	messages, err := c.Messages(jetstream.PullMaxMessages(readBatch))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for expected := uint64(1); ; expected++ {
		m, err := messages.Next(jetstream.NextContext(inSession))
		if err != nil {
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if meta.Sequence.Consumer != expected {
			return errGap
		}
		deliver(ctx, m.Subject(), m.Headers(), m.Data())
		r.last = meta.Sequence.Stream
	}
}

// unlessDone returns no error if it is only the end of ctx.
func unlessDone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
