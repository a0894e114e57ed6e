package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// goneTimeout is how long an acknowledgement that nobody takes is tried again: a
// consumer without a leader finds one in that time, one that was deleted does not
// come back.
const goneTimeout = 10 * time.Second

// Message is one message that was taken from a stream. Exactly one of Done,
// Reject and Later settles it; unless KeepAlive runs, it is delivered again 60 s
// after it was taken. Settling is not fenced: it also succeeds for a message that
// has been delivered to somebody else meanwhile.
type Message struct {
	Subject  string
	Stream   string
	Sequence uint64
	// Time is when the stream stored it.
	Time time.Time
	// Delivered counts the deliveries, this one included. A delivery that nobody
	// waited for any more counts as well.
	Delivered uint64
	Headers   map[string][]string
	Body      []byte

	bus   *Bus
	reply string
}

func (b *Bus) newMessage(m *nats.Msg) (*Message, error) {
	meta, err := m.Metadata()
	if err != nil {
		return nil, fmt.Errorf("a message without its delivery's data: %w", err)
	}
	return &Message{
		Subject:   m.Subject,
		Stream:    meta.Stream,
		Sequence:  meta.Sequence.Stream,
		Time:      meta.Timestamp,
		Delivered: meta.NumDelivered,
		Headers:   m.Header,
		Body:      m.Data,
		bus:       b,
		reply:     m.Reply,
	}, nil
}

// ReplySubject is where this delivery is settled. A negative acknowledgement sent
// there from any connection has the message delivered again.
func (m *Message) ReplySubject() string { return m.reply }

// KeepAlive tells the server every 20 s that the message is being worked on, so
// that it is delivered to nobody else, until stop is called or ctx ends. Stop
// may be called more than once.
func (m *Message) KeepAlive(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var beating sync.WaitGroup
	beating.Go(func() { m.beat(ctx) })
	return func() {
		cancel()
		beating.Wait()
	}
}

func (m *Message) beat(ctx context.Context) {
	wait := m.bus.heartbeat
	for {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		wait = m.bus.heartbeat
		if m.send("+WPI") != nil {
			// The server is away. The next regular beat may come too late: it
			// is due as soon as the server is back.
			wait = min(wait, time.Second)
		}
	}
}

// Done acknowledges the message, and returns when the server has confirmed it.
// While the server is away it tries on until ctx ends. After an error the message
// is delivered again.
func (m *Message) Done(ctx context.Context) error {
	return m.confirm(ctx, "+ACK")
}

// Reject has the message delivered no more, and gives operators the reason. It
// returns when the server has confirmed it, as Done does.
func (m *Message) Reject(ctx context.Context, reason string) error {
	return m.confirm(ctx, "+TERM "+reason)
}

// Later has the message delivered again after the delay, at once if it is 0. It
// does not wait for the server; if that is away, the message is delivered again
// after the acknowledgement wait.
func (m *Message) Later(delay time.Duration) error {
	if delay <= 0 {
		return m.send("-NAK")
	}
	return m.send(fmt.Sprintf(`-NAK {"delay": %d}`, delay.Nanoseconds()))
}

func (m *Message) send(verb string) error {
	if err := m.bus.nc.Publish(m.reply, []byte(verb)); err != nil {
		return fmt.Errorf("answer for message %d of %s: %w", m.Sequence, m.Stream, named(err))
	}
	return nil
}

func (m *Message) confirm(ctx context.Context, verb string) error {
	began := time.Now()
	err := m.bus.retry(ctx, "an acknowledgement", func(ctx context.Context) error {
		_, err := m.bus.nc.RequestWithContext(ctx, m.reply, []byte(verb))
		if errors.Is(err, nats.ErrNoResponders) && time.Since(began) > goneTimeout {
			return errConsumerGone
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("acknowledge message %d of %s: %w", m.Sequence, m.Stream, err)
	}
	return nil
}
