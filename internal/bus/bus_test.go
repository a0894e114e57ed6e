package bus_test

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
	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/bus/embedded"
)

const host = "web01"

func TestMain(m *testing.M) { bustest.VerifyNoLeaks(m) }

// embeddedServer starts a server in this process.
func embeddedServer(t *testing.T) bus.Options {
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

// process starts a server in another process.
func process(t *testing.T, c ...bustest.Config) (*bustest.Process, bus.Options) {
	t.Helper()
	p := bustest.Server(t, c...)
	return p, bus.Options{URL: p.URL, User: p.User, Password: p.Password}
}

// onBoth runs a test against either kind of server.
func onBoth(t *testing.T, test func(t *testing.T, o bus.Options)) {
	t.Run("embedded", func(t *testing.T) { test(t, embeddedServer(t)) })
	t.Run("process", func(t *testing.T) {
		_, o := process(t)
		test(t, o)
	})
}

func connect(t *testing.T, o bus.Options) *bus.Bus {
	t.Helper()
	if o.Logger == nil {
		o.Logger = zaptest.NewLogger(t)
	}
	b, err := bus.Connect(within(t, 20*time.Second), o)
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

// provisioned connects to a server that has everything for the host.
func provisioned(t *testing.T, o bus.Options) *bus.Bus {
	t.Helper()
	b := connect(t, o)
	if _, err := b.Provision(t.Context(), bus.ProvisionOptions{Hosts: []string{host}}); err != nil {
		t.Fatal(err)
	}
	return b
}

// logged returns options whose log can be read.
func logged(o bus.Options) (bus.Options, *observer.ObservedLogs) {
	core, logs := observer.New(zap.DebugLevel)
	o.Logger = zap.New(core)
	return o, logs
}

// operator connects as somebody else, past the package.
func operator(t *testing.T, o bus.Options) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect(o.URL, nats.UserInfo(o.User, o.Password), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

// needsNoConsumer fails the test at its end if it asked the server for a consumer.
func needsNoConsumer(t *testing.T, o bus.Options) {
	t.Helper()
	nc, _ := operator(t, o)
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

// state is what a consumer has: messages not yet delivered, and not yet settled.
type state struct {
	waiting   uint64
	unsettled int
}

func consumerState(t *testing.T, js jetstream.JetStream, stream, name string) state {
	t.Helper()
	c, err := js.Consumer(t.Context(), stream, name)
	if err != nil {
		t.Fatal(err)
	}
	i := c.CachedInfo()
	return state{i.NumPending, i.NumAckPending}
}

// setAckWait makes unsettled messages come back soon.
func setAckWait(t *testing.T, js jetstream.JetStream, stream, name string, d time.Duration) {
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

func request(kind events.Kind, id string) event.Event {
	ev := event.New()
	ev.SetID(id)
	ev.SetSource("/test")
	ev.SetType(kind.RequestType())
	if err := ev.SetData("application/json", map[string]string{"for": id}); err != nil {
		panic(err)
	}
	return ev
}

// publish stores a request for the host.
func publish(t *testing.T, b *bus.Bus, id string) {
	t.Helper()
	if _, err := b.PublishRequest(within(t, 20*time.Second), events.HostSubject(events.Backup, host), request(events.Backup, id)); err != nil {
		t.Fatal(err)
	}
}

func next(t *testing.T, s *bus.Source, timeout time.Duration) *bus.Message {
	t.Helper()
	m, err := s.Next(within(t, timeout))
	if err != nil {
		t.Fatalf("no message within %s: %v", timeout, err)
	}
	return m
}

func idOf(t *testing.T, m *bus.Message) string {
	t.Helper()
	ev, err := events.Decode(m.Headers, m.Body)
	if err != nil {
		t.Fatal(err)
	}
	return ev.ID()
}

func done(t *testing.T, m *bus.Message) {
	t.Helper()
	if err := m.Done(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("not within 15 s: %s", what)
}
