package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast.io/holdfast/internal/docker/dockertest"
	"holdfast.io/holdfast/internal/porttest"
	"holdfast.io/holdfast/internal/sink/layered"
	"holdfast.io/holdfast/internal/sink/s3/s3test"
	"holdfast.io/holdfast/internal/state"
	"holdfast.io/holdfast/internal/step"
)

// crashProgram is the real program, built to die and to freeze at a step when
// its environment says so.
var crashProgram = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "holdfast-test-")
	if err != nil {
		return "", err
	}
	removeAtEnd(func() error { return os.RemoveAll(dir) })
	program := filepath.Join(dir, "holdfast")
	if out, err := exec.Command("go", "build", "-tags", "crash", "-o", program, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build holdfast: %w\n%s", err, out)
	}
	return program, nil
})

// workerOptions changes a worker. The zero value is one with a state dir of its
// own.
type workerOptions struct {
	// state is its state dir; one that dies and comes back keeps it.
	state string
	// env is what its environment has besides.
	env []string
	// prefix is the command that starts it, such as nsenter with its arguments. It
	// must become the worker.
	prefix []string
	// server is where it finds the message server, if that is not its address.
	server string
	// engine is its Engine, if that is not the world's.
	engine *dockertest.Engine
	// dockerHost is where it finds its Engine, if that is not the Engine's address.
	dockerHost string
}

// worker is a process of the real program that serves a world's host.
type worker struct {
	*process
	t     *testing.T
	state string
}

// start starts a worker that ends with the test.
func (w *world) start(o workerOptions) *worker {
	w.t.Helper()
	if o.state == "" {
		o.state = filepath.Join(w.t.TempDir(), "state")
	}
	if o.server == "" {
		o.server = w.url
	}
	if o.engine == nil {
		o.engine = w.engine
	}
	if o.dockerHost == "" {
		o.dockerHost = o.engine.Host()
	}
	if w.pushes {
		w.forward(o.engine, o.state)
	}
	args := slices.Concat(o.prefix, []string{w.program(), "serve", "--nats", o.server, "--state-dir", o.state,
		"--host-id", w.host, "--docker-host", o.dockerHost, "--log-level", "debug"}, w.sinkFlags())
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = slices.Concat(w.environment(), []string{"HOLDFAST_POLICY_QUIESCE=pause,none,stop",
		"HOLDFAST_POLICY_KINDS=backup,restore,verify,prune,copy,cancel"}, o.env)
	p := &worker{process: launch(w.t, cmd), t: w.t, state: o.state}
	w.workers[o.state] = p
	return p
}

// forward has an Engine reach the registry of the worker with this state dir, at a port that
// the worker keeps.
func (w *world) forward(e *dockertest.Engine, folder string) {
	w.t.Helper()
	if _, err := os.Stat(folder); err == nil {
		return // a worker that comes back
	}
	free, err := porttest.Free()
	if err != nil {
		w.t.Fatal(err)
	}
	dir, err := state.Hold(folder)
	if err == nil {
		err = errors.Join(dir.KeepRegistry(state.Registry{Port: free.Port, User: "holdfast", Password: rand.Text()}), dir.Close())
	}
	if err != nil {
		w.t.Fatal(err)
	}
	e.Forward(w.t, free.Port)
	w.registries = append(w.registries, fmt.Sprintf("127.0.0.1:%d/", free.Port))
}

// sinkFlags are the flags that name the world's sinks to a worker.
func (w *world) sinkFlags() []string {
	w.t.Helper()
	own := sinkSettings(w.sink, w.bucket, w.layers)
	if w.registry != nil {
		own = w.registry.settings()
	}
	settings := fmt.Sprintf("sinks:\n  default: %s\n  offsite: %s\n", own, sinkSettings(w.offsite, w.offsiteBucket, w.offsiteLayers))
	file := filepath.Join(w.t.TempDir(), "holdfast.yaml")
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return []string{"--config", file}
}

// sinkSettings are the settings of a sink in a folder, or in a bucket if there is a server.
func sinkSettings(folder string, server *s3test.Server, layers bool) string {
	format := layered.Archive
	if layers {
		format = layered.Layers
	}
	if server == nil {
		return fmt.Sprintf("{url: %q, format: %s}", folder, format)
	}
	return fmt.Sprintf("{url: s3://%s/%s, endpoint: %q, credentialsFile: %q, format: %s}",
		s3test.Bucket, bucketPrefix, server.URL, server.Credentials, format)
}

// environment is this process's, with the server's user.
func (w *world) environment() []string {
	return append(os.Environ(), "HOLDFAST_NATS_USER="+w.user, "HOLDFAST_NATS_PASSWORD="+w.password)
}

func (w *world) program() string {
	w.t.Helper()
	path, err := crashProgram()
	if err != nil {
		w.t.Fatal(err)
	}
	return path
}

// holdfast runs a command of the program against the world's server to its end,
// and returns what it said.
func (w *world) holdfast(env []string, args ...string) string {
	w.t.Helper()
	cmd := exec.Command(w.program(), append(args, "--nats", w.url)...)
	cmd.Env = append(w.environment(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("holdfast %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// crashAfter has a worker die at the nth passing of a step, stopAfter freeze.
func crashAfter(name step.Name, nth int) string { return fmt.Sprintf("CRASH_AFTER=%s:%d", name, nth) }
func stopAfter(name step.Name, nth int) string  { return fmt.Sprintf("STOP_AFTER=%s:%d", name, nth) }

// kill ends the worker as a crash does.
func (p *worker) kill() { p.t.Helper(); p.signal(syscall.SIGKILL); p.killed() }

// killed waits until the worker was killed, by whomever.
func (p *worker) killed() {
	p.t.Helper()
	select {
	case err := <-p.exited:
		status, ok := p.ProcessState.Sys().(syscall.WaitStatus)
		if !ok || status.Signal() != syscall.SIGKILL {
			p.t.Fatalf("the worker was not killed, but ended: %v", err)
		}
	case <-time.After(worldPatience):
		p.t.Fatalf("in %s the worker was not killed", worldPatience)
	}
}

// signal sends the worker a signal.
func (p *worker) signal(s os.Signal) {
	p.t.Helper()
	if err := p.Process.Signal(s); err != nil {
		p.t.Fatalf("send %v to the worker: %v", s, err)
	}
}

// pause freezes the worker, resume lets it go on.
func (p *worker) pause()  { p.t.Helper(); p.signal(syscall.SIGSTOP) }
func (p *worker) resume() { p.t.Helper(); p.signal(syscall.SIGCONT) }

// frozen waits until the worker has stopped itself.
func (p *worker) frozen() {
	p.t.Helper()
	for deadline := time.Now().Add(worldPatience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if processState(p.Process.Pid) == 'T' {
			return
		}
	}
	p.t.Fatalf("in %s the worker did not freeze", worldPatience)
}

// processState is the letter for a process's state, or 0 if there is none.
func processState(pid int) byte {
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	for i := len(raw) - 1; i > 0; i-- { // the name in brackets may hold anything
		if raw[i] == ')' && i+2 < len(raw) {
			return raw[i+2]
		}
	}
	return 0
}
