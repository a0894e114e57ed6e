package bustest

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Distant returns the URL of a server as seen from afar: whatever is sent to it or
// by it arrives after a delay. The way there is as wide as before.
func Distant(t testing.TB, p *Process, delay time.Duration) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var ways sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		ways.Wait()
	})
	ways.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", p.address)
			if err != nil {
				near.Close()
				continue
			}
			ways.Go(func() { carry(far, near, delay) })
			ways.Go(func() { carry(near, far, delay) })
		}
	})
	return "nats://" + l.Addr().String()
}

// parcel is what was read at once, and when it is to be written.
type parcel struct {
	due  time.Time
	data []byte
}

// carry copies until one end is closed, and then closes both.
func carry(to, from net.Conn, delay time.Duration) {
	under := make(chan parcel, 1<<12)
	var writing sync.WaitGroup
	writing.Go(func() {
		for p := range under {
			time.Sleep(time.Until(p.due))
			if _, err := to.Write(p.data); err != nil {
				break
			}
		}
		from.Close()
		for range under { // so that the reader is not held up
		}
	})
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			under <- parcel{time.Now().Add(delay), append([]byte(nil), buffer[:n]...)}
		}
		if err != nil {
			break
		}
	}
	close(under)
	writing.Wait()
	_ = to.Close()
}
