package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/events"
)

// Receipt says where a request lies.
type Receipt struct {
	Stream   string
	Sequence uint64
}

// PublishEvent stores an event in the stream of its subject. It retries until
// ctx ends while the server is away. An event with the same id is stored once
// within two minutes. It reports ErrNotProvisioned, ErrTooLarge, ErrFull or
// ErrClosed, or else the error of ctx.
func (b *Bus) PublishEvent(ctx context.Context, subject string, ev event.Event) error {
	_, err := b.publishEvent(ctx, subject, ev, jetstream.WithMsgID(ev.ID()))
	return err
}

// PublishMessage stores an encoded event, as PublishEvent does.
func (b *Bus) PublishMessage(ctx context.Context, m events.Message) error {
	_, err := b.publish(ctx, &nats.Msg{Subject: m.Subject, Header: m.Headers, Data: m.Body}, jetstream.WithMsgID(m.ID))
	return err
}

// PublishRequest stores a request, as PublishEvent does, but each time that it is
// called, and twice where the server's answer to the first attempt was lost: the
// ledger knows a job that came before.
func (b *Bus) PublishRequest(ctx context.Context, subject string, ev event.Event) (Receipt, error) {
	ack, err := b.publishEvent(ctx, subject, ev)
	if err != nil {
		return Receipt{}, err
	}
	return Receipt{Stream: ack.Stream, Sequence: ack.Sequence}, nil
}

// PublishDeadLetter stores a JSON body, as PublishEvent does, once within an
// hour for each id.
func (b *Bus) PublishDeadLetter(ctx context.Context, subject, id string, body []byte) error {
	_, err := b.publish(ctx, &nats.Msg{
		Subject: subject,
		Header:  nats.Header{"Content-Type": {"application/json"}},
		Data:    body,
	}, jetstream.WithMsgID(id))
	return err
}

// PublishProgress sends an event to whoever listens, without waiting and without
// storing it. The error says that it was not sent.
func (b *Bus) PublishProgress(subject string, ev event.Event) error {
	m, err := message(subject, ev)
	if err != nil {
		return err
	}
	return Named(b.nc.PublishMsg(m))
}

func (b *Bus) publishEvent(ctx context.Context, subject string, ev event.Event, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	m, err := message(subject, ev)
	if err != nil {
		return nil, err
	}
	return b.publish(ctx, m, opts...)
}

func (b *Bus) publish(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (ack *jetstream.PubAck, err error) {
	err = b.Retry(ctx, "publishing to "+m.Subject, func(ctx context.Context) error {
		ack, err = b.js.PublishMsg(ctx, m, opts...)
		if errors.Is(err, jetstream.ErrNoStreamResponse) {
			return b.WhyNoStream(ctx, m.Subject, err)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("publish to %s: %w", m.Subject, err)
	}
	return ack, nil
}

// Append stores a message and returns its sequence. It asks once, and reports ErrDenied as
// soon as the server refuses it.
func (b *Bus) Append(ctx context.Context, m *nats.Msg) (uint64, error) {
	asking, stop := b.link.denials.unlessDenied(ctx, m.Subject)
	defer stop()
	ack, err := b.js.PublishMsg(asking, m)
	switch {
	case err == nil:
		return ack.Sequence, nil
	case ctx.Err() == nil && asking.Err() != nil:
		return 0, context.Cause(asking)
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		return 0, b.WhyNoStream(ctx, m.Subject, err)
	}
	return 0, err
}

// AppendAsync has a message stored, and returns before it is. It asks once. The answer
// is an error when the connection is lost meanwhile, and after half a minute without one.
func (b *Bus) AppendAsync(m *nats.Msg) (jetstream.PubAckFuture, error) {
	return b.js.PublishMsgAsync(m, jetstream.WithRetryAttempts(0))
}

// WhyNoStream tells a stream that is not there from one that does not answer. That
// one may have no leader at this moment; where a user's account is not the
// streams' own, what is not granted looks the same.
func (b *Bus) WhyNoStream(ctx context.Context, subject string, err error) error {
	_, missing := b.js.StreamNameBySubject(ctx, subject)
	if errors.Is(missing, jetstream.ErrStreamNotFound) {
		return missing
	}
	return fmt.Errorf("the stream has no leader at this moment, or this user may not publish there (%w)", err)
}

// message encodes an event in binary mode.
func message(subject string, ev event.Event) (*nats.Msg, error) {
	headers, body, err := events.Encode(ev)
	if err != nil {
		return nil, fmt.Errorf("encode the event %s: %w", ev.ID(), err)
	}
	return &nats.Msg{Subject: subject, Header: headers, Data: body}, nil
}
