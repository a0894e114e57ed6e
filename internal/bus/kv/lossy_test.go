package kv_test

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/bus/kv"
)

// relay stands between a client and the server, and can withhold answers.
type relay struct {
	server string
	// written is closed when the client has sent a write to a bucket.
	written chan struct{}

	mu          sync.Mutex
	withholding bool
	sound       bool
	conns       []net.Conn
}

// lossy returns the bucket of jobs behind a relay. From the first write on, the
// server's answers are lost, and once the condition holds the connection as well;
// the next one is sound.
func lossy(t *testing.T, o bus.Options, until func() bool) *kv.Bucket {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{server: strings.TrimPrefix(o.URL, "nats://"), written: make(chan struct{})}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { r.serve(client) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		r.end()
		running.Wait()
	})
	o.URL = "nats://" + listener.Addr().String()
	b := bustest.Connect(t, o)
	running.Go(func() {
		select {
		case <-r.written:
			for !until() && t.Context().Err() == nil {
				time.Sleep(10 * time.Millisecond)
			}
			r.end()
		case <-t.Context().Done():
		}
	})
	return kv.Jobs(b)
}

func (r *relay) serve(client net.Conn) {
	server, err := net.Dial("tcp", r.server)
	if err != nil {
		client.Close()
		return
	}
	r.mu.Lock()
	r.conns = append(r.conns, client, server)
	r.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(questions{r, server}, client) // it ends with the connection
		server.Close()
	})
	both.Go(func() {
		_, _ = io.Copy(answers{r, client}, server)
		client.Close()
	})
	both.Wait()
}

// end ends all connections. Those that follow are sound.
func (r *relay) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.Close()
	}
	r.conns, r.withholding, r.sound = nil, false, true
}

// questions passes on what the client sends.
type questions struct {
	relay  *relay
	server net.Conn
}

func (q questions) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(jetstream.ExpectedLastSubjSeqHeader)) {
		q.relay.withhold()
	}
	return q.server.Write(p)
}

// withhold has answers lost from now on, the first time that it is called.
func (r *relay) withhold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.sound && !r.withholding {
		r.withholding = true
		close(r.written)
	}
}

// answers passes on what the server sends, unless that is withheld.
type answers struct {
	relay  *relay
	client net.Conn
}

func (a answers) Write(p []byte) (int, error) {
	a.relay.mu.Lock()
	withheld := a.relay.withholding
	a.relay.mu.Unlock()
	if withheld {
		return len(p), nil
	}
	return a.client.Write(p)
}
