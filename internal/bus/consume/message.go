package consume

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/topology"
)

// heartbeatInterval is how often [Message.KeepAlive] tells the server that a
// message is being worked on: a third of the acknowledgement wait.
const heartbeatInterval = topology.AckWait / 3

// goneTimeout is how long an acknowledgement that nobody takes is tried again: a
// consumer without a leader finds one in that time, one that was deleted does not
// come back.
const goneTimeout = 10 * time.Second

// Message is one message that was taken from a stream. Exactly one of Done,
// Reject and Later settles it; unless KeepAlive runs, it is delivered again 60 s
// after it was taken.
type Message struct {
	Subject  string
	Stream   string
	Sequence uint64
	// Time is when the stream stored it.
	Time time.Time
	// Delivered counts the deliveries, this one included. A delivery that nobody
	// waited for any more counts as well.
	Delivered uint64
	// Reply is the subject where this delivery is settled. A negative
	// acknowledgement sent there from any connection has the message delivered
	// again.
	Reply   string
	Headers map[string][]string
	Body    []byte
	Settler
}

// Settler settles one delivery of a message. It is not fenced: it also succeeds
// for a message that has been delivered to somebody else meanwhile.
type Settler interface {
	// KeepAlive tells the server every 20 s that the message is being worked on, so
	// that it is delivered to nobody else, until stop is called or ctx ends. Stop
	// may be called more than once.
	KeepAlive(ctx context.Context) (stop func())
	// Done acknowledges the message, and returns when the server has confirmed it.
	// While the server is away it retries until ctx ends. After an error the
	// message is delivered again.
	Done(ctx context.Context) error
	// Reject has the message delivered no more, and gives operators the reason. It
	// returns when the server has confirmed it, as Done does.
	Reject(ctx context.Context, reason string) error
	// Later has the message delivered again after the delay, at once if it is 0. It
	// does not wait for the server; if that is away, the message is delivered again
	// after the acknowledgement wait.
	Later(delay time.Duration) error
}

func (s *Source) newMessage(m *nats.Msg) (*Message, error) {
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
		Reply:     m.Reply,
		Headers:   m.Header,
		Body:      m.Data,
		Settler:   &delivery{bus: s.bus, heartbeat: s.heartbeat, stream: meta.Stream, sequence: meta.Sequence.Stream, reply: m.Reply},
	}, nil
}

// delivery is one delivery of a message by the server.
type delivery struct {
	bus       *bus.Bus
	heartbeat time.Duration
	stream    string
	sequence  uint64
	reply     string
}

func (d *delivery) KeepAlive(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var beating sync.WaitGroup
	beating.Go(func() { d.beat(ctx) })
	return func() {
		cancel()
		beating.Wait()
	}
}

func (d *delivery) beat(ctx context.Context) {
	wait := d.heartbeat
	for {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		wait = d.heartbeat
		if d.send("+WPI") != nil {
			// The server is away. The next regular beat may come too late: it
			// is due as soon as the server is back.
			wait = min(wait, time.Second)
		}
	}
}

func (d *delivery) Done(ctx context.Context) error {
	return d.confirm(ctx, "+ACK")
}

func (d *delivery) Reject(ctx context.Context, reason string) error {
	return d.confirm(ctx, "+TERM "+reason)
}

func (d *delivery) Later(delay time.Duration) error {
	if delay <= 0 {
		return d.send("-NAK")
	}
	return d.send(fmt.Sprintf(`-NAK {"delay": %d}`, delay.Nanoseconds()))
}

func (d *delivery) send(verb string) error {
	if err := d.bus.Conn().Publish(d.reply, []byte(verb)); err != nil {
		return fmt.Errorf("answer for message %d of %s: %w", d.sequence, d.stream, bus.Named(err))
	}
	return nil
}

func (d *delivery) confirm(ctx context.Context, verb string) error {
	began := time.Now()
	err := d.bus.Retry(ctx, "an acknowledgement", func(ctx context.Context) error {
		_, err := d.bus.Conn().RequestWithContext(ctx, d.reply, []byte(verb))
		if errors.Is(err, nats.ErrNoResponders) && time.Since(began) > goneTimeout {
			return bus.ErrConsumerGone
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("acknowledge message %d of %s: %w", d.sequence, d.stream, err)
	}
	return nil
}
