package bus

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// Source is a durable consumer, from which messages are taken one at a time.
//
// At most one pull is open at the server. A call of Next that is cancelled
// leaves it open, and the next call takes it over: to cancel it would lose a
// message that is on its way. What the pull brings while nobody waits is given
// back at once, and is delivered again.
type Source struct {
	bus      *Bus
	consumer consumer
	log      *zap.Logger
	delays   *backoff.ExponentialBackOff
	trouble  string // what was logged last; empty while all is well

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
func (b *Bus) Work(host string) []*Source {
	return b.sources(append(workConsumers(host), anyConsumer()))
}

// Cancels returns where a host's cancellations come from.
func (b *Bus) Cancels(host string) []*Source {
	return b.sources(cancelConsumers(host))
}

func (b *Bus) sources(consumers []consumer) []*Source {
	var all []*Source
	for _, c := range consumers {
		all = append(all, b.source(c))
	}
	return all
}

func (b *Bus) source(c consumer) *Source {
	return &Source{
		bus:      b,
		consumer: c,
		log:      b.log.With(zap.String("stream", c.stream), zap.String("consumer", c.config.Durable)),
		delays:   newBackOff(),
		arrivals: make(chan *nats.Msg),
		idle:     closedChan(),
	}
}

// Next takes one message, and blocks until there is one. It outlasts the loss of
// the connection, of the server, of the consumer (which it makes again) and of
// the stream, and logs them once. The error is that of ctx, or ErrClosed; no
// message is lost then. Next is not called while another call runs.
func (s *Source) Next(ctx context.Context) (*Message, error) {
	idle := make(chan struct{})
	defer close(idle)
	s.mu.Lock()
	s.idle = idle
	s.mu.Unlock()

	for {
		session, err := s.bus.link.wait(ctx)
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
		m, err := s.bus.newMessage(answer)
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
		}
		return nil, refusal(m)
	case <-silence.C:
	case <-session:
	case <-s.bus.link.closing:
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
		inbox := s.bus.nc.NewInbox()
		sub, err := s.bus.nc.Subscribe(inbox+".*", s.arrived)
		if err != nil {
			return nil, fmt.Errorf("subscribe to an inbox: %w", named(err))
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
	if err := s.bus.nc.PublishRequest(pullSubject(s.consumer), p.reply, pullBody); err != nil {
		return nil, fmt.Errorf("ask for a message: %w", named(err))
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
	if err := s.bus.nc.Publish(m.Reply, []byte("-NAK")); err != nil {
		s.log.Debug("a message that nobody waited for could not be given back; it is delivered again later", zap.Error(err))
	}
}
