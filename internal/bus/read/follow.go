// Package read reads what streams hold: the events of a job, as they come, and dead
// letters. It takes nothing from anybody.
package read

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
)

// progressBuffer holds progress that is not yet read; what is beyond it is
// dropped.
const progressBuffer = 256

// Subscription delivers the events of one job. Next is not called while another
// call runs; Close may be called at any time.
type Subscription struct {
	log      *zap.Logger
	stored   chan event.Event
	progress chan *nats.Msg
	subs     []*nats.Subscription
	stop     context.CancelFunc
	running  sync.WaitGroup
	ended    chan struct{} // closed when stored events come no more
	failure  error         // the reason; read once ended is closed
}

// Follow delivers every stored event of a job in its order, first those that are
// there already, and among them the job's progress from now on. It is in place
// when it returns: an event that is published afterwards is not missed, whatever
// becomes of the connection; progress can be. An asterisk for the host or the job
// stands for all of them. It reports bus.ErrNotProvisioned or
// bus.ErrClosed, or what went wrong at the server.
func Follow(ctx context.Context, b *bus.Bus, host, job string) (*Subscription, error) {
	s := &Subscription{
		log:      b.Logger().With(zap.String("job", job)),
		stored:   make(chan event.Event),
		progress: make(chan *nats.Msg, progressBuffer),
		ended:    make(chan struct{}),
	}
	r := newReader(b, events.EventSubject(host, job, ">"))
	if err := r.check(ctx); err != nil {
		return nil, fmt.Errorf("follow job %s: %w", job, err)
	}
	if err := s.subscribe(ctx, b.Conn(), r, events.ProgressSubject(host, job)); err != nil {
		return nil, errors.Join(fmt.Errorf("follow job %s: %w", job, bus.Named(err)), s.unsubscribe())
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.running.Go(func() {
		defer close(s.ended)
		s.failure = r.run(running, s.deliver)
	})
	return s, nil
}

// subscribe returns when the server has the subscriptions.
func (s *Subscription) subscribe(ctx context.Context, nc *nats.Conn, r *reader, progress string) error {
	stored, err := r.listen()
	if err != nil {
		return err
	}
	s.subs = append(s.subs, stored)
	passing, err := nc.ChanSubscribe(progress, s.progress)
	if err != nil {
		return err
	}
	s.subs = append(s.subs, passing)
	ctx, cancel := context.WithTimeout(ctx, bus.AttemptTimeout)
	defer cancel()
	return nc.FlushWithContext(ctx)
}

func (s *Subscription) unsubscribe() error {
	var all error
	for _, sub := range s.subs {
		err := sub.Unsubscribe()
		if errors.Is(err, nats.ErrBadSubscription) || errors.Is(err, nats.ErrConnectionClosed) {
			continue // it has ended already
		}
		all = errors.Join(all, err)
	}
	return all
}

// Next returns the next event, stored or of progress, and blocks until there is
// one. After the job's terminal event there may still be progress. The error is
// that of ctx, bus.ErrClosed after Close, or bus.ErrNotProvisioned if the stream was
// removed.
func (s *Subscription) Next(ctx context.Context) (event.Event, error) {
	for {
		select {
		case ev := <-s.stored:
			return ev, nil
		case m := <-s.progress:
			if ev, ok := s.decode(m.Subject, m.Header, m.Data); ok {
				return ev, nil
			}
		case <-s.ended:
			if s.failure == nil {
				return event.Event{}, bus.ErrClosed
			}
			return event.Event{}, s.failure
		case <-ctx.Done():
			return event.Event{}, context.Cause(ctx)
		}
	}
}

// Close ends the subscription. A second call does nothing.
func (s *Subscription) Close() error {
	s.stop()
	s.running.Wait()
	return s.unsubscribe()
}

// deliver hands one stored message to Next.
func (s *Subscription) deliver(ctx context.Context, m *bus.Stored) {
	ev, ok := s.decode(m.Subject, m.Header, m.Data)
	if !ok {
		return
	}
	select {
	case s.stored <- ev:
	case <-ctx.Done():
	}
}

// decode passes over what is not an event: anyone who may publish there can put
// something else among them.
func (s *Subscription) decode(subject string, headers map[string][]string, body []byte) (event.Event, bool) {
	ev, err := events.Decode(headers, body)
	if err != nil {
		s.log.Warn("a message that is not an event was passed over", zap.String("subject", subject), zap.Error(err))
	}
	return ev, err == nil
}
