package bustest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// electionTimeout is far above the ten seconds that an election takes at most: on
// a busy machine a server that comes back has taken a minute to catch up.
const electionTimeout = 3 * time.Minute

// Servers are the servers of a cluster.
type Servers struct {
	// URL has the addresses of all servers, separated by commas.
	URL, User, Password string
	// Nodes are the servers, which can be stopped and started one by one.
	Nodes []*Process

	t     testing.TB
	names []string
}

// bootTimeout is how long the first election of a new cluster may take. Now and then
// its servers elect nobody for minutes; new ones do.
const bootTimeout = 40 * time.Second

// Cluster starts n servers that make one cluster, and end with the test. It
// returns when they can make streams.
func Cluster(t testing.TB, n int, c ...Config) *Servers {
	t.Helper()
	const boots = 3
	for boot := 1; ; boot++ {
		s := start(t, n, first(c))
		err := s.answered(bootTimeout, func(ctx context.Context, js jetstream.JetStream) error {
			_, err := js.AccountInfo(ctx)
			return err
		})
		if err == nil {
			return s
		}
		if boot == boots {
			t.Fatalf("no cluster of %d that was started has a leader: %v\n%s", boots, err, s.Nodes[0].Log())
		}
		t.Logf("the cluster has no leader after %s; it is started anew: %v", bootTimeout, err)
		for _, p := range s.Nodes {
			p.Kill()
		}
	}
}

// start starts n servers that know each other.
func start(t testing.TB, n int, c Config) *Servers {
	t.Helper()
	var routes, addresses []string
	for range n {
		routes = append(routes, freeAddress(t))
		addresses = append(addresses, freeAddress(t))
	}
	s := &Servers{t: t}
	var urls []string
	for i := range n {
		name := fmt.Sprint("node", i)
		p := process(t, addresses[i], membership(name, routes[i], routes), c)
		s.Nodes = append(s.Nodes, p)
		s.names = append(s.names, name)
		urls = append(urls, p.URL)
	}
	s.URL, s.User, s.Password = strings.Join(urls, ","), s.Nodes[0].User, s.Nodes[0].Password
	for _, p := range s.Nodes {
		p.Start()
	}
	return s
}

// membership is what makes a server one of a cluster.
func membership(name, listen string, routes []string) string {
	var urls []string
	for _, r := range routes {
		urls = append(urls, "nats-route://"+r)
	}
	return fmt.Sprintf(`
server_name: %q
cluster { name: "test", listen: %q, routes: [ %s ] }
`, name, listen, strings.Join(urls, ", "))
}

// Leader returns the number of the server that leads a stream, as soon as there
// is one.
func (s *Servers) Leader(stream string) int {
	s.t.Helper()
	var leader int
	s.ask("stream "+stream+" has a leader", func(ctx context.Context, js jetstream.JetStream) error {
		info, err := s.info(ctx, js, stream)
		if err != nil {
			return err
		}
		leader = slices.Index(s.names, info.Leader)
		if leader < 0 {
			return errors.New("it has none")
		}
		return nil
	})
	return leader
}

// Settled returns when every replica of a stream is there and has all of its
// messages.
func (s *Servers) Settled(stream string) {
	s.t.Helper()
	s.ask("all replicas of stream "+stream+" are current", func(ctx context.Context, js jetstream.JetStream) error {
		info, err := s.info(ctx, js, stream)
		if err != nil {
			return err
		}
		for _, r := range info.Replicas {
			if !r.Current || r.Offline {
				return fmt.Errorf("%s lags behind", r.Name)
			}
		}
		return nil
	})
}

// info is answered by the stream's leader only.
func (s *Servers) info(ctx context.Context, js jetstream.JetStream, stream string) (*jetstream.ClusterInfo, error) {
	found, err := js.Stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	cluster := found.CachedInfo().Cluster
	if cluster == nil {
		return nil, errors.New("it is not in a cluster")
	}
	return cluster, nil
}

// ask repeats a question until it is answered.
func (s *Servers) ask(what string, question func(context.Context, jetstream.JetStream) error) {
	s.t.Helper()
	if err := s.answered(electionTimeout, question); err != nil {
		s.t.Fatalf("not within %s: %s: %v", electionTimeout, what, err)
	}
}

// answered repeats a question until it is answered. The error is the last one that
// came within the time.
func (s *Servers) answered(within time.Duration, question func(context.Context, jetstream.JetStream) error) error {
	s.t.Helper()
	nc, err := nats.Connect(s.URL, nats.UserInfo(s.User, s.Password), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
	if err != nil {
		s.t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		s.t.Fatal(err)
	}
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err = question(ctx, js)
		cancel()
		if err == nil {
			return nil
		}
	}
	return err
}
