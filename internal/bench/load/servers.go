//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"holdfast.io/holdfast/internal/bench"
	"holdfast.io/holdfast/internal/bus"
)

const (
	serverUser     = "load"
	serverPassword = "load"
)

// servers are the message servers of one part: one, or a cluster.
type servers struct {
	all []*messageServer
}

// messageServer is a nats-server that runs in a process of its own.
type messageServer struct {
	bench.Process
	cmd     *exec.Cmd
	address string // for clients
	monitor string // for questions, over HTTP
}

// startServers starts n servers, which make a cluster if there are several. They
// end with the part.
func (l *lab) startServers(ctx context.Context, n int) (*servers, error) {
	var routes []string
	for range n {
		route, err := freeAddress()
		if err != nil {
			return nil, err
		}
		routes = append(routes, route)
	}
	s := &servers{}
	for i := range n {
		server, err := l.startServer(ctx, i, routes)
		if err != nil {
			return nil, err
		}
		s.all = append(s.all, server)
	}
	return s, nil
}

func (l *lab) startServer(ctx context.Context, i int, routes []string) (m *messageServer, err error) {
	m = &messageServer{}
	if m.address, err = freeAddress(); err != nil {
		return nil, err
	}
	if m.monitor, err = freeAddress(); err != nil {
		return nil, err
	}
	dir := filepath.Join(l.dir, "nats-"+strconv.Itoa(i))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "nats.conf")
	if err := os.WriteFile(config, []byte(m.configuration(dir, i, routes)), 0o600); err != nil {
		return nil, err
	}
	m.cmd = l.Command(ctx, l.nats, "-c", config)
	if err := m.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start nats-server: %w", err)
	}
	m.Process = bench.Process(m.cmd.Process.Pid)
	l.atEnd(func(context.Context) error { return m.stop() })
	listens := func() bool {
		c, err := net.Dial("tcp", m.address)
		if err != nil {
			return false
		}
		return c.Close() == nil
	}
	if !bench.Until(ctx, bench.StartBound, listens) {
		said, _ := os.ReadFile(filepath.Join(dir, "nats.log"))
		return nil, fmt.Errorf("nats-server does not listen on %s: %s", m.address, bytes.TrimSpace(said))
	}
	return m, nil
}

// configuration follows deploy/README.md: a single server writes to the disk
// before it acknowledges, the servers of a cluster have each other.
func (m *messageServer) configuration(dir string, i int, routes []string) string {
	sync, cluster := "sync_interval: always", ""
	if len(routes) > 1 {
		urls := make([]string, len(routes))
		for j, route := range routes {
			urls[j] = "nats-route://" + route
		}
		sync = ""
		cluster = fmt.Sprintf("server_name: n%d\ncluster { name: load, listen: %q, routes: [ %s ] }", i, routes[i], strings.Join(urls, ", "))
	}
	return fmt.Sprintf(`
listen: %q
http: %q
log_file: %q
jetstream { store_dir: %q, %s }
authorization { users: [ { user: %q, password: %q } ] }
%s
`, m.address, m.monitor, filepath.Join(dir, "nats.log"), dir, sync, serverUser, serverPassword, cluster)
}

// stop ends the server, and returns when it has ended.
func (m *messageServer) stop() error {
	if err := m.cmd.Cancel(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	var status *exec.ExitError
	if err := m.cmd.Wait(); err != nil && !errors.As(err, &status) && !errors.Is(err, context.Canceled) {
		return err // and not only how it was ended
	}
	return nil
}

func (s *servers) url() string {
	var urls []string
	for _, m := range s.all {
		urls = append(urls, "nats://"+m.address)
	}
	return strings.Join(urls, ",")
}

// busOptions is how a worker reaches the servers.
func (s *servers) busOptions() bus.Options {
	return bus.Options{URL: s.url(), User: serverUser, Password: serverPassword, Name: "holdfast"}
}

// cpu is the CPU time of all servers.
func (s *servers) cpu() (sum time.Duration, err error) {
	for _, m := range s.all {
		used, err := m.CPU()
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// traffic is what a server says of itself, or of one of its connections.
type traffic struct {
	In            int64  `json:"in_msgs"`
	Out           int64  `json:"out_msgs"`
	Connections   int    `json:"connections"`
	Subscriptions uint32 `json:"subscriptions"`
}

// traffic is that of a server with everybody.
func (m *messageServer) traffic(ctx context.Context) (t traffic, err error) {
	return t, m.question(ctx, "varz", &t)
}

// trafficWith is the traffic of a server with the client of this name.
func (m *messageServer) trafficWith(ctx context.Context, name string) (t traffic, err error) {
	var answer struct {
		Connections []struct {
			Name string `json:"name"`
			traffic
		} `json:"connections"`
	}
	if err := m.question(ctx, "connz", &answer); err != nil {
		return t, err
	}
	for _, c := range answer.Connections {
		if c.Name == name {
			return c.traffic, nil
		}
	}
	return t, fmt.Errorf("the message server has no connection %q", name)
}

func (m *messageServer) question(ctx context.Context, what string, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, bench.StartBound)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.monitor+"/"+what, http.NoBody)
	if err != nil {
		return err
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask the message server for %s: %w", what, err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		return fmt.Errorf("read the message server's %s: %w", what, err)
	}
	return nil
}

// The range of ports lies below that from which the system takes the ports of
// outgoing connections.
const (
	firstPort = 20_000
	ports     = 12_000
)

// freeAddress returns an address that nobody listens on.
func freeAddress() (string, error) {
	for range 100 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+rand.IntN(ports)))
		if l, err := net.Listen("tcp", address); err == nil {
			return address, l.Close()
		}
	}
	return "", errors.New("no free port was found")
}
