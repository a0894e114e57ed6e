// Package consume takes requests from their streams, one message at a time.
//
// A request stays in its stream until it is settled (see [Message]); whoever
// takes it and dies loses it to another delivery after the acknowledgement wait
// of 60 s. Acknowledgements are not fenced: a holder that was away for longer
// than that can no longer rely on being the only one.
package consume

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/topology"
)

// Source is a durable consumer, from which messages are taken one at a time.
//
// At most one pull is open at the server. A call of Next that is cancelled
// leaves it open, and the next call takes it over: to cancel it would lose a
// message that is on its way. What the pull brings while nobody waits is given
// back at once, and is delivered again.
type Source struct {
	bus       *bus.Bus
	consumer  topology.Consumer
	heartbeat time.Duration
	log       *zap.Logger
	delays    *backoff.ExponentialBackOff
	trouble   string // what was logged last; empty while all is well

	arrivals chan *nats.Msg

	mu    sync.Mutex
	sub   *nats.Subscription
	inbox string
	pulls int
	open  *pull
	idle  chan struct{} // closed while no Next waits
}

// Work returns where a host's requests come from that need a free slot: those to
// the host, to all hosts and to any host. The host is its id, see
// [events.HostID].
func Work(b *bus.Bus, host string) []*Source {
	return sources(b, append(topology.WorkConsumers(host), topology.AnyConsumer()))
}

// Cancels returns where a host's cancellations come from.
func Cancels(b *bus.Bus, host string) []*Source {
	return sources(b, topology.CancelConsumers(host))
}

func sources(b *bus.Bus, consumers []topology.Consumer) []*Source {
	var all []*Source
	for _, c := range consumers {
		all = append(all, newSource(b, c))
	}
	return all
}

func newSource(b *bus.Bus, c topology.Consumer) *Source {
	idle := make(chan struct{})
	close(idle)
	return &Source{
		bus:       b,
		consumer:  c,
		heartbeat: heartbeatInterval,
		log:       b.Logger().With(zap.String("stream", c.Stream), zap.String("consumer", c.Config.Durable)),
		delays:    bus.NewBackOff(),
		arrivals:  make(chan *nats.Msg),
		idle:      idle,
	}
}

// Next takes one message, and blocks until there is one. It outlasts the loss of
// the connection, of the server, of the consumer (which it makes again) and of
// the stream, and logs them once. The error is that of ctx, or bus.ErrClosed; no
// message is lost then. Next is not called while another call runs.
func (s *Source) Next(ctx context.Context) (*Message, error) {
	idle := make(chan struct{})
	defer close(idle)
	s.mu.Lock()
	s.idle = idle
	s.mu.Unlock()

	for {
		session, err := s.bus.Session(ctx)
		if err != nil {
			return nil, err
		}
		answer, err := s.ask(ctx, session)
		if err != nil {
			if err := s.repair(ctx, err); err != nil {
				return nil, err
			}
			continue
		}
		if answer == nil { // the pull came to nothing
			continue
		}
		s.well()
		m, err := s.newMessage(answer)
		if err != nil { // not sent by a stream
			s.log.Warn("a stray message was dropped", zap.Error(err))
			continue
		}
		return m, nil
	}
}

// ask waits for the answer to the open pull, or to a new one. It returns nil if
// there was no message, and an error for what has to be repaired.
func (s *Source) ask(ctx context.Context, session <-chan struct{}) (*nats.Msg, error) {
	p, err := s.ensurePull(session)
	if err != nil {
		return nil, err
	}
	silence := time.NewTimer(time.Until(p.expires))
	defer silence.Stop()
	select {
	case m := <-s.arrivals:
		switch statusOf(m) {
		case statusNone:
			return m, nil
		case statusTimeout:
			s.well()
			return nil, nil
		default:
			return nil, refusal(m)
		}
	case <-silence.C:
	case <-session:
	case <-s.bus.Closing():
	case <-ctx.Done():
	}
	return nil, nil
}

// ensurePull returns the open pull, or opens one.
func (s *Source) ensurePull(session <-chan struct{}) (*pull, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open.lives(time.Now()) {
		return s.open, nil
	}
	if s.sub == nil {
		inbox := s.bus.Conn().NewInbox()
		sub, err := s.bus.Conn().Subscribe(inbox+".*", s.arrived)
		if err != nil {
			return nil, fmt.Errorf("subscribe to an inbox: %w", bus.Named(err))
		}
		s.sub, s.inbox = sub, inbox
	}
	// Every pull has a subject of its own. If a late answer to an older one were
	// taken for an answer to this, two pulls would be open from then on.
	s.pulls++
	p := &pull{
		reply:   s.inbox + "." + strconv.Itoa(s.pulls),
		session: session,
		expires: time.Now().Add(pullExpiry + pullGrace),
	}
	if err := s.bus.Conn().PublishRequest(pullSubject(s.consumer), p.reply, pullBody); err != nil {
		return nil, fmt.Errorf("ask for a message: %w", bus.Named(err))
	}
	s.open = p
	return p, nil
}

// arrived hands what the server sends to the Next that waits. Nobody waits once
// idle is closed: then a message is given back.
func (s *Source) arrived(m *nats.Msg) {
	isMessage := statusOf(m) == statusNone
	s.mu.Lock()
	if !isMessage && (s.open == nil || m.Subject != s.open.reply) {
		s.mu.Unlock()
		return
	}
	s.open = nil
	idle := s.idle
	s.mu.Unlock()

	select {
	case s.arrivals <- m:
	case <-idle:
		if isMessage {
			s.giveBack(m)
		}
	}
}

func (s *Source) giveBack(m *nats.Msg) {
	if err := s.bus.Conn().Publish(m.Reply, []byte("-NAK")); err != nil {
		s.log.Debug("a message that nobody waited for could not be given back; it is delivered again later", zap.Error(err))
	}
}
