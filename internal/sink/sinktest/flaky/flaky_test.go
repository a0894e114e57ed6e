package flaky_test

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast.io/holdfast/internal/sink/sinktest/flaky"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a server that sends back what comes.
func echo(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, struct{ io.Reader }{conn}) // a socket that is spliced into itself stands still
				conn.Close()
			}()
		}
	}()
	return listener.Addr().String()
}

func dial(t *testing.T, p *flaky.Proxy) net.Conn {
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// exchange sends content and returns as much of it as comes back.
func exchange(conn net.Conn, content []byte) []byte {
	go func() { _, _ = conn.Write(content) }()
	back := make([]byte, len(content))
	n, _ := io.ReadFull(conn, back)
	return back[:n]
}

var content = bytes.Repeat([]byte("0123456789abcdef!"), 20_000)

func TestNothingIsChangedWithoutAFault(t *testing.T) {
	p := flaky.New(t, echo(t))
	if got := exchange(dial(t, p), content); !bytes.Equal(got, content) {
		t.Errorf("%d bytes came back, changed or too few", len(got))
	}
	if up, down := p.Carried(flaky.ToServer), p.Carried(flaky.ToClient); up != down || up != int64(len(content)) {
		t.Errorf("%d bytes went and %d came, of %d", up, down, len(content))
	}
	if p.Accepted() != 1 || p.Open() != 1 {
		t.Errorf("%d connections came and %d are open, want 1", p.Accepted(), p.Open())
	}
}

func TestCut(t *testing.T) {
	for _, d := range []flaky.Direction{flaky.ToServer, flaky.ToClient} {
		p := flaky.New(t, echo(t))
		conn := dial(t, p)
		p.CutAfter(d, 100_000)
		if got := exchange(conn, content); len(got) > 100_000 || d == flaky.ToClient && len(got) < 100_000 {
			t.Errorf("%d bytes came back, want them cut after 100000", len(got))
		}
		conn = dial(t, p)
		if got := exchange(conn, content); !bytes.Equal(got, content) {
			t.Error("it cuts again")
		}
		p.Cut()
		if n, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("%d bytes came over a connection that was cut", n)
		}
	}
}

func TestCorrupt(t *testing.T) {
	p := flaky.New(t, echo(t))
	p.Corrupt(flaky.ToClient, 70_000)
	got := exchange(dial(t, p), content)
	for i := range got {
		if (got[i] != content[i]) != (i == 70_000) {
			t.Fatalf("byte %d is %q, and was %q", i, got[i], content[i])
		}
	}
	if len(got) != len(content) {
		t.Errorf("%d bytes came back of %d", len(got), len(content))
	}
}

func TestSlow(t *testing.T) {
	for name, slow := range map[string]func(*flaky.Proxy){
		"delayed":   func(p *flaky.Proxy) { p.Delay(50 * time.Millisecond) },
		"throttled": func(p *flaky.Proxy) { p.Throttle(3_000_000) },
		"held": func(p *flaky.Proxy) {
			p.Hold(true)
			time.AfterFunc(100*time.Millisecond, func() { p.Hold(false) })
		},
	} {
		p := flaky.New(t, echo(t))
		slow(p)
		began := time.Now()
		if got := exchange(dial(t, p), content); !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes came back, changed or too few", name, len(got))
		}
		if took := time.Since(began); took < 90*time.Millisecond {
			t.Errorf("%s: it took %s", name, took)
		}
	}
}

func TestRefuse(t *testing.T) {
	p := flaky.New(t, echo(t))
	p.Refuse(true)
	if got := exchange(dial(t, p), content); len(got) > 0 {
		t.Errorf("%d bytes came back", len(got))
	}
	p.Refuse(false)
	if got := exchange(dial(t, p), content); !bytes.Equal(got, content) {
		t.Error("it refuses for ever")
	}
}
