package dockertest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run starts a container that writes.
func run(t *testing.T, e *Engine, c Container) string {
	t.Helper()
	c.Name, c.Image = "writer", "dockertest:writer"
	e.ImportImage(t, c.Image)
	return e.Run(t, c)
}

// writes returns when the container has written more than it had.
func writes(t *testing.T, e *Engine, id string) {
	t.Helper()
	before, last := -1, error(nil)
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		n, err := e.Lines(t.Context(), id)
		if last = err; err != nil {
			continue
		}
		if before >= 0 && n > before {
			return
		}
		before = n
	}
	t.Fatalf("the container does not write: %v", last)
}

func TestEngineIsPrivateAndLeavesNothing(t *testing.T) {
	other := New(t, Options{})
	e, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	info, err := e.API().Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	others, err := other.API().Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.ID == others.ID || others.Driver != "overlay2" {
		t.Errorf("the Engines are %s and %s, with the drivers %s and %s", info.ID, others.ID, info.Driver, others.Driver)
	}
	if err := e.Import(t.Context(), "dockertest:paused"); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	made, err := e.API().ContainerCreate(ctx, &container.Config{Image: "dockertest:paused"},
		&container.HostConfig{NetworkMode: "none"}, nil, nil, "")
	if err == nil {
		err = errors.Join(e.API().ContainerStart(ctx, made.ID, container.StartOptions{}), e.API().ContainerPause(ctx, made.ID))
	}
	if err != nil {
		t.Fatal(err)
	}
	e.Pause(t)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(e.dir); err == nil {
		t.Errorf("%s is left", e.dir)
	}
	if left, _ := filepath.Glob("/sys/fs/cgroup/*/" + e.name); len(left) > 0 {
		t.Errorf("cgroups are left: %q", left)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || strings.Contains(string(mounts), e.dir) {
		t.Errorf("mounts are left: %v\n%s", err, mounts)
	}
	if _, err := other.API().Ping(ctx); err != nil {
		t.Errorf("the other Engine went too: %v", err)
	}
}

func TestRestart(t *testing.T) {
	tests := map[string]struct {
		options Options
		end     func(*Engine, testing.TB)
		stays   bool // the container is not started again
	}{
		"stopped":             {end: (*Engine).Stop},
		"killed":              {end: (*Engine).Kill},
		"stopped, containers": {options: Options{LiveRestore: true}, end: (*Engine).Stop, stays: true},
		"killed, containers":  {options: Options{LiveRestore: true}, end: (*Engine).Kill, stays: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := New(t, test.options)
			id := run(t, e, Container{AlwaysRestart: true})
			writes(t, e, id)
			before := inspect(t, e, id)
			test.end(e, t)
			if _, err := e.API().Ping(t.Context()); !client.IsErrConnectionFailed(err) {
				t.Errorf("an Engine that was ended answers: %v", err)
			}
			e.Start(t)
			writes(t, e, id)
			if stays := inspect(t, e, id) == before; stays != test.stays {
				t.Errorf("the container ran on: %v, want %v", stays, test.stays)
			}
		})
	}
}

// inspect returns when a container was started.
func inspect(t *testing.T, e *Engine, id string) string {
	t.Helper()
	c, err := e.API().ContainerInspect(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return c.State.StartedAt
}

func TestForward(t *testing.T) {
	e := New(t, Options{})
	asked := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case asked <- r.URL.Path:
		default:
		}
		http.Error(w, "no", http.StatusForbidden)
	}))
	t.Cleanup(server.Close)
	addr := server.Listener.Addr().(*net.TCPAddr)
	look := func() error {
		_, err := e.API().DistributionInspect(t.Context(), addr.String()+"/a/b:c", "")
		return err
	}
	if err := look(); err == nil || len(asked) > 0 {
		t.Fatalf("it is reached before: %v", err)
	}
	e.Forward(t, addr.Port)
	if err := look(); err == nil || len(asked) == 0 {
		t.Errorf("it is not reached: %v", err)
	}
}

func TestPause(t *testing.T) {
	e := New(t, Options{})
	e.Pause(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := e.API().Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a frozen Engine answers: %v", err)
	}
	e.Continue(t)
	if _, err := e.API().Ping(t.Context()); err != nil {
		t.Errorf("the Engine does not go on: %v", err)
	}
}

func TestFullDisk(t *testing.T) {
	e := New(t, Options{DiskBytes: 64 << 20})
	id := run(t, e, Container{Payload: 8 << 20})
	commit := func() error {
		_, err := e.API().ContainerCommit(t.Context(), id, container.CommitOptions{Reference: "dockertest:committed"})
		return err
	}
	e.Fill(t, 4<<20)
	if err := commit(); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("a commit on a full disk reports %v", err)
	}
	e.Empty(t)
	if err := commit(); err != nil {
		t.Errorf("a commit with room again reports %v", err)
	}
}

func TestMissingProgramIsNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := Open(Options{}); err == nil || !strings.Contains(err.Error(), "apt-get install") ||
		!strings.Contains(err.Error(), "docker.io (for dockerd)") {
		t.Errorf("without dockerd it says %v", err)
	}
}
