// Package flaky is a TCP proxy for tests: it cuts, delays, throttles, holds and falsifies
// what goes through it.
package flaky

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Direction is one of the two in which bytes go.
type Direction int

// The directions.
const (
	ToServer Direction = iota
	ToClient
)

// Proxy is a proxy. Its faults may be set at any time, by several goroutines, and hold for
// connections that are open too.
type Proxy struct {
	listener net.Listener
	target   string

	mu       sync.Mutex // guards what follows
	conns    map[net.Conn]net.Conn
	accepted int
	refuse   bool
	delay    time.Duration
	rate     int // bytes a second, in each direction and connection; 0 is as fast as can be
	held     chan struct{}
	carried  [2]int64
	cut      [2]fuse
	corrupt  [2]fuse
}

// fuse counts down bytes, once.
type fuse struct {
	armed bool
	left  int64
}

// burns reports whether the fuse ends within the next n bytes, and after how many.
func (f *fuse) burns(n int) (at int, now bool) {
	if !f.armed {
		return 0, false
	}
	if f.left >= int64(n) {
		f.left -= int64(n)
		return 0, false
	}
	f.armed = false
	return int(f.left), true
}

// New returns a proxy to the TCP server at target, which ends with the test.
func New(t testing.TB, target string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: listener, target: target, conns: map[net.Conn]net.Conn{}}
	var wg sync.WaitGroup
	wg.Go(func() { p.serve(&wg) })
	t.Cleanup(func() {
		_ = listener.Close()
		p.Hold(false)
		p.Cut()
		wg.Wait()
	})
	return p
}

// Addr is where the proxy listens, as host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Accepted returns how many connections there were.
func (p *Proxy) Accepted() int { defer p.lock()(); return p.accepted }

// Open returns how many connections there are.
func (p *Proxy) Open() int { defer p.lock()(); return len(p.conns) }

// Carried returns how many bytes came to be carried in a direction, over all connections.
func (p *Proxy) Carried(d Direction) int64 { defer p.lock()(); return p.carried[d] }

// Refuse has new connections closed at once, or lets them in again.
func (p *Proxy) Refuse(refuse bool) { defer p.lock()(); p.refuse = refuse }

// Delay has every byte arrive so much later, in each direction.
func (p *Proxy) Delay(delay time.Duration) { defer p.lock()(); p.delay = delay }

// Throttle lets so many bytes a second through, in each direction of each connection; 0
// is as many as come.
func (p *Proxy) Throttle(bytesPerSecond int) { defer p.lock()(); p.rate = bytesPerSecond }

// Hold keeps connections open and lets nothing through, or lets all through again.
func (p *Proxy) Hold(hold bool) {
	defer p.lock()()
	switch {
	case hold && p.held == nil:
		p.held = make(chan struct{})
	case !hold && p.held != nil:
		close(p.held)
		p.held = nil
	}
}

// Cut cuts every connection.
func (p *Proxy) Cut() {
	defer p.lock()()
	for client, server := range p.conns {
		_ = client.Close()
		_ = server.Close()
	}
}

// CutAfter cuts the connection over which, from now on, so many bytes more went in a
// direction, all connections counted together. It does so once.
func (p *Proxy) CutAfter(d Direction, bytes int64) { defer p.lock()(); p.cut[d] = fuse{true, bytes} }

// Corrupt changes one bit of the byte that comes after so many more in a direction, once.
func (p *Proxy) Corrupt(d Direction, bytes int64) { defer p.lock()(); p.corrupt[d] = fuse{true, bytes} }

func (p *Proxy) lock() (unlock func()) {
	p.mu.Lock()
	return p.mu.Unlock
}

func (p *Proxy) serve(wg *sync.WaitGroup) {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, ok := p.admit(client)
		if !ok {
			_ = client.Close()
			continue
		}
		wg.Go(func() {
			var both sync.WaitGroup
			both.Go(func() { p.carry(server, client, ToServer) })
			both.Go(func() { p.carry(client, server, ToClient) })
			both.Wait()
			defer p.lock()()
			delete(p.conns, client)
		})
	}
}

// admit connects a client to the server.
func (p *Proxy) admit(client net.Conn) (server net.Conn, ok bool) {
	defer p.lock()()
	p.accepted++
	if p.refuse {
		return nil, false
	}
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return nil, false
	}
	p.conns[client] = server
	return server, true
}

// parcel is bytes on their way.
type parcel struct {
	bytes []byte
	due   time.Time
	last  bool // the connection is cut after it
}

// carry moves bytes until one side ends, and ends both then.
func (p *Proxy) carry(to, from net.Conn, d Direction) {
	way := make(chan parcel, 64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		deliver(to, way, p)
		_ = to.Close()
		_ = from.Close()
		for range way { // what is on its way is lost
		}
	}()
	for {
		buf := make([]byte, 32<<10)
		n, err := from.Read(buf)
		next := p.inspect(buf[:n], d)
		way <- next
		if err != nil || next.last {
			break
		}
	}
	close(way)
	<-done
}

// inspect applies the faults that count bytes.
func (p *Proxy) inspect(b []byte, d Direction) parcel {
	defer p.lock()()
	p.carried[d] += int64(len(b))
	if at, now := p.corrupt[d].burns(len(b)); now {
		b[at] ^= 1
	}
	at, last := p.cut[d].burns(len(b))
	if last {
		b = b[:at]
	}
	return parcel{bytes: b, due: time.Now().Add(p.delay), last: last}
}

// deliver writes what comes the way, in time, until it ends or is cut.
func deliver(to io.Writer, way <-chan parcel, p *Proxy) {
	for next := range way {
		time.Sleep(time.Until(next.due))
		held, rate := p.pace()
		if held != nil {
			<-held
		}
		began := time.Now()
		if _, err := to.Write(next.bytes); err != nil || next.last {
			return
		}
		if rate > 0 {
			time.Sleep(time.Until(began.Add(time.Duration(len(next.bytes)) * time.Second / time.Duration(rate))))
		}
	}
}

func (p *Proxy) pace() (held <-chan struct{}, rate int) { defer p.lock()(); return p.held, p.rate }
