package dockertest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Address is one that an Engine has in its own network, and does not take for loopback: what it
// talks to there must have a certificate that it trusts. It is one of those for documentation (RFC 5737).
const Address = "192.0.2.1"

// Forward lets the Engine, whose network is its own, reach what listens on a port of this
// machine's loopback: on the same port of its own, and of Address. It ends with the test.
func (e *Engine) Forward(t testing.TB, port int) {
	t.Helper()
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	var listener net.Listener
	err := e.room.within(func() (err error) {
		listener, err = net.Listen("tcp4", fmt.Sprintf(":%d", port))
		return err
	})
	if err != nil {
		t.Fatalf("listen on port %d of the private Engine: %v", port, err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			from, err := listener.Accept()
			if err != nil { // it is closed
				return
			}
			running.Go(func() { forward(from, addr) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		running.Wait()
	})
}

// forward connects two ends until one of them is closed.
func forward(from net.Conn, addr string) {
	defer from.Close()
	to, err := net.Dial("tcp", addr)
	if err != nil { // nobody listens there now
		return
	}
	defer to.Close()
	var running sync.WaitGroup
	for _, ends := range [][2]net.Conn{{from, to}, {to, from}} {
		running.Go(func() {
			_, _ = io.Copy(ends[0], ends[1])
			_ = ends[0].Close()
			_ = ends[1].Close()
		})
	}
	running.Wait()
}

// within calls f on a thread whose network is the room's. What f opens stays there.
func (r *room) within(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		ns, err := os.Open("/proc/" + r.first + "/ns/net")
		if err == nil {
			err = errors.Join(unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET), ns.Close())
		}
		if err == nil {
			err = f()
		}
		result <- err
	}()
	return <-result
}
