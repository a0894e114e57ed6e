package bustest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"go.uber.org/zap/zaptest/observer"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/consume"
	"holdfast.io/holdfast/internal/bus/embedded"
	"holdfast.io/holdfast/internal/bus/provision"
)

// Host is the host that tests enrol.
const Host = "web01"

// Patience is how long a test waits for what must happen. A busy machine may need much of
// it; a minute is what a message or a pull that was lost takes to come again by itself.
const Patience = 40 * time.Second

// Embedded starts a server in this process.
func Embedded(t testing.TB) bus.Options {
	t.Helper()
	s, err := embedded.Start(t.Context(), t.TempDir(), zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Shutdown(); err != nil {
			t.Error(err)
		}
	})
	return s.Options()
}

// External starts a server in another process.
func External(t testing.TB, c ...Config) (*Process, bus.Options) {
	t.Helper()
	p := Server(t, c...)
	return p, bus.Options{URL: p.URL, User: p.User, Password: p.Password}
}

// OnBoth runs a test against either kind of server.
func OnBoth(t *testing.T, test func(t *testing.T, o bus.Options)) {
	t.Run("embedded", func(t *testing.T) { test(t, Embedded(t)) })
	t.Run("process", func(t *testing.T) {
		_, o := External(t)
		test(t, o)
	})
}

// Connect connects until the test ends.
func Connect(t testing.TB, o bus.Options) *bus.Bus {
	t.Helper()
	if o.Logger == nil {
		o.Logger = zaptest.NewLogger(t)
	}
	b, err := bus.Connect(Within(t, Patience), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// Provisioned connects to a server that has everything for the host.
func Provisioned(t testing.TB, o bus.Options) *bus.Bus {
	t.Helper()
	b := Connect(t, o)
	if _, err := provision.Run(t.Context(), b, provision.Options{Hosts: []string{Host}}); err != nil {
		t.Fatal(err)
	}
	return b
}

// Logged returns options whose log can be read.
func Logged(o bus.Options) (bus.Options, *observer.ObservedLogs) {
	core, logs := observer.New(zap.DebugLevel)
	o.Logger = zap.New(core)
	return o, logs
}

// Operator connects as somebody else, past the package.
func Operator(t testing.TB, o bus.Options) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect(o.URL, nats.UserInfo(o.User, o.Password), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(Patience))
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

// NeedsNoConsumer fails the test at its end if it asked the server for a consumer.
func NeedsNoConsumer(t testing.TB, o bus.Options) {
	t.Helper()
	nc, _ := Operator(t, o)
	asked, err := nc.SubscribeSync("$JS.API.CONSUMER.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for {
			m, err := asked.NextMsg(100 * time.Millisecond)
			if err != nil {
				return
			}
			if !strings.Contains(m.Subject, ".JS_SRC_") { // the server's own, of a stream with a source
				t.Errorf("the server was asked for a consumer: %s", m.Subject)
			}
		}
	})
}

// Request is a request with an id, and with data that tells it from others.
func Request(kind events.Kind, id string) event.Event {
	ev := event.New()
	ev.SetID(id)
	ev.SetSource("/test")
	ev.SetType(kind.RequestType())
	if err := ev.SetData("application/json", map[string]string{"for": id}); err != nil {
		panic(err)
	}
	return ev
}

// Publish stores a request for the host.
func Publish(t testing.TB, b *bus.Bus, id string) {
	t.Helper()
	if _, err := b.PublishRequest(Within(t, Patience), events.HostSubject(events.Backup, Host), Request(events.Backup, id)); err != nil {
		t.Fatal(err)
	}
}

// Within returns a context that ends after a time, or with the test.
func Within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// Eventually waits until the condition holds.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("not within %s: %s", Patience, what)
}

// SetAckWait makes unsettled messages come back soon.
func SetAckWait(t testing.TB, js jetstream.JetStream, stream, name string, d time.Duration) {
	t.Helper()
	c, err := js.Consumer(t.Context(), stream, name)
	if err != nil {
		t.Fatal(err)
	}
	config := c.CachedInfo().Config
	config.AckWait = d
	if _, err := js.UpdateConsumer(t.Context(), stream, config); err != nil {
		t.Fatal(err)
	}
}

// Next takes the next message, which must come within [Patience].
func Next(t testing.TB, s *consume.Source) *consume.Message {
	t.Helper()
	m, err := s.Next(Within(t, Patience))
	if err != nil {
		t.Fatalf("no message within %s: %v", Patience, err)
	}
	return m
}

// Done acknowledges a message.
func Done(t testing.TB, m *consume.Message) {
	t.Helper()
	if err := m.Done(Within(t, Patience)); err != nil {
		t.Fatal(err)
	}
}

// Messages counts the messages of a stream.
func Messages(t testing.TB, js jetstream.JetStream, stream string) uint64 {
	t.Helper()
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// Result is a result with an id.
func Result(id string) event.Event {
	ev := event.New()
	ev.SetID(id)
	ev.SetSource("/holdfast/web01")
	ev.SetType(events.Backup.ResultType(events.ResultCompleted))
	return ev
}
