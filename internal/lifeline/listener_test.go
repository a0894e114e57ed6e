package lifeline

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const aContainer = "8f3b1c7de5a94c0f8e2d1b6a7c5f4e3d2c1b0a9f8e7d6c5b4a3f2e1d0c9b8a7f"

// procfs makes what a test needs of procfs: the sockets that listen, and by
// process its control group and the inode of its socket.
func procfs(t *testing.T, tcp, tcp6 string, processes map[string][2]string) string {
	t.Helper()
	proc := t.TempDir()
	write := func(path, content string) {
		path = filepath.Join(proc, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	write("self/net/tcp", head+tcp)
	write("self/net/tcp6", head+tcp6)
	for pid, p := range processes {
		write(pid+"/cgroup", p[0])
		write(pid+"/fd/none", "")
		if err := os.Symlink("socket:["+p[1]+"]", filepath.Join(proc, pid, "fd", "7")); err != nil {
			t.Fatal(err)
		}
	}
	return proc
}

const (
	onAll    = "   1: 00000000:1092 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 562 1 0000000020bf95d6 100 0 0 10 0\n"
	onLocal  = "   0: 0100007F:1092 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 561 2 0000000015229289 100 0 0 10 0\n"
	isClient = "   2: 0100007F:1092 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 563 2 0000000015229289 100 0 0 10 0\n"
	onAll6   = "   0: 00000000000000000000000000000000:1092 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 564 1 0 100 0 0 10 0\n"
	mapped6  = "   0: 0000000000000000FFFF00000100007F:1092 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 565 1 0 100 0 0 10 0\n"
	local6   = "   0: 00000000000000000000000001000000:1092 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 566 1 0 100 0 0 10 0\n"
)

func TestListenerAt(t *testing.T) {
	const service, inContainer = "0::/system.slice/nats.service\n", "0::/system.slice/docker-" + aContainer + ".scope\n"
	for name, c := range map[string]struct {
		tcp, tcp6, at string
		processes     map[string][2]string
		want          string
	}{
		"in a container":              {onAll, "", "127.0.0.1:4242", map[string][2]string{"12": {inContainer, "562"}}, aContainer},
		"on the host":                 {onAll, "", "127.0.0.1:4242", map[string][2]string{"12": {service, "562"}}, "host"},
		"by IPv6":                     {"", onAll6, "127.0.0.1:4242", map[string][2]string{"12": {inContainer, "564"}}, aContainer},
		"by a mapped address":         {"", mapped6, "127.0.0.1:4242", map[string][2]string{"12": {inContainer, "565"}}, aContainer},
		"by an IPv6 address":          {"", local6, "[::1]:4242", map[string][2]string{"12": {inContainer, "566"}}, aContainer},
		"held by several":             {onAll, "", "127.0.0.1:4242", map[string][2]string{"1": {service, "562"}, "12": {inContainer, "562"}, "13": {service, "562"}}, aContainer},
		"of another port":             {onAll, "", "127.0.0.1:4222", map[string][2]string{"12": {inContainer, "562"}}, ""},
		"of another address":          {onLocal, "", "10.0.0.1:4242", map[string][2]string{"12": {inContainer, "561"}}, ""},
		"a client":                    {isClient, "", "127.0.0.1:4242", map[string][2]string{"12": {inContainer, "563"}}, ""},
		"whose process is not seen":   {onAll, "", "127.0.0.1:4242", map[string][2]string{"12": {inContainer, "1"}}, ""},
		"where nothing can be learnt": {"", "", "127.0.0.1:4242", nil, ""},
		"a table of another form":     {"what is this\n  0: 00:00 00:00 0A 0 0 0 0 0 562 1\n", "", "127.0.0.1:4242", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if l := listenerAt(procfs(t, c.tcp, c.tcp6, c.processes), netip.MustParseAddrPort(c.at)); l != nil {
				if got = l.Container; got == "" {
					got = "host"
				}
			}
			if got != c.want {
				t.Errorf("found is %q, want %q", got, c.want)
			}
		})
	}
	if l := listenerAt(t.TempDir(), netip.MustParseAddrPort("127.0.0.1:4242")); l != nil {
		t.Errorf("without procfs found is %+v", l)
	}
}

// This process finds itself, by TCP and by a socket file.
func TestFindsThisProcess(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	at := netip.MustParseAddrPort(tcp.Addr().String())
	if listenerAt("/proc", at) == nil {
		t.Error("the process that listens is not found")
	}
	if !isNear(t.Context(), at) {
		t.Error("a loopback address is far")
	}
	_ = tcp.Close()
	if isNear(t.Context(), at) {
		t.Error("an address where nobody answers is near")
	}
	socket := filepath.Join(t.TempDir(), "s")
	file, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if pid := peerProcess(t.Context(), socket); pid != os.Getpid() {
		t.Errorf("the process behind the socket file is %d, not %d", pid, os.Getpid())
	}
	if pid := peerProcess(t.Context(), socket+"-gone"); pid != 0 {
		t.Errorf("the process behind a socket file that is not there is %d", pid)
	}
}

func TestIsLocal(t *testing.T) {
	for addr, want := range map[string]bool{"127.0.0.1": true, "127.9.9.9": true, "::1": true, "192.0.2.1": false, "2001:db8::1": false} {
		if got := isLocal(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is local: %v", addr, got)
		}
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range own {
		text, _, _ := strings.Cut(a.String(), "/")
		if !isLocal(netip.MustParseAddr(text)) {
			t.Errorf("%s is not local", text)
		}
	}
}

func FuzzListening(f *testing.F) {
	f.Add(onAll)
	f.Add(mapped6)
	f.Fuzz(func(t *testing.T, line string) {
		if address, _, ok := listening(line); ok && !address.IsValid() {
			t.Errorf("%q is read as %v", line, address)
		}
	})
}
