package docker_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast.io/holdfast/internal/docker"
)

// dialStdio has this program, called as ssh, hand its input and output on to the
// socket that the variable names, as docker system dial-stdio does at the other end.
const dialStdio = "HOLDFAST_TEST_DIAL_STDIO"

func serveStdio(socket string) int {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go func() {
		_, _ = io.Copy(conn, os.Stdin)
		_ = conn.(*net.UnixConn).CloseWrite()
	}()
	_, _ = io.Copy(os.Stdout, conn)
	return 0
}

// clearEnvironment has nothing of this machine decide where the Engine is.
func clearEnvironment(t *testing.T) (configDir string) {
	for _, name := range []string{"DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY", "DOCKER_API_VERSION"} {
		t.Setenv(name, "")
	}
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	return dir
}

func writeFile(t *testing.T, content string, path ...string) {
	t.Helper()
	file := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func addContext(t *testing.T, config, name, host string) {
	sum := sha256.Sum256([]byte(name))
	writeFile(t, fmt.Sprintf(`{"Name":%q,"Metadata":{},"Endpoints":{"docker":{"Host":%q,"SkipTLSVerify":false}}}`, name, host),
		config, "contexts", "meta", hex.EncodeToString(sum[:]), "meta.json")
}

func TestAPIVersion(t *testing.T) {
	clearEnvironment(t)
	for version, good := range map[string]bool{"1.41": true, "v1.41": true, "9.99": true, "abc": false, "1": false, "1.41/../..": false, "1.41\n": false} {
		t.Setenv("DOCKER_API_VERSION", version)
		e, err := docker.Connect("unix:///s")
		if err == nil {
			_ = e.Close()
		}
		if (err == nil) != good {
			t.Errorf("%q: %v", version, err)
		}
	}
}

// As the docker command finds its Engine.
func TestEndpoint(t *testing.T) {
	cases := map[string]struct {
		flag, host, context, current string
		want                         string // or of the error
	}{
		"nothing":                   {"", "", "", "", "unix:///var/run/docker.sock"},
		"the flag":                  {"tcp://flag:1", "tcp://env:1", "a", "b", "tcp://flag:1"},
		"the environment":           {"", "tcp://env:1", "a", "b", "tcp://env:1"},
		"the environment's context": {"", "", "a", "b", "tcp://a:2375"},
		"the context in use":        {"", "", "", "b", "ssh://root@b:2222"},
		"the default context":       {"", "", "default", "b", "unix:///var/run/docker.sock"},
		"a context that is gone":    {"", "", "", "gone", `docker context "gone"`},
		"a context of a cluster":    {"", "", "kube", "", "has no Docker Engine"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			config := clearEnvironment(t)
			addContext(t, config, "a", "tcp://a:2375")
			addContext(t, config, "b", "ssh://root@b:2222")
			addContext(t, config, "kube", "")
			t.Setenv("DOCKER_HOST", c.host)
			t.Setenv("DOCKER_CONTEXT", c.context)
			if c.current != "" {
				writeFile(t, fmt.Sprintf(`{"auths":{},"currentContext":%q}`, c.current), config, "config.json")
			}
			e, err := docker.Connect(c.flag)
			if err != nil {
				if !strings.Contains(err.Error(), c.want) {
					t.Errorf("it is %v, want %q", err, c.want)
				}
				return
			}
			defer e.Close()
			if e.Host() != c.want {
				t.Errorf("it is reached at %s, want %s", e.Host(), c.want)
			}
		})
	}
}

// No password of an address is in what people see of it.
func TestBadAddress(t *testing.T) {
	config := clearEnvironment(t)
	addContext(t, config, "secret", "tcp://u:hunter2@h:1")
	for address, want := range map[string]string{
		"tcp://u:hunter2@127.0.0.1:1":   "user or a password",
		"tcp://hunter2@127.0.0.1:1":     "user or a password",
		"tcp://u:hunter2%zz@127.0.0.1":  "malformed",
		"u:hunter2@127.0.0.1:1":         "malformed",
		"ssh://u:hunter2@host":          "use a key",
		"ssh://host?hunter2":            "malformed",
		"ftp://u:hunter2@host":          `"ftp"`,
		"unix://u:hunter2@/var/run/s":   "user or a password",
		"127.0.0.1:2375":                "malformed",
		"docker.sock":                   `""`,
		"":                              "user or a password",
		"tcp://u:hunter2@[::1]:2375":    "user or a password",
		"tcp://u:hunter2@host:port":     "malformed",
		"tcp://u:hunt/er2@host:1":       "malformed",
		"https://u:hunter2@example.org": `"https"`,
	} {
		if address == "" {
			t.Setenv("DOCKER_CONTEXT", "secret")
		}
		e, err := docker.Connect(address)
		if err == nil {
			e.Close()
			t.Errorf("%q is taken", address)
			continue
		}
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v, want %q and no secret", address, err, want)
		}
	}
}

func TestPeers(t *testing.T) {
	clearEnvironment(t)
	for address, want := range map[string]string{
		"tcp://127.0.0.1:2375": "127.0.0.1:2375", "ssh://root@127.0.0.1": "127.0.0.1:22", "ssh://127.0.0.1:2222": "127.0.0.1:2222",
		"unix:///x": "",
	} {
		e, err := docker.Connect(address)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		var got netip.AddrPort
		for _, p := range e.Peers(t.Context()) {
			got = p
		}
		if want != "" && got.String() != want || want == "" && got.IsValid() {
			t.Errorf("%s leads to %s, want %q", address, got, want)
		}
	}
}

// An Engine is reached through the program ssh, and it is all that the calls need:
// those with a stream of their own too.
func TestSSH(t *testing.T) {
	b := openBench(t)
	clearEnvironment(t)
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, "#!/bin/sh\necho \"$*\" >>"+dir+"/asked\nexec "+self+"\n", dir, "ssh")
	if err := os.Chmod(filepath.Join(dir, "ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv(dialStdio, strings.TrimPrefix(b.api.DaemonHost(), "unix://"))
	e, err := docker.Connect("ssh://someone@far.example:2222")
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	about, err := e.About(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if about.Kind != "Docker Engine" || about.ID == "" {
		t.Errorf("it is %+v", about)
	}
	ctx, cancel := context.WithCancel(t.Context())
	changes, err := e.Watch(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	for range changes {
	}
	asked, err := os.ReadFile(filepath.Join(dir, "asked"))
	if err != nil || !strings.Contains(string(asked), "-l someone -p 2222") || !strings.Contains(string(asked), "BatchMode=yes") {
		t.Errorf("ssh was called with %q, %v", asked, err)
	}
}
