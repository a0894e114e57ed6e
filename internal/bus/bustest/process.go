package bustest

import (
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startTimeout leaves time for a machine that is busy with other tests.
const startTimeout = 30 * time.Second

// Process is a nats-server with JetStream and one user, whose writes are on the
// disk before they are acknowledged. The same port and store are used for its
// whole life, however often it is stopped and started. Its methods fail the test
// that it belongs to, and may be called from several goroutines.
type Process struct {
	URL, User, Password string

	t       testing.TB
	address string
	config  string
	log     string

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended
}

// Start starts the server, and returns when it takes connections. It does nothing
// if the server runs.
func (p *Process) Start() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runs() {
		return
	}
	p.launch()
	deadline := time.After(startTimeout)
	for {
		if c, err := net.Dial("tcp", p.address); err == nil {
			c.Close()
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-p.exited:
			p.t.Fatalf("nats-server ended at its start:\n%s", p.Log())
		case <-deadline:
			p.t.Fatalf("nats-server does not listen on %s:\n%s", p.address, p.Log())
		}
	}
}

// runs reports whether the server was started and has not ended by itself.
func (p *Process) runs() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

func (p *Process) launch() {
	p.t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(program(p.t), "-c", p.config)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		p.t.Fatalf("start nats-server: %v", err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait() // its status says only how it was ended
	}()
	p.cmd, p.exited = cmd, exited
}

// Stop ends the server as an operator would. It does nothing if it does not run.
func (p *Process) Stop() { p.end(syscall.SIGTERM) }

// Kill ends the server as a crash would.
func (p *Process) Kill() { p.end(syscall.SIGKILL) }

// Restart stops the server and starts it again.
func (p *Process) Restart() {
	p.t.Helper()
	p.Stop()
	p.Start()
}

// Continue ends a pause.
func (p *Process) Continue() {
	p.t.Helper()
	p.signal(syscall.SIGCONT)
}

// Log returns what the server has logged in its whole life.
func (p *Process) Log() string {
	p.t.Helper()
	log, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(log)
}

func (p *Process) signal(s syscall.Signal) (pid int) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.runs() {
		p.t.Fatalf("signal %s to a server that does not run", s)
	}
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
	return p.cmd.Process.Pid
}

func (p *Process) end(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.runs() {
		return
	}
	for _, s := range []syscall.Signal{s, syscall.SIGCONT} { // a paused process does not end
		_ = p.cmd.Process.Signal(s) // it may have ended by itself
	}
	<-p.exited
}
