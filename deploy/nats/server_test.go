package nats_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/porttest"
)

// server is a nats-server that runs the fleet in a folder. Only its address and
// its store are the test's own.
type server struct {
	t       *testing.T
	fleet   string
	address string
	args    []string
	store   string
	log     string
	cmd     *exec.Cmd
}

func newServer(t *testing.T, fleet, address string, args ...string) *server {
	dir := t.TempDir()
	return &server{t: t, fleet: fleet, address: address, args: args, store: filepath.Join(dir, "store"), log: filepath.Join(dir, "log")}
}

// start runs the server as README.md says, until the test ends.
func (s *server) start() {
	s.t.Helper()
	const store = `"/var/lib/nats"`
	config := filepath.Join(s.fleet, "server", "nats.conf")
	text := read(s.t, config)
	if !strings.Contains(text, store) {
		s.t.Fatalf("%s has no %s", config, store)
	}
	own := filepath.Join(filepath.Dir(config), filepath.Base(filepath.Dir(s.store))+".conf")
	if err := os.WriteFile(own, []byte(strings.Replace(text, store, strconv.Quote(s.store), 1)), 0o600); err != nil {
		s.t.Fatal(err)
	}
	log, err := os.Create(s.log)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	host, port, err := net.SplitHostPort(s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.cmd = exec.Command(bustest.Program(s.t), append([]string{"-c", filepath.Base(own), "-a", host, "-p", port}, s.args...)...)
	s.cmd.Dir = filepath.Dir(config)
	s.cmd.Stderr = log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(s.stop)
	eventually(s.t, "the server listens", func() bool {
		c, err := net.Dial("tcp", s.address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (s *server) stop() {
	_ = s.cmd.Process.Signal(os.Interrupt)
	_ = s.cmd.Wait() // its status says only how it was ended
	if s.t.Failed() {
		s.t.Log(read(s.t, s.log))
	}
}

// reload has the server read its configuration again.
func (s *server) reload() {
	s.t.Helper()
	const done = "Reloaded server configuration"
	before := strings.Count(read(s.t, s.log), done)
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		s.t.Fatal(err)
	}
	eventually(s.t, "the server has read its configuration", func() bool { return strings.Count(read(s.t, s.log), done) > before })
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := porttest.Free()
	if err != nil {
		t.Fatal(err)
	}
	return address.String()
}
