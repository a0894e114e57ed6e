// Package nats_test proves on a real nats-server that the configuration which
// fleet writes lets each role do what it must, and nothing else.
package nats_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"go.yaml.in/yaml/v3"

	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/bus/provision"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The users of every test: two hosts, and one of each other role.
const (
	web01     = "host-web01"
	db01      = "host-db01"
	publisher = "publisher-ci"
	observer  = "observer-dash"
	operator  = "operator"
)

// testFleet is a configuration that the script wrote, and the servers that run it.
type testFleet struct {
	t       *testing.T
	dir     string
	servers []*server
}

// newFleet starts a server for the users above, with everything provisioned.
func newFleet(t *testing.T) *testFleet {
	t.Helper()
	f := writeFleet(t)
	f.servers = []*server{newServer(t, f.dir, freeAddress(t))}
	f.servers[0].start()
	f.provision(0)
	return f
}

// newCluster starts three servers that keep everything three times.
func newCluster(t *testing.T) *testFleet {
	t.Helper()
	f := writeFleet(t)
	var routes []string
	for range 3 {
		routes = append(routes, "nats://"+freeAddress(t))
	}
	for i, route := range routes {
		s := newServer(t, f.dir, freeAddress(t), "--name", fmt.Sprintf("nats%d", i), "--cluster_name", "holdfast",
			"--cluster", route, "--routes", strings.Join(routes, ","))
		s.start()
		f.servers = append(f.servers, s)
	}
	f.provision(3)
	return f
}

func writeFleet(t *testing.T) *testFleet {
	t.Helper()
	f := &testFleet{t: t, dir: filepath.Join(t.TempDir(), "fleet")}
	f.script("init", f.dir, "localhost", "127.0.0.1")
	f.script("host", f.dir, "web01")
	f.script("host", f.dir, "db01")
	f.script("publisher", f.dir, "ci", "backup.host.web01", "cancel.host.web01", "backup.all")
	f.script("observer", f.dir, "dash")
	return f
}

func (f *testFleet) provision(replicas int) {
	f.t.Helper()
	b := f.bus(operator)
	o := provision.Options{Hosts: []string{"web01", "db01"}, Replicas: replicas}
	eventually(f.t, "all is provisioned", func() bool { // in a cluster only once it has a leader
		_, err := provision.Run(within(f.t, 4*time.Second), b, o)
		if err != nil {
			f.t.Log(err)
		}
		return err == nil
	})
}

// onBoth runs a test against a server, and against a cluster of three.
func onBoth(t *testing.T, test func(t *testing.T, f *testFleet)) {
	t.Run("server", func(t *testing.T) { test(t, newFleet(t)) })
	t.Run("cluster", func(t *testing.T) { test(t, newCluster(t)) })
}

// at is the fleet as those see it who connect to one of its servers.
func (f *testFleet) at(i int) *testFleet {
	return &testFleet{t: f.t, dir: f.dir, servers: f.servers[i : i+1]}
}

// script runs fleet; the error of the first failure ends the test, and names the
// packages that are missing.
func (f *testFleet) script(args ...string) {
	f.t.Helper()
	if out, err := exec.Command("./fleet", args...).CombinedOutput(); err != nil {
		f.t.Fatalf("fleet %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// options are those that the script wrote down for a user.
func (f *testFleet) options(user string) bus.Options {
	f.t.Helper()
	dir := filepath.Join(f.dir, "clients", user)
	var written struct {
		NATS struct {
			URL          string
			User         string
			PasswordFile string `yaml:"passwordFile"`
			InboxPrefix  string `yaml:"inboxPrefix"`
			TLS          struct{ CA string }
		}
	}
	if err := yaml.Unmarshal([]byte(read(f.t, filepath.Join(dir, "holdfast.yaml"))), &written); err != nil {
		f.t.Fatal(err)
	}
	n := written.NATS
	return bus.Options{
		URL:         strings.Replace(n.URL, "localhost:4222", f.servers[0].address, 1),
		User:        n.User,
		Password:    strings.TrimSpace(read(f.t, filepath.Join(dir, filepath.Base(n.PasswordFile)))),
		TLS:         bus.TLS{CA: filepath.Join(dir, filepath.Base(n.TLS.CA))},
		InboxPrefix: n.InboxPrefix,
		Logger:      zaptest.NewLogger(f.t, zaptest.Level(zap.WarnLevel)),
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// bus connects a user as Holdfast does.
func (f *testFleet) bus(user string) *bus.Bus {
	f.t.Helper()
	b, err := bus.Connect(within(f.t, bustest.Patience), f.options(user))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		if err := b.Close(); err != nil {
			f.t.Error(err)
		}
	})
	return b
}

// conn is a plain connection of a user, for what is not in the bus.
type conn struct {
	*nats.Conn
	t *testing.T
	// violations are what the server reports that belongs to no call.
	violations chan error
}

func (f *testFleet) connect(user string) *conn {
	f.t.Helper()
	o := f.options(user)
	c := &conn{t: f.t, violations: make(chan error, 100)}
	var err error
	c.Conn, err = nats.Connect(o.URL, nats.UserInfo(o.User, o.Password), nats.RootCAs(o.TLS.CA), nats.CustomInboxPrefix(o.InboxPrefix),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { c.violations <- err }))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(c.Close)
	return c
}

// ask sends a request, and returns its answer.
func (c *conn) ask(subject, body string, header ...string) (*nats.Msg, error) {
	m := nats.NewMsg(subject)
	m.Data = []byte(body)
	for i := 0; i < len(header); i += 2 {
		m.Header.Set(header[i], header[i+1])
	}
	return c.RequestMsgWithContext(within(c.t, bustest.Patience), m)
}

// must sends a request that has to succeed.
func (c *conn) must(subject, body string, header ...string) *nats.Msg {
	c.t.Helper()
	m, err := c.ask(subject, body, header...)
	if err != nil {
		c.t.Fatalf("%s: %v", subject, err)
	}
	if strings.Contains(string(m.Data), `"error"`) {
		c.t.Fatalf("%s: %s", subject, m.Data)
	}
	return m
}

// subscribe returns once the server has the subscription.
func (c *conn) subscribe(subject string) *nats.Subscription {
	c.t.Helper()
	s, err := c.SubscribeSync(subject)
	if err == nil {
		err = c.FlushTimeout(bustest.Patience)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// stream returns JetStream as the user sees it.
func (c *conn) jetstream() jetstream.JetStream {
	js, err := jetstream.New(c.Conn, jetstream.WithDefaultTimeout(bustest.Patience))
	if err != nil {
		c.t.Fatal(err)
	}
	return js
}

// next returns the next message of a subscription.
func next(t *testing.T, s *nats.Subscription) *nats.Msg {
	t.Helper()
	m, err := s.NextMsgWithContext(within(t, bustest.Patience))
	if err != nil {
		t.Fatalf("nothing arrives on %s: %v", s.Subject, err)
	}
	return m
}

// silent fails if anything has arrived.
func silent(t *testing.T, s *nats.Subscription) {
	t.Helper()
	if m, err := s.NextMsg(0); !errors.Is(err, nats.ErrTimeout) {
		t.Errorf("on %s arrived %v, %v", s.Subject, m, err)
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
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("not within a minute: %s", what)
}
