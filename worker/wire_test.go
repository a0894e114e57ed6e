package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os/exec"
	"sync"
	"testing"
)

// wire is a network between a worker and the message server, which can be cut. The
// worker is in a network namespace of its own.
type wire struct {
	device string
	// prefix starts a worker at its end.
	prefix []string
	// url is where the worker finds the server.
	url string
}

// newWire lays a wire to the server at that URL.
func newWire(t *testing.T, server string) *wire {
	t.Helper()
	name := fmt.Sprintf("hft%08x", rand.Uint32())
	// One of the smallest networks of those that are kept for tests (RFC 2544).
	network := 4 * rand.N(1<<14)
	near := fmt.Sprintf("198.18.%d.%d", network>>8, network&0xff+1)
	far := fmt.Sprintf("198.18.%d.%d", network>>8, network&0xff+2)
	guarded(t, fmt.Sprintf(`ip netns add %[1]s
ip link add %[1]s type veth peer name far netns %[1]s
ip addr add %[2]s/30 dev %[1]s; ip link set %[1]s up
ip -n %[1]s addr add %[3]s/30 dev far; ip -n %[1]s link set far up; ip -n %[1]s link set lo up`, name, near, far),
		fmt.Sprintf(`ip link del %[1]s 2>/dev/null || true; ip netns del %[1]s 2>/dev/null || true`, name))
	to, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	address := forward(t, near+":0", to.Host)
	return &wire{device: name, prefix: []string{"nsenter", "--net=/run/netns/" + name, "--"}, url: "nats://" + address}
}

// cut cuts the wire: packets get lost, and nobody is told. mend mends it.
func (l *wire) cut(t *testing.T)  { t.Helper(); l.set(t, "down") }
func (l *wire) mend(t *testing.T) { t.Helper(); l.set(t, "up") }

func (l *wire) set(t *testing.T, state string) {
	t.Helper()
	if out, err := exec.Command("ip", "link", "set", l.device, state).CombinedOutput(); err != nil {
		t.Fatalf("set the wire %s: %v\n%s", state, err, out)
	}
}

// forward passes connections on, and returns where they are taken.
func forward(t *testing.T, listen, to string) string {
	t.Helper()
	l, err := net.Listen("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	f := &forwarder{to: to, open: map[net.Conn]bool{}}
	f.running.Go(func() { f.accept(l) })
	t.Cleanup(func() {
		_ = l.Close()
		f.close()
	})
	return l.Addr().String()
}

type forwarder struct {
	to      string
	running sync.WaitGroup
	mu      sync.Mutex
	open    map[net.Conn]bool // nil when it is closed
}

func (f *forwarder) accept(l net.Listener) {
	for {
		near, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		far, err := net.Dial("tcp", f.to)
		if err != nil { // the server is away
			_ = near.Close()
			continue
		}
		for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
			f.keep(pair[0])
			f.running.Go(func() {
				_, _ = io.Copy(pair[0], pair[1])
				_ = pair[0].Close()
				_ = pair[1].Close()
			})
		}
	}
}

func (f *forwarder) keep(c net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open == nil {
		_ = c.Close()
		return
	}
	f.open[c] = true
}

func (f *forwarder) close() {
	f.mu.Lock()
	for c := range f.open {
		_ = c.Close()
	}
	f.open = nil
	f.mu.Unlock()
	f.running.Wait()
}
