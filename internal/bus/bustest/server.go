// Package bustest runs a real message server process for tests.
package bustest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Process is a nats-server with JetStream and one user. The same port and store
// are used for its whole life, however often it is stopped and started.
type Process struct {
	URL, User, Password string

	t       testing.TB
	address string
	config  string
	cmd     *exec.Cmd
}

// Config changes the server's configuration. The zero value changes nothing.
type Config struct {
	// MaxStore bounds the bytes that streams can reserve.
	MaxStore int64
	// Permissions are those of the user, in the server's own notation.
	Permissions string
}

// Server starts a server that ends with the test. The program is built from the
// module that this one requires.
func Server(t testing.TB, c ...Config) *Process {
	t.Helper()
	var conf Config
	if len(c) > 0 {
		conf = c[0]
	}
	dir := t.TempDir()
	p := &Process{User: "test", Password: "secret", t: t, address: freeAddress(t), config: filepath.Join(dir, "nats.conf")}
	p.URL = "nats://" + p.address
	if err := os.WriteFile(p.config, []byte(p.configuration(dir, conf)), 0o600); err != nil {
		t.Fatal(err)
	}
	p.Start()
	t.Cleanup(p.Stop)
	return p
}

func (p *Process) configuration(dir string, c Config) string {
	limit, permissions := "", ""
	if c.MaxStore > 0 {
		limit = fmt.Sprintf("max_file_store: %d", c.MaxStore)
	}
	if c.Permissions != "" {
		permissions = "permissions: { " + c.Permissions + " }"
	}
	return fmt.Sprintf(`
listen: %q
jetstream { store_dir: %q, %s }
authorization { users: [ { user: %q, password: %q, %s } ] }
`, p.address, filepath.Join(dir, "store"), limit, p.User, p.Password, permissions)
}

// Start starts the server, and returns when it takes connections.
func (p *Process) Start() {
	p.t.Helper()
	p.cmd = exec.Command(program(p.t), "-c", p.config)
	if err := p.cmd.Start(); err != nil {
		p.t.Fatalf("start nats-server: %v", err)
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", p.address); err == nil {
			c.Close()
			return
		}
	}
	p.t.Fatalf("nats-server does not listen on %s", p.address)
}

// Stop ends the server as an operator would. It does nothing if it does not run.
func (p *Process) Stop() { p.end(os.Interrupt) }

// Kill ends the server as a crash would.
func (p *Process) Kill() { p.end(os.Kill) }

// Restart stops the server and starts it again.
func (p *Process) Restart() {
	p.t.Helper()
	p.Stop()
	p.Start()
}

func (p *Process) end(signal os.Signal) {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(signal) // it may have ended by itself
	_ = p.cmd.Wait()                 // its status says only how it was ended
	p.cmd = nil
}

func freeAddress(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
}

// built is the path of the program, in a folder that is kept: a test's own
// folder would be gone for the next test.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "holdfast-test", "nats-server")
	// go build leaves a program alone that is up to date.
	out, err := exec.Command("go", "build", "-o", path, "github.com/nats-io/nats-server/v2").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build nats-server: %w\n%s", err, out)
	}
	return path, nil
})

func program(t testing.TB) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
