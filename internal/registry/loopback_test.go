package registry

import (
	"net"
	"testing"
)

// conn is a connection of somebody at an address.
type conn struct {
	net.Conn
	peer   net.Addr
	closed bool
}

func (c *conn) RemoteAddr() net.Addr { return c.peer }
func (c *conn) Close() error         { c.closed = true; return nil }

type conns struct {
	net.Listener
	left []*conn
}

func (c *conns) Accept() (net.Conn, error) {
	if len(c.left) == 0 {
		return nil, net.ErrClosed
	}
	next := c.left[0]
	c.left = c.left[1:]
	return next, nil
}

// The packet filter of a host can lead others to its loopback.
func TestLoopbackOnly(t *testing.T) {
	from := func(ip string) *conn { return &conn{peer: &net.TCPAddr{IP: net.ParseIP(ip), Port: 1}} }
	all := []*conn{from("192.0.2.1"), from("127.0.0.1"), from("10.0.0.1"), from("127.1.2.3"), from("::1"), from("2001:db8::1"),
		{peer: &net.UnixAddr{Name: "x"}}}
	l := &loopback{&conns{left: all}}
	for _, want := range []int{1, 3, 4} {
		if c, err := l.Accept(); err != nil || c != all[want] {
			t.Fatalf("accepted is %v, %v; want %v", c, err, all[want].peer)
		}
	}
	if _, err := l.Accept(); err == nil {
		t.Error("one more is accepted")
	}
	for i, c := range all {
		if wanted := i == 1 || i == 3 || i == 4; c.closed == wanted {
			t.Errorf("%v is closed: %v", c.peer, c.closed)
		}
	}
}
