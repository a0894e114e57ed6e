// Package bus is Holdfast's way to NATS JetStream: the streams, buckets and
// consumers of the contract, publishing that is acknowledged, consuming one
// message at a time, reading what is stored, and following a job. It is the only
// package that knows NATS.
//
// A request stays in its stream until it is settled (see [Message]); whoever
// takes it and dies loses it to another delivery after the acknowledgement wait
// of 60 s. Acknowledgements are not fenced: a holder that was away for longer
// than that can no longer rely on being the only one.
package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// heartbeatInterval is how often [Message.KeepAlive] tells the server that a
// message is being worked on: a third of the acknowledgement wait.
const heartbeatInterval = ackWait / 3

// drainTimeout bounds how long Close waits for what is under way.
const drainTimeout = 5 * time.Second

// Bus is a connection to a message server. Its methods may be called from
// several goroutines. It reconnects for ever, until Close.
type Bus struct {
	nc        *nats.Conn
	js        jetstream.JetStream
	link      *link
	log       *zap.Logger
	heartbeat time.Duration
}

// Connect connects to a message server. With o.Wait it tries again until ctx
// ends; without, the first failure is final. Errors never contain credentials.
func Connect(ctx context.Context, o Options) (*Bus, error) {
	log := o.Logger
	if log == nil {
		log = zap.NewNop()
	}
	l := newLink()
	opts, err := o.natsOptions(l, log)
	if err != nil {
		return nil, err
	}
	nc, err := o.dial(ctx, opts, log)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(attemptTimeout))
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("set up JetStream: %w", err)
	}
	return &Bus{nc: nc, js: js, link: l, log: log, heartbeat: heartbeatInterval}, nil
}

// PeerAddr is the address and port of the server that the bus is connected to;
// empty while it is not.
func (b *Bus) PeerAddr() string { return b.nc.ConnectedAddr() }

// Close ends every Next that waits, gives back at once what arrives for it
// meanwhile, sends what is not yet sent, and disconnects. It returns after a few
// seconds at most. Messages must be settled before. A second call does nothing.
func (b *Bus) Close() error {
	b.link.close()
	err := b.nc.Drain() // closes at once if the server is away
	if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrConnectionReconnecting) {
		err = nil
	}
	select {
	case <-b.link.closed:
	case <-time.After(drainTimeout + time.Second):
		b.nc.Close()
		<-b.link.closed
	}
	return err
}
