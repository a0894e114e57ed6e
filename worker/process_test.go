package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/internal/state"
)

// process is the real program, running.
type process struct {
	*exec.Cmd
	output *syncBuffer
	exited chan error
}

// syncBuffer is a buffer that a process writes and a test reads.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// start runs the program, which is killed with the test.
func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command("holdfast", args...), output: &syncBuffer{}, exited: make(chan error, 1)}
	p.Env = append(os.Environ(), env...)
	p.Stdout, p.Stderr = p.output, p.output
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { p.exited <- p.Wait(); close(done) }()
	t.Cleanup(func() {
		_ = p.Process.Kill()
		<-done
		if t.Failed() {
			t.Logf("holdfast %s:\n%s", strings.Join(args, " "), p.output)
		}
	})
	return p
}

// wait returns how the program ended.
func (p *process) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-p.exited:
		return err
	case <-time.After(2 * time.Minute):
		t.Fatalf("the program does not end:\n%s", p.output)
		return nil
	}
}

// serve starts a worker, and returns it and a connection to its own server.
func serve(t *testing.T, env ...string) (*process, jetstream.JetStream, string) {
	t.Helper()
	dir := t.TempDir()
	p := start(t, append(env, "HOLDFAST_STATE_DIR="+dir), "serve")
	var end state.Endpoint
	eventually(t, "the worker announces itself", func() bool {
		var err error
		end, err = state.Find(dir)
		return err == nil
	})
	nc, err := nats.Connect(end.URL, nats.UserInfo(end.User, end.Password))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return p, js, end.Host
}

// eventually waits for what another process does.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("it does not come to this: %s", what)
}

// messages returns how many messages a stream holds on a subject.
func messages(t *testing.T, js jetstream.JetStream, stream, subject string) int {
	t.Helper()
	s, err := js.Stream(context.Background(), stream)
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(context.Background(), jetstream.WithSubjectFilter(subject))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, count := range info.State.Subjects {
		n += int(count)
	}
	return n
}

// TestSIGTERMEndsAtASafePoint stops a worker in the middle of a job: it ends
// what it began, and leaves nothing behind.
func TestSIGTERMEndsAtASafePoint(t *testing.T) {
	e := engine(t)
	for _, grace := range []string{"30s", "0s"} {
		t.Run("grace "+grace, func(t *testing.T) {
			p, js, host := serve(t, "HOLDFAST_SHUTDOWN_GRACE="+grace)
			name := runningContainer(t, e, "term")
			publish(t, js, "holdfast.req.backup.host."+host, "term", fmt.Sprintf(`{"containers":{"names":[%q]}}`, name))
			eventually(t, "the job is accepted", func() bool {
				return messages(t, js, "HOLDFAST_EVENTS", "holdfast.evt.*.*.backup.accepted") == 1
			})
			if err := p.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := p.wait(t); err != nil {
				t.Fatalf("the worker ended with %v", err)
			}
			assertUntouched(t, e, name)
		})
	}
}

// TestInterruptedDemoLeavesNothing interrupts the demo at several moments.
func TestInterruptedDemoLeavesNothing(t *testing.T) {
	e := engine(t)
	for _, after := range []string{"1. A container", "2. A CloudEvent", "backup.accepted", "4. What lies"} {
		t.Run(after, func(t *testing.T) {
			dir := t.TempDir()
			p := start(t, []string{"TMPDIR=" + dir}, "demo")
			eventually(t, "the demo shows "+after, func() bool { return strings.Contains(p.output.String(), after) })
			if err := p.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			_ = p.wait(t) // it may have been through
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("left in the temporary folder: %v", left)
			}
			if left := e.containing(t, "holdfast-demo-"); len(left) > 0 {
				t.Errorf("left on the Engine: %v", left)
			}
		})
	}
}
