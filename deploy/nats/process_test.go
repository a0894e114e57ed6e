package nats_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
)

// processBound is how long a command may take on a busy machine.
const processBound = 2 * time.Minute

// program is the real program, for the users of a fleet that nobody provisioned
// yet.
type program struct {
	*testFleet
	path string
	sink string // of every worker
}

func newProgram(t *testing.T) *program {
	t.Helper()
	p := &program{testFleet: writeFleet(t), path: build(t, "../../worker"), sink: t.TempDir()}
	p.servers = []*server{newServer(t, p.dir, freeAddress(t))}
	p.servers[0].start()
	return p
}

// command is the program on a machine of the user's: with the configuration that
// the script wrote down, and a state dir of its own. Only what that says of
// /etc/holdfast and of the server's port is changed.
func (p *program) command(user string, args ...string) *exec.Cmd {
	p.t.Helper()
	dir := filepath.Join(p.dir, "clients", user)
	cmd := exec.Command(p.path, append(args, "--config", filepath.Join(dir, "holdfast.yaml"))...)
	cmd.Env = append(os.Environ(),
		"HOLDFAST_NATS_URL="+p.options(user).URL,
		"HOLDFAST_NATS_PASSWORD_FILE="+filepath.Join(dir, "password"),
		"HOLDFAST_NATS_TLS_CA="+filepath.Join(dir, "ca.pem"),
		"HOLDFAST_STATE_DIR="+p.t.TempDir(),
		"HOLDFAST_SINKS=default="+p.sink,
	)
	return cmd
}

// process is the program, running.
type process struct {
	*exec.Cmd
	t     *testing.T
	log   string
	ended chan error // gives how it ended, once
}

// start runs a command, which is killed with the test.
func (p *program) start(cmd *exec.Cmd) *process {
	p.t.Helper()
	r := &process{Cmd: cmd, t: p.t, log: filepath.Join(p.t.TempDir(), "log"), ended: make(chan error, 1)}
	log, err := os.Create(r.log)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	r.Stdout, r.Stderr = log, log
	if err := r.Start(); err != nil {
		p.t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() { r.ended <- r.Wait(); close(gone) }()
	p.t.Cleanup(func() {
		_ = r.Process.Kill() // it may have ended by itself
		<-gone
		if p.t.Failed() {
			p.t.Logf("%s:\n%s", r.Args, r.said())
		}
	})
	return r
}

func (r *process) said() string { return read(r.t, r.log) }

// status waits for the end, and returns the exit status.
func (r *process) status() int {
	r.t.Helper()
	select {
	case err := <-r.ended:
		if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
			r.t.Fatal(err)
		}
		return r.ProcessState.ExitCode()
	case <-time.After(processBound):
		r.t.Fatalf("%s does not end:\n%s", r.Args, r.said())
		return 0
	}
}

// expect runs a command of a user, which ends so and says this, and returns all
// that it says.
func (p *program) expect(t *testing.T, user string, status int, says []string, args ...string) string {
	t.Helper()
	r := p.start(p.command(user, args...))
	if got := r.status(); got != status {
		t.Errorf("%s: exit status %d, not %d:\n%s", r.Args, got, status, r.said())
	}
	said := r.said()
	for _, words := range says {
		if !strings.Contains(said, words) {
			t.Errorf("%s does not say %q:\n%s", r.Args, words, said)
		}
	}
	return said
}

// hosts are the workers' answers, as a user gets them.
func (p *program) hosts(user string) []events.HostStatus {
	p.t.Helper()
	r := p.start(p.command(user, "hosts", "--json"))
	r.status()
	var all []events.HostStatus
	lines := bufio.NewScanner(strings.NewReader(r.said()))
	for lines.Scan() {
		var s events.HostStatus
		if json.Unmarshal(lines.Bytes(), &s) == nil {
			all = append(all, s)
		}
	}
	return all
}

// roles are the roles of a host's workers.
func roles(of []events.HostStatus, host string) string {
	var all []string
	for _, s := range of {
		if s.Host == host {
			all = append(all, string(s.Role))
		}
	}
	return strings.Join(all, ", ")
}
