package node_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/node"
	"holdfast.io/holdfast/internal/sink/open"
	"holdfast.io/holdfast/internal/state"
)

// startIn starts a worker in a state dir, and returns what it warns of.
func (f *testFleet) startIn(stateDir string) (n *node.Node, warnings *observer.ObservedLogs) {
	f.Helper()
	core, warnings := observer.New(zap.WarnLevel)
	n, err := node.Start(f.Context(), node.Options{
		StateDir: stateDir, NATS: f.options, Engine: f.engine, HostID: host, Slots: 1,
		Sinks: map[string]open.Config{events.DefaultSink: {URL: f.sink}}, Log: zap.New(core),
	})
	if err != nil {
		f.Fatal(err)
	}
	return n, warnings
}

// takes reports whether the registry at a port takes credentials.
func takes(t *testing.T, r state.Registry, password string) bool {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/v2/", r.Port), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(r.User, password)
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// The registry has the same port and takes the same credentials after each start: an Engine
// finds by them what it has pushed.
func TestRegistryStaysTheSame(t *testing.T) {
	f := newFleet(t)
	stateDir := filepath.Join(t.TempDir(), "state")
	file := filepath.Join(stateDir, "registry.json")
	var first []byte
	for n := range 3 {
		worker, warnings := f.startIn(stateDir)
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var r state.Registry
		if err := json.Unmarshal(raw, &r); err != nil || r.Port == 0 || r.User == "" || len(r.Password) < 16 {
			t.Fatalf("start %d keeps port %d, user %q and a password of %d bytes, %v", n, r.Port, r.User, len(r.Password), err)
		}
		if first == nil {
			first = raw
		}
		if !bytes.Equal(raw, first) {
			t.Errorf("start %d has other ones", n)
		}
		if !takes(t, r, r.Password) || takes(t, r, r.Password+"x") {
			t.Errorf("start %d: the registry does not take just these", n)
		}
		worker.Close()
		if warnings.Len() > 0 {
			t.Errorf("start %d warns of %v", n, warnings.All())
		}
	}
}

// A file that is damaged does not keep the worker from its work. It is said, and left for people
// to look at.
func TestRegistryThatIsDamaged(t *testing.T) {
	f := newFleet(t)
	stateDir := filepath.Join(t.TempDir(), "state")
	file := filepath.Join(stateDir, "registry.json")
	if err := os.Mkdir(stateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	damaged := []byte(`{"port": 40123, "user": "holdfast", "password": "se`)
	if err := os.WriteFile(file, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	worker, warnings := f.startIn(stateDir)
	worker.Close()
	said := warnings.FilterMessageSnippet("images are saved").All()
	if len(said) != 1 {
		t.Fatalf("it warns of %v", warnings.All())
	}
	if text := fmt.Sprint(said[0].ContextMap()["error"]); !strings.Contains(text, file+" is damaged") || !strings.Contains(text, "remove it") {
		t.Errorf("the warning is %q", text)
	}
	if raw, err := os.ReadFile(file); err != nil || !bytes.Equal(raw, damaged) {
		t.Errorf("the file is now %q, %v", raw, err)
	}
}
