// Package bus is Holdfast's way to NATS JetStream: the connection, publishing that
// is acknowledged, and reading single messages. The packages below it do the rest:
// consume takes requests, kv keeps the ledger and the locks, read reads events and
// dead letters, fleet knows the hosts, objects keeps sinks, provision makes the streams,
// buckets and consumers that topology describes. Nothing but these knows NATS.
package bus

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// drainTimeout bounds how long Close waits for what is under way.
const drainTimeout = 5 * time.Second

// asyncTimeout bounds how long AppendAsync waits for an answer.
const asyncTimeout = 30 * time.Second

// Bus is a connection to a message server. Its methods may be called from
// several goroutines. It reconnects for ever, until Close.
type Bus struct {
	nc   *nats.Conn
	js   jetstream.JetStream
	link *link
	log  *zap.Logger
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
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(AttemptTimeout), jetstream.WithPublishAsyncTimeout(asyncTimeout))
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("set up JetStream: %w", err)
	}
	return &Bus{nc: nc, js: js, link: l, log: log}, nil
}

// Conn is the connection itself, for the packages below this one.
func (b *Bus) Conn() *nats.Conn { return b.nc }

// JetStream is the connection's JetStream, for the packages below this one.
func (b *Bus) JetStream() jetstream.JetStream { return b.js }

// Logger is where the bus logs.
func (b *Bus) Logger() *zap.Logger { return b.log }

// Session waits for a connection to the server until ctx ends. The channel that it
// returns is closed when that connection ends: what the server holds for a client
// that is not stored in a stream, such as a pull, ends with it. The error is that
// of ctx, or ErrClosed.
func (b *Bus) Session(ctx context.Context) (<-chan struct{}, error) { return b.link.wait(ctx) }

// Closing is closed when Close begins.
func (b *Bus) Closing() <-chan struct{} { return b.link.closing }

// PeerAddr is the address and port of the server that the bus is connected to;
// empty while it is not.
func (b *Bus) PeerAddr() string { return b.nc.ConnectedAddr() }

// Peers are the address of the server that the bus is connected to, while it is,
// and those of the other servers of its cluster, as far as they are known by an
// address: the bus may be connected to one of them a moment later.
func (b *Bus) Peers() []netip.AddrPort {
	hosts := []string{b.nc.ConnectedAddr()}
	for _, server := range b.nc.Servers() {
		if u, err := url.Parse(server); err == nil {
			hosts = append(hosts, u.Host)
		}
	}
	var peers []netip.AddrPort
	for _, host := range hosts {
		at, err := netip.ParseAddrPort(host)
		if at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port()); err == nil && !slices.Contains(peers, at) {
			peers = append(peers, at)
		}
	}
	return peers
}

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
