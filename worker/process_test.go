package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/events"
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
	cmd := exec.Command("holdfast", args...)
	cmd.Env = append(os.Environ(), env...)
	return launch(t, cmd)
}

// launch starts a command, which is killed with the test.
func launch(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{Cmd: cmd, output: &syncBuffer{}, exited: make(chan error, 1)}
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
			t.Logf("%s:\n%s", cmd, p.output)
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
	end := endpoint(t, dir)
	return p, connect(t, end), end.Host
}

// endpoint waits until a process announces itself in a state dir.
func endpoint(t *testing.T, dir string) state.Endpoint {
	t.Helper()
	var end state.Endpoint
	eventually(t, "the worker announces itself", func() bool {
		var err error
		end, err = state.Find(dir)
		return err == nil
	})
	return end
}

// connect reaches a worker's own message server.
func connect(t *testing.T, end state.Endpoint) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(end.URL, nats.UserInfo(end.User, end.Password))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// stepOf returns a channel that is closed when a job on the host reports that it
// is at this step.
func stepOf(t *testing.T, js jetstream.JetStream, host string, step events.Step) <-chan struct{} {
	t.Helper()
	reached := make(chan struct{})
	var once sync.Once
	_, err := js.Conn().Subscribe("holdfast.progress."+host+".*", func(m *nats.Msg) {
		var data events.Progress
		if json.Unmarshal(m.Data, &data) == nil && data.Step == step {
			once.Do(func() { close(reached) })
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := js.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	return reached
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

// TestSIGTERMEndsAtASafePoint stops a worker in the middle of a save: within
// its grace it ends the job, and without one it undoes it and leaves it to the
// next worker. Either way nothing is left behind.
func TestSIGTERMEndsAtASafePoint(t *testing.T) {
	e := machineEngine(t)
	for grace, ended := range map[string]int{"1m": 1, "0s": 0} {
		t.Run("grace "+grace, func(t *testing.T) {
			p, js, host := serve(t, "HOLDFAST_SHUTDOWN_GRACE="+grace)
			name := largeContainer(t, e)
			atStep := stepOf(t, js, host, events.StepSave)
			publish(t, js, "holdfast.req.backup.host."+host, "term", fmt.Sprintf(`{"containers":{"names":[%q]}}`, name))
			<-atStep
			if err := p.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := p.wait(t); err != nil {
				t.Fatalf("the worker ended with %v", err)
			}
			if got := strings.Count(p.output.String(), "job ended"); got != ended {
				t.Errorf("%d jobs ended, not %d", got, ended)
			}
			if got := strings.Count(p.output.String(), "job stopped"); got != 1-ended {
				t.Errorf("%d jobs were stopped, not %d", got, 1-ended)
			}
			assertUntouched(t, e, name)
		})
	}
}

// TestCtrlCCancelsOwnWork interrupts a command that does the work itself: the
// job is cancelled and undone.
func TestCtrlCCancelsOwnWork(t *testing.T) {
	e := machineEngine(t)
	name := largeContainer(t, e)
	dir := t.TempDir()
	p := start(t, []string{"HOLDFAST_STATE_DIR=" + dir}, "backup", name)
	end := endpoint(t, dir)
	<-stepOf(t, connect(t, end), end.Host, events.StepSave)
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err, ok := p.wait(t).(*exec.ExitError)
	if !ok || err.ExitCode() != exitCancelled {
		t.Errorf("the command ended with %v, not with exit status %d", err, exitCancelled)
	}
	for _, said := range []string{"cancelling job",
		"cancelled: the job was cancelled: 0 stored, 0 failed, 0 missing, 0 skipped, 1 cancelled"} {
		if !strings.Contains(p.output.String(), said) {
			t.Errorf("it does not say %q", said)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "sink", "*", "*", "*", "*", "*")); len(left) > 0 {
		t.Errorf("left in the sink: %v", left)
	}
	assertUntouched(t, e, name)
}

// TestCtrlCDetachesFromAWorker interrupts a command that follows a worker: the
// job goes on.
func TestCtrlCDetachesFromAWorker(t *testing.T) {
	e := machineEngine(t)
	dir := t.TempDir()
	start(t, []string{"HOLDFAST_STATE_DIR=" + dir}, "serve")
	end := endpoint(t, dir)
	js := connect(t, end)
	atStep := stepOf(t, js, end.Host, events.StepSave)
	p := start(t, []string{"HOLDFAST_STATE_DIR=" + dir}, "backup", largeContainer(t, e))
	<-atStep
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = p.wait(t) // its status is that of an interrupt
	if !strings.Contains(p.output.String(), "detached: job") {
		t.Error("it does not say that the job goes on")
	}
	eventually(t, "the job goes on to its end", func() bool {
		return messages(t, js, events.StreamEvents, "holdfast.evt.*.*.backup.completed") == 1
	})
}

// TestInterruptedDemoLeavesNothing interrupts the demo at several moments.
func TestInterruptedDemoLeavesNothing(t *testing.T) {
	e := machineEngine(t)
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
