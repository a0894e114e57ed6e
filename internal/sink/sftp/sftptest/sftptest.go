// Package sftptest runs OpenSSH's server for tests: one of the test's own, on a port of the
// loopback, with keys of its own.
package sftptest

import (
	"bytes"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"holdfast.io/holdfast/internal/porttest"
)

// T is what a server needs of a test.
type T interface {
	Helper()
	Fatalf(format string, args ...any)
	TempDir() string
	Cleanup(f func())
}

// Options say how a server is run.
type Options struct {
	// Deny are the requests of the protocol that the server does not know.
	Deny []string
	// Config is lines of sshd_config.
	Config []string
	// Disk is the size in bytes of a file system of its own for the folder; the test
	// sees it at Root only, and needs root.
	Disk int
}

// Server is a server that runs.
type Server struct {
	User string
	Port int
	// Dir is a folder that the user has there, and Root where the test sees it.
	Dir, Root string
	// Key is the file of the user's private key, KnownHosts that of the server's keys, and
	// HostKey its private one.
	Key, KnownHosts, HostKey string
	// Public is the server's own public key.
	Public ssh.PublicKey

	t       T
	o       Options
	home    string
	cmd     *exec.Cmd
	log     *lockedBuffer
	stopped bool

	readOnly bool
}

const (
	program    = "/usr/sbin/sshd"
	subsystem  = "internal-sftp" // what sftp-server does, without a shell before it
	startLimit = 10 * time.Second
)

// Start runs a server until the test ends. It fails the test if that cannot be done.
func Start(t T, o Options) *Server {
	t.Helper()
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("the test needs %s: apt-get install openssh-server", program)
	}
	own, err := user.Current()
	must(t, err)
	home := t.TempDir()
	s := &Server{
		User: own.Username, Port: freePort(t), Dir: filepath.Join(home, "sink"), Key: filepath.Join(home, "id"),
		KnownHosts: filepath.Join(home, "known_hosts"), HostKey: filepath.Join(home, "host_key"), t: t, o: o, home: home,
	}
	must(t, os.Mkdir(s.Dir, 0o700))
	must(t, os.WriteFile(filepath.Join(home, "authorized_keys"), ssh.MarshalAuthorizedKey(NewKey(t, s.Key, "")), 0o600))
	s.Public = NewKey(t, s.HostKey, "")
	s.Trust(s.Addr(), s.Public)
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// Addr is where the server listens.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) }

// Trust adds a key to the known ones for an address, as host:port.
func (s *Server) Trust(address string, key ssh.PublicKey) {
	s.t.Helper()
	f, err := os.OpenFile(s.KnownHosts, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	must(s.t, err)
	_, err = fmt.Fprintln(f, knownhosts.Line([]string{address}, key))
	must(s.t, errors.Join(err, f.Close()))
}

// NewKey writes a new private key to a file, and returns the public one.
func NewKey(t T, file, passphrase string) ssh.PublicKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	must(t, err)
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(private, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	must(t, err)
	must(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	signer, err := ssh.NewSignerFromKey(private)
	must(t, err)
	return signer.PublicKey()
}

// Forbid restarts the server so that it permits nothing that writes.
func (s *Server) Forbid() {
	s.t.Helper()
	s.Stop()
	s.readOnly = true
	s.Start()
}

// Configure restarts the server with these lines of sshd_config in place of those before.
func (s *Server) Configure(lines ...string) {
	s.t.Helper()
	s.Stop()
	s.o.Config = lines
	s.Start()
}

// Start runs the server again after Stop.
func (s *Server) Start() {
	s.t.Helper()
	sftp := subsystem
	if len(s.o.Deny) > 0 {
		sftp += " -P " + strings.Join(s.o.Deny, ",")
	}
	if s.readOnly {
		sftp += " -R"
	}
	config := append([]string{
		"ListenAddress " + s.Addr(), "HostKey " + s.HostKey, "AuthorizedKeysFile " + filepath.Join(s.home, "authorized_keys"),
		"PidFile none", "StrictModes no", "UsePAM no", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
		"PermitRootLogin yes", "MaxStartups 100", "LogLevel VERBOSE", "Subsystem sftp " + sftp,
	}, s.o.Config...)
	file := filepath.Join(s.home, "sshd_config")
	must(s.t, os.WriteFile(file, []byte(strings.Join(config, "\n")+"\n"), 0o600))
	s.cmd = exec.Command(program, "-D", "-e", "-f", file)
	s.Root = s.Dir
	if os.Geteuid() == 0 { // it wants a folder in /run, which is none of the test's
		script := `mount -t tmpfs -o mode=0755 tmpfs /run && mkdir /run/sshd && `
		if s.o.Disk > 0 {
			script += fmt.Sprintf(`mount -t tmpfs -o mode=0700,size=%d tmpfs "$1" && `, s.o.Disk)
		}
		s.cmd = exec.Command("unshare", "--mount", "sh", "-c", script+`exec "$0" -D -e -f "$2"`, program, s.Dir, file)
	}
	s.log = &lockedBuffer{}
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	must(s.t, s.cmd.Start())
	if s.o.Disk > 0 {
		s.Root = filepath.Join("/proc", strconv.Itoa(s.cmd.Process.Pid), "root", s.Dir)
	}
	s.stopped = false
	for end := time.Now().Add(startLimit); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", s.Addr())
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("sshd does not listen: %v\n%s", err, s.log)
		}
	}
}

// Stop kills the server with all its sessions, as far as it runs.
func (s *Server) Stop() {
	if s.stopped {
		return
	}
	s.stopped = true
	s.signal(syscall.SIGKILL, s.cmd.Process.Pid)
	_ = s.cmd.Wait()
}

// Freeze stops the server and its sessions, which keep their connections; Thaw has them go on.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP, s.cmd.Process.Pid) }

// Thaw undoes Freeze.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT, s.cmd.Process.Pid) }

// signal reaches a process first, so that it makes no more children, and then these.
func (s *Server) signal(sig syscall.Signal, pid int) {
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	_ = syscall.Kill(pid, sig)
	for child := range strings.FieldsSeq(string(children)) {
		if n, err := strconv.Atoi(child); err == nil {
			s.signal(sig, n)
		}
	}
}

// Mount changes the file system that the server has for the folder.
func (s *Server) Mount(options string) {
	s.t.Helper()
	out, err := exec.Command("nsenter", "--mount", "--target", strconv.Itoa(s.cmd.Process.Pid), "mount", "-o", options, s.Dir).CombinedOutput()
	if err != nil {
		s.t.Fatalf("mount -o %s: %v\n%s", options, err, out)
	}
}

// Log is what the server has said.
func (s *Server) Log() string { return s.log.String() }

func freePort(t T) int {
	free, err := porttest.Free()
	must(t, err)
	return free.Port
}

func must(t T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// lockedBuffer is a buffer that is written to while it is read.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
