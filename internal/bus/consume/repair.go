package consume

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"holdfast.io/holdfast/internal/bus"
)

var (
	// errNoConsumer reports an answer that says that the consumer is gone.
	errNoConsumer = errors.New("the consumer does not answer")
	// errMoved reports that the server of the consumer stops or hands it over.
	errMoved = errors.New("the consumer moves to another server")
)

// refusal returns the meaning of a status that is neither a message nor the end
// of a pull.
func refusal(m *nats.Msg) error {
	description := m.Header.Get("Description")
	code := statusOf(m)
	switch {
	case code == statusNoAnswers, strings.EqualFold(description, "Consumer Deleted"):
		return errNoConsumer
	case strings.EqualFold(description, "Server Shutdown"), strings.EqualFold(description, "Leadership Change"):
		return errMoved
	}
	return fmt.Errorf("the server refuses to deliver: %s %s", code, description)
}

// repair does what can be done about a failed pull, and waits before the next.
// It returns an error when ctx ends or the bus is closed.
func (s *Source) repair(ctx context.Context, cause error) error {
	if errors.Is(cause, bus.ErrClosed) {
		return cause
	}
	if errors.Is(cause, errNoConsumer) {
		cause = s.recreate(ctx)
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if cause == nil {
		return nil
	}
	passing := errors.Is(cause, bus.ErrAway) || errors.Is(cause, errMoved)
	if !passing && cause.Error() != s.trouble {
		s.trouble = cause.Error()
		s.log.Warn("no requests can be taken; retrying", zap.Error(cause))
	}
	select {
	case <-time.After(s.delays.NextBackOff()):
		return nil
	case <-s.bus.Closing():
		return bus.ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// recreate makes the consumer if it is not there. It returns nil if it did.
func (s *Source) recreate(ctx context.Context) error {
	name := s.consumer.Config.Durable
	_, err := s.bus.JetStream().Consumer(ctx, s.consumer.Stream, name)
	if err == nil {
		return errNoConsumer // it is there, but has no leader at this moment
	}
	if !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("look up consumer %s: %w", name, bus.Named(err))
	}
	if _, err := s.bus.JetStream().CreateConsumer(ctx, s.consumer.Stream, s.consumer.Config); err != nil {
		return fmt.Errorf("create consumer %s: %w", name, bus.Named(err))
	}
	s.log.Info("the consumer was not there, and was made")
	return nil
}

// well notes that the consumer answers.
func (s *Source) well() {
	if s.trouble != "" {
		s.trouble = ""
		s.log.Info("requests can be taken again")
	}
	s.delays.Reset()
}
