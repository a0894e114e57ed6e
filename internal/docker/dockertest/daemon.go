package dockertest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startBound bounds how long a daemon takes to answer, endBound to end.
const (
	startBound = time.Minute
	endBound   = time.Minute
)

const logName = "dockerd.log"

// daemon is one run of dockerd.
type daemon struct {
	cmd       *exec.Cmd
	pid       int
	ended     chan struct{}
	startTime time.Duration
}

// Start starts the daemon again, on all that it had, and returns when it answers.
func (e *Engine) Start(t testing.TB) {
	t.Helper()
	if err := e.start(); err != nil {
		t.Fatal(err)
	}
	t.Logf("the private Engine was started again in %s", e.daemon.startTime.Round(time.Millisecond))
}

// Stop ends the daemon as an operator would, and returns when it has ended. It
// stops the containers before, unless they are to run on.
func (e *Engine) Stop(t testing.TB) { t.Helper(); e.end(t, syscall.SIGTERM) }

// Kill ends the daemon as a crash would. The containers run on, and are found
// or ended by the next start.
func (e *Engine) Kill(t testing.TB) { t.Helper(); e.end(t, syscall.SIGKILL) }

// Pause freezes the daemon, and returns when it stands still: it takes connections
// and does not answer.
func (e *Engine) Pause(t testing.TB) {
	t.Helper()
	e.send(t, syscall.SIGSTOP)
	for deadline := time.Now().Add(endBound); !frozen(e.daemon.pid); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the private Engine does not freeze")
		}
	}
}

// Continue ends a Pause.
func (e *Engine) Continue(t testing.TB) { t.Helper(); e.send(t, syscall.SIGCONT) }

func (e *Engine) send(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if err := e.daemon.signal(signal); err != nil {
		t.Fatalf("send %v to the private Engine: %v", signal, err)
	}
}

func (e *Engine) end(t testing.TB, signal syscall.Signal) {
	t.Helper()
	e.send(t, signal)
	select {
	case <-e.daemon.ended:
	case <-time.After(endBound):
		t.Fatalf("the private Engine does not end at %v:\n%s", signal, e.Log())
	}
}

// start starts the daemon in the room.
func (e *Engine) start() error {
	began := time.Now()
	out, err := os.OpenFile(filepath.Join(e.dir, logName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	command := e.dockerd
	if e.options.Podman {
		command = e.podman
	}
	cmd, err := command()
	if err != nil {
		return err
	}
	d := &daemon{cmd: cmd, ended: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr = out, out
	if err := d.cmd.Start(); err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	go func() { _ = d.cmd.Wait(); close(d.ended) }() // how it ended is in its log
	e.daemon = d
	if err := e.answers(); err != nil {
		return err
	}
	d.startTime = time.Since(began)
	if d.pid, err = onlyChild(d.cmd.Process.Pid); err == nil {
		d.pid, err = onlyChild(d.pid)
	}
	return err
}

// dockerd is a daemon that reads nothing of the machine's own configuration.
func (e *Engine) dockerd() (*exec.Cmd, error) {
	config := filepath.Join(e.dir, "daemon.json")
	if err := os.WriteFile(config, []byte("{}\n"), 0o600); err != nil {
		return nil, err
	}
	args := []string{"--config-file", config, "--host", e.Host(), "--data-root", e.dir + "/data",
		"--exec-root", "/run/containerd/docker", "--pidfile", "/run/containerd/docker.pid",
		"--storage-driver", "overlay2", "--bridge", "none", "--iptables=false",
		"--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", "/" + e.name}
	if e.options.LiveRestore {
		args = append(args, "--live-restore")
	}
	if e.options.TLS {
		args = append(args, e.listenTLS()...)
	}
	return e.room.command("dockerd", args...), nil
}

// answers returns when the daemon answers.
func (e *Engine) answers() error {
	ctx, cancel := context.WithTimeout(context.Background(), startBound)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := e.api.Ping(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-e.daemon.ended:
			return fmt.Errorf("the daemon ended at its start:\n%s", e.Log())
		case <-ctx.Done():
			return fmt.Errorf("the daemon does not answer after %s: %w\n%s", startBound, err, e.Log())
		}
	}
}

func (d *daemon) signal(signal syscall.Signal) error { return syscall.Kill(d.pid, signal) }

// frozen reports whether every thread of a process is stopped: each stops for
// itself, when it comes to it.
func frozen(pid int) bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, path := range threads {
		raw, rerr := os.ReadFile(path)
		// The state follows the name, which is in brackets and may hold anything.
		_, state, _ := strings.Cut(string(raw[strings.LastIndexByte(string(raw), ')')+1:]), " ")
		if rerr != nil || !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return err == nil && len(threads) > 0
}

// onlyChild returns the only child of a process.
func onlyChild(pid int) (int, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0, fmt.Errorf("find dockerd: %w", err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return 0, fmt.Errorf("find dockerd among the children %q of process %d: %w", raw, pid, err)
	}
	return child, nil
}
