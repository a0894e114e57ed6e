// Package dockertest runs a Docker Engine of a test's own, which can be stopped,
// killed and frozen without touching the machine's. It needs root, and the
// dockerd and containerd, or the Podman, that the machine has.
package dockertest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/client"
)

// Options changes an Engine. The zero value is one that stops its containers
// when it is stopped.
type Options struct {
	// LiveRestore lets containers run on while the daemon is away.
	LiveRestore bool
	// DiskBytes is the size of the disk that the Engine keeps everything on; 0
	// means 2 GiB. It is in memory, which is used as far as the disk is.
	DiskBytes int64
	// Podman has Podman's service in the place of a Docker Engine.
	Podman bool
	// TLS has the Engine listen on TCP too, see [Engine.TLSHost].
	TLS bool
}

const defaultDiskBytes = 2 << 30

// Engine is a private Docker Engine. It has no network but loopback: images are
// imported, and containers have the network none. Its methods may be called by
// several goroutines, except those that start and end the daemon.
type Engine struct {
	api     *client.Client
	dir     string
	name    string
	options Options
	room    *room
	daemon  *daemon
}

// New starts an Engine that ends with the test, whatever becomes of it. It fails
// the test if there can be none: a skip would hide that nothing was tested.
func New(t testing.TB, o Options) *Engine {
	t.Helper()
	e, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("a private Engine was started in %s", e.daemon.startTime.Round(time.Millisecond))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the private Engine says at its end:\n%s", e.Log())
		}
		if err := e.Close(); err != nil {
			t.Errorf("end the private Engine: %v", err)
		}
	})
	return e
}

// Open starts an Engine that the caller closes. It also ends, and everything of
// it with it, when this process does.
func Open(o Options) (e *Engine, err error) {
	if err := missing(o); err != nil {
		return nil, err
	}
	if o.DiskBytes == 0 {
		o.DiskBytes = defaultDiskBytes
	}
	// Not a test's own folder: the address of a unix socket has at most 108 bytes.
	dir, err := os.MkdirTemp("/tmp", "holdfast-engine-")
	if err != nil {
		return nil, err
	}
	e = &Engine{dir: dir, name: filepath.Base(dir), options: o}
	if e.api, err = client.NewClientWithOpts(client.WithHost(e.Host()), client.WithAPIVersionNegotiation()); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if e.room, err = openRoom(dir, e.name, o.DiskBytes); err != nil {
		return nil, errors.Join(err, e.api.Close(), os.RemoveAll(dir))
	}
	if o.TLS {
		err = e.writeCertificates()
	}
	if err == nil {
		err = e.start()
	}
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// missing says what an Engine needs and this machine lacks.
func missing(o Options) error {
	if os.Geteuid() != 0 {
		return errors.New("a private Docker Engine needs root, for its namespaces and mounts: run the tests as root")
	}
	var packages []string
	needed := map[string]string{
		"dockerd": "docker.io", "containerd": "containerd", "runc": "runc", "unshare": "util-linux", "nsenter": "util-linux", "ip": "iproute2",
	}
	if o.Podman {
		needed["podman"] = "podman"
	}
	for program, pkg := range needed {
		if _, err := exec.LookPath(program); err != nil {
			packages = append(packages, fmt.Sprintf("%s (for %s)", pkg, program))
		}
	}
	if len(packages) > 0 {
		return fmt.Errorf("a private Docker Engine needs what is not installed: apt-get install %s", strings.Join(packages, ", "))
	}
	return nil
}

// Socket is the path of the Engine's socket, Host its address.
func (e *Engine) Socket() string { return filepath.Join(e.dir, "docker.sock") }

// Host is the Engine's address, as DOCKER_HOST takes it.
func (e *Engine) Host() string { return "unix://" + e.Socket() }

// Command is a program that will run in the Engine's network, where its port is.
func (e *Engine) Command(program string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net", "--target", e.room.first, "--", program}, args...)...)
}

// API is the Engine's API for what has no method here. It belongs to the Engine.
func (e *Engine) API() *client.Client { return e.api }

// Log is the end of what the daemon has said.
func (e *Engine) Log() string {
	const most = 8 << 10
	raw, _ := os.ReadFile(filepath.Join(e.dir, logName))
	return string(raw[max(0, len(raw)-most):])
}

// Close ends the Engine, and its containers, and removes everything of it.
func (e *Engine) Close() error {
	err := e.api.Close()
	if e.daemon != nil {
		_ = e.daemon.signal(syscall.SIGCONT) // one that is frozen can end too
	}
	return errors.Join(err, e.room.close())
}
