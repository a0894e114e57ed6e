package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
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
	sub      *nats.Subscription
	stop     context.CancelFunc
	running  sync.WaitGroup
	ended    chan struct{} // closed when stored events come no more
	failure  error         // the reason; read once ended is closed
}

// Follow delivers every stored event of a job in its order, first those that are
// there already, and among them the job's progress from now on. It is in place
// when it returns: an event that is published afterwards is not missed, whatever
// becomes of the connection; progress can be. An asterisk for the host or the job
// stands for all of them. It reports ErrNotProvisioned or
// ErrClosed, or what went wrong at the server.
func (b *Bus) Follow(ctx context.Context, host, job string) (*Subscription, error) {
	s := &Subscription{
		log:      b.log.With(zap.String("job", job)),
		stored:   make(chan event.Event),
		progress: make(chan *nats.Msg, progressBuffer),
		ended:    make(chan struct{}),
	}
	r := &reader{bus: b, subject: events.EventSubject(host, job, ">")}
	consumer, err := r.consumer(ctx)
	if err != nil {
		return nil, fmt.Errorf("follow job %s: %w", job, named(err))
	}
	if err := s.followProgress(ctx, b.nc, events.ProgressSubject(host, job)); err != nil {
		return nil, fmt.Errorf("follow the progress of job %s: %w", job, named(err))
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.running.Go(func() {
		defer close(s.ended)
		s.failure = r.run(running, consumer, s.deliver)
	})
	return s, nil
}

// followProgress returns when the server has the subscription.
func (s *Subscription) followProgress(ctx context.Context, nc *nats.Conn, subject string) (err error) {
	if s.sub, err = nc.ChanSubscribe(subject, s.progress); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	if err := nc.FlushWithContext(ctx); err != nil {
		return errors.Join(err, s.sub.Unsubscribe())
	}
	return nil
}

// Next returns the next event, stored or of progress, and blocks until there is
// one. After the job's terminal event there may still be progress. The error is
// that of ctx, ErrClosed after Close, or ErrNotProvisioned if the stream was
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
				return event.Event{}, ErrClosed
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
	err := s.sub.Unsubscribe()
	if errors.Is(err, nats.ErrBadSubscription) || errors.Is(err, nats.ErrConnectionClosed) {
		return nil // it is closed already
	}
	return err
}

// deliver hands one stored message to Next.
func (s *Subscription) deliver(ctx context.Context, subject string, headers map[string][]string, body []byte) {
	ev, ok := s.decode(subject, headers, body)
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
