package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// disk is a file system of its own.
type disk struct {
	// dir is a folder on it, for a sink.
	dir  string
	root string
	pid  int // of the process that serves it; 0 if the kernel does
}

// smallDisk makes a file system of that many bytes.
func smallDisk(t *testing.T, size int64) *disk {
	t.Helper()
	dir := t.TempDir()
	guarded(t, fmt.Sprintf(`cd %q; truncate -s %d image; mkfs.ext4 -q -F -m 0 image; mkdir disk; mount -o loop image disk; mkdir disk/sink`, dir, size),
		fmt.Sprintf(`if mountpoint -q %[1]q/disk; then umount %[1]q/disk || umount -l %[1]q/disk; fi`, dir))
	return &disk{root: filepath.Join(dir, "disk"), dir: filepath.Join(dir, "disk/sink")}
}

// fill leaves that many bytes free, until empty.
func (d *disk) fill(t *testing.T, leave int64) {
	t.Helper()
	var room unix.Statfs_t
	err := unix.Statfs(d.root, &room)
	var f *os.File
	if err == nil {
		f, err = os.Create(d.filler())
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(room.Bavail)*room.Bsize-leave); err != nil {
		t.Fatalf("fill the disk: %v", err)
	}
}

// empty takes back what fill did.
func (d *disk) empty(t *testing.T) {
	t.Helper()
	if err := os.Remove(d.filler()); err != nil {
		t.Fatal(err)
	}
}

func (d *disk) filler() string { return filepath.Join(d.root, "filler") }

// stallingDisk makes a file system that can be made to hang. It is served by a
// process, so whoever waits for it can be killed, and the end of that process
// ends all waiting.
func stallingDisk(t *testing.T) *disk {
	t.Helper()
	dir := t.TempDir()
	out := guarded(t, fmt.Sprintf(`cd %q; mkdir lower upper work disk
fuse-overlayfs -f -o lowerdir=lower,upperdir=upper,workdir=work disk >/dev/null 2>&1 & server=$!
until mountpoint -q disk; do kill -0 $server; sleep 0.02; done
mkdir disk/sink; echo $server`, dir),
		fmt.Sprintf(`kill -KILL $server 2>/dev/null || true; umount -l %q/disk 2>/dev/null || true`, dir))
	pid, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		t.Fatal(err)
	}
	return &disk{root: filepath.Join(dir, "disk"), dir: filepath.Join(dir, "disk/sink"), pid: pid}
}

// hang has whoever uses the disk wait, until goOn or the end of the test.
func (d *disk) hang(t *testing.T) { t.Helper(); d.signal(t, syscall.SIGSTOP) }
func (d *disk) goOn(t *testing.T) { t.Helper(); d.signal(t, syscall.SIGCONT) }

func (d *disk) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(d.pid, s); err != nil {
		t.Fatalf("send %v to the disk's process: %v", s, err)
	}
}

// wire is a network between a worker and the message server, which can be cut. The
// worker is in a network namespace of its own.
type wire struct {
	device string
	// prefix starts a worker at its end.
	prefix []string
	// url is where the worker finds the server.
	url string
}

// newWire lays a wire to the server at that URL.
func newWire(t *testing.T, server string) *wire {
	t.Helper()
	name := fmt.Sprintf("hft%08x", rand.Uint32())
	net24 := fmt.Sprintf("198.18.%d.", rand.N(256)) // a range for tests, RFC 2544
	near := net24 + strconv.Itoa(4*rand.N(64)+1)
	i := strings.LastIndexByte(near, '.')
	last, _ := strconv.Atoi(near[i+1:])
	far := net24 + strconv.Itoa(last+1)
	guarded(t, fmt.Sprintf(`ip netns add %[1]s
ip link add %[1]s type veth peer name far netns %[1]s
ip addr add %[2]s/30 dev %[1]s; ip link set %[1]s up
ip -n %[1]s addr add %[3]s/30 dev far; ip -n %[1]s link set far up; ip -n %[1]s link set lo up`, name, near, far),
		fmt.Sprintf(`ip link del %[1]s 2>/dev/null || true; ip netns del %[1]s 2>/dev/null || true`, name))
	to, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	address := forward(t, near+":0", to.Host)
	return &wire{device: name, prefix: []string{"nsenter", "--net=/run/netns/" + name, "--"}, url: "nats://" + address}
}

// cut cuts the wire: packets get lost, and nobody is told. mend mends it.
func (l *wire) cut(t *testing.T)  { t.Helper(); l.set(t, "down") }
func (l *wire) mend(t *testing.T) { t.Helper(); l.set(t, "up") }

func (l *wire) set(t *testing.T, state string) {
	t.Helper()
	if out, err := command("ip", "link", "set", l.device, state); err != nil {
		t.Fatalf("set the wire %s: %v\n%s", state, err, out)
	}
}

// forward passes connections on, and returns where they are taken.
func forward(t *testing.T, listen, to string) string {
	t.Helper()
	l, err := net.Listen("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	f := &forwarder{to: to, open: map[net.Conn]bool{}}
	f.running.Go(func() { f.accept(l) })
	t.Cleanup(func() {
		_ = l.Close()
		f.close()
	})
	return l.Addr().String()
}

type forwarder struct {
	to      string
	running sync.WaitGroup
	mu      sync.Mutex
	open    map[net.Conn]bool // nil when it is closed
}

func (f *forwarder) accept(l net.Listener) {
	for {
		near, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		far, err := net.Dial("tcp", f.to)
		if err != nil { // the server is away
			_ = near.Close()
			continue
		}
		for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
			f.keep(pair[0])
			f.running.Go(func() {
				_, _ = io.Copy(pair[0], pair[1])
				_ = pair[0].Close()
				_ = pair[1].Close()
			})
		}
	}
}

func (f *forwarder) keep(c net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open == nil {
		_ = c.Close()
		return
	}
	f.open[c] = true
}

func (f *forwarder) close() {
	f.mu.Lock()
	for c := range f.open {
		_ = c.Close()
	}
	f.open = nil
	f.mu.Unlock()
	f.running.Wait()
}
