package docker

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// clockEngine answers as an Engine does whose clock is ahead of ours, and counts
// how often it is asked what it is.
func clockEngine(t *testing.T, ahead time.Duration) (e *Engine, asked *atomic.Int32) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	asked = &atomic.Int32{}
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		if filepath.Base(r.URL.Path) == "info" {
			asked.Add(1)
			_ = json.NewEncoder(w).Encode(map[string]string{"ID": "fake", "Name": "fake",
				"SystemTime": time.Now().Add(ahead).Format(time.RFC3339Nano)})
		}
	})}}
	server.Start()
	t.Cleanup(server.Close)
	if e, err = Connect("unix://" + socket); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e, asked
}

// The time that an account begins at is the Engine's own, also where its socket
// leads into a virtual machine with another clock.
func TestNow(t *testing.T) {
	for _, ahead := range []time.Duration{0, time.Hour, -time.Hour} {
		e, _ := clockEngine(t, ahead)
		for range 2 {
			before := time.Now().Add(ahead)
			now, err := e.Time(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if now.Before(before) || now.After(time.Now().Add(ahead)) {
				t.Errorf("with a clock that is ahead by %s it is %s, want it after %s", ahead, now, before)
			}
		}
	}
}

// An Engine with our clock is asked once for many items.
func TestAboutIsKept(t *testing.T) {
	e, asked := clockEngine(t, 0)
	for range 3 {
		if about, err := e.About(t.Context()); err != nil || about.Name != "fake" {
			t.Fatalf("it is %+v, %v", about, err)
		}
		if _, err := e.Time(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("it was asked %d times, want once", n)
	}
}
