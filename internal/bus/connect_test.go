package bus_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/bustest"
)

func TestConnectErrorsAreClearAndKeepSecrets(t *testing.T) {
	_, good := bustest.External(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		o    bus.Options
		want string
	}{
		"nobody listens":        {bus.Options{URL: "nats://user:hunter2@" + nobody}, "nats://" + nobody},
		"a token as user":       {bus.Options{URL: "nats://hunter2@" + nobody}, "nats://" + nobody},
		"wrong password":        {bus.Options{URL: good.URL, User: good.User, Password: "hunter2"}, "Authorization"},
		"malformed port":        {bus.Options{URL: "nats://user:hunter2@host:port"}, "malformed"},
		"malformed escape":      {bus.Options{URL: "nats://user:hunter2%zz@host"}, "malformed"},
		"no URL":                {bus.Options{}, "malformed"},
		"certificate, no key":   {bus.Options{URL: good.URL, TLS: bus.TLS{Cert: "cert.pem"}}, "needs its key"},
		"no such credentials":   {bus.Options{URL: good.URL, CredentialsFile: "/does/not/exist"}, "/does/not/exist"},
		"no such CA":            {bus.Options{URL: good.URL, TLS: bus.TLS{CA: "/does/not/exist"}}, "/does/not/exist"},
		"no TLS at the server":  {bus.Options{URL: strings.Replace(good.URL, "nats:", "tls:", 1)}, "secure connection not available"},
		"one address malformed": {bus.Options{URL: good.URL + ",nats://user:hunter2@:x"}, "malformed"},
		"inbox prefix":          {bus.Options{URL: good.URL, InboxPrefix: "_INBOX_web01.>"}, `inbox prefix "_INBOX_web01.>"`},
	} {
		t.Run(name, func(t *testing.T) {
			o, logs := bustest.Logged(test.o)
			b, err := bus.Connect(bustest.Within(t, bustest.Patience), o)
			if err == nil {
				t.Fatal(b.Close(), "connected")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v; want %q", err, test.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error has the secret: %v", err)
			}
			for _, l := range logs.All() {
				t.Errorf("logged and returned: %+v", l)
			}
		})
	}
}

func TestConnectWaits(t *testing.T) {
	t.Parallel()
	p, o := bustest.External(t)
	p.Stop()
	o, logs := bustest.Logged(o)
	o.Wait = true
	if _, err := bus.Connect(bustest.Within(t, 300*time.Millisecond), o); !errors.Is(err, context.DeadlineExceeded) ||
		!strings.Contains(err.Error(), "nothing takes connections") {
		t.Errorf("%v", err)
	}
	logs.TakeAll()
	started := make(chan struct{})
	go func() {
		defer close(started)
		time.Sleep(1500 * time.Millisecond)
		p.Start()
	}()
	defer func() { <-started }()
	b, err := bus.Connect(bustest.Within(t, bustest.Patience), o)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := b.PeerAddr(), strings.TrimPrefix(p.URL, "nats://"); got != want {
		t.Errorf("connected to %s, not %s", got, want)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if got := b.PeerAddr(); got != "" {
		t.Errorf("connected to %s after Close", got)
	}
	if logs.Len() != 1 {
		t.Errorf("logged %d lines: %+v", logs.Len(), logs.All())
	}
}

// Who is connected to one server of a cluster knows the others: it may be connected
// to one of them next.
func TestPeersOfACluster(t *testing.T) {
	t.Parallel()
	s := bustest.Cluster(t, 3)
	b, err := bus.Connect(bustest.Within(t, bustest.Patience),
		bus.Options{URL: s.Nodes[1].URL, User: s.User, Password: s.Password, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var got []string
	for _, p := range b.Peers() {
		got = append(got, "nats://"+p.String())
	}
	if len(got) == 0 || got[0] != s.Nodes[1].URL {
		t.Errorf("the peers are %q, and the bus is connected to %s", got, s.Nodes[1].URL)
	}
	for _, n := range s.Nodes {
		if !slices.Contains(got, n.URL) {
			t.Errorf("the peers are %q, without %s", got, n.URL)
		}
	}
}

// Connect does not wait for a server that takes the connection and says nothing.
func TestConnectEndsWithItsContext(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	began := time.Now()
	_, err = bus.Connect(bustest.Within(t, 200*time.Millisecond), bus.Options{URL: silent.Addr().String()})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 2*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}
