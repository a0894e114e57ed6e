package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
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
	if errors.Is(cause, ErrClosed) {
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
	passing := errors.Is(cause, errAway) || errors.Is(cause, errMoved)
	if !passing && cause.Error() != s.trouble {
		s.trouble = cause.Error()
		s.log.Warn("no requests can be taken; trying on", zap.Error(cause))
	}
	select {
	case <-time.After(s.delays.NextBackOff()):
		return nil
	case <-s.bus.link.closing:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// recreate makes the consumer if it is not there. It returns nil if it did.
func (s *Source) recreate(ctx context.Context) error {
	name := s.consumer.config.Durable
	_, err := s.bus.js.Consumer(ctx, s.consumer.stream, name)
	if err == nil {
		return errNoConsumer // it is there, but has no leader at this moment
	}
	if !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("look up consumer %s: %w", name, named(err))
	}
	if _, err := s.bus.js.CreateConsumer(ctx, s.consumer.stream, s.consumer.config); err != nil {
		return fmt.Errorf("create consumer %s: %w", name, named(err))
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
