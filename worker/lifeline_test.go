package main

import (
	"context"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
)

// TestLifeline runs the message server, and the worker, in containers that share
// networks with others. What a backup would stop itself with is not paused, and
// the plan says why; what only lies beside it is.
func TestLifeline(t *testing.T) {
	e := machineEngine(t)
	l := &lifeline{T: t, realEngine: e, host: "lifeline-" + e.prefix, dir: t.TempDir()}
	l.nats = e.staticImage(t, "nats-server", "github.com/nats-io/nats-server/v2")
	l.holdfast = e.staticImage(t, "holdfast", ".")

	t.Run("a server in the network of the host", func(t *testing.T) {
		l := l.of(t)
		port := freePort(t)
		l.run("nats", &container.Config{Image: l.nats, Cmd: []string{"-js", "-sd", "/js", "-a", "127.0.0.1", "-p", port}}, "host")
		l.run("beside", &container.Config{}, "host")
		l.run("other", &container.Config{}, "default")
		url := "nats://127.0.0.1:" + port
		l.provision(url)
		start(t, []string{"HOLDFAST_STATE_DIR=" + t.TempDir(), "HOLDFAST_NATS_URL=" + url, "HOLDFAST_HOST_ID=" + l.host,
			"HOLDFAST_SINK=" + t.TempDir()}, "serve")
		l.wantPlan(url, map[string]string{
			"nats":   "none (protected: the worker reaches NATS through it)",
			"beside": "pause",
			"other":  "pause",
		})
	})

	t.Run("a worker in the network of another container", func(t *testing.T) {
		l := l.of(t)
		owner := l.run("owner", &container.Config{}, "default")
		shared := container.NetworkMode("container:" + owner)
		l.run("nats", &container.Config{Image: l.nats, Cmd: []string{"-js", "-sd", "/js"}}, shared)
		l.run("other", &container.Config{}, "default")
		c, err := e.api.ContainerInspect(context.Background(), owner)
		if err != nil {
			t.Fatal(err)
		}
		url := "nats://" + net.JoinHostPort(c.NetworkSettings.Networks["bridge"].IPAddress, "4222")
		l.provision(url)
		socket := strings.TrimPrefix(e.api.DaemonHost(), "unix://")
		l.run("worker", &container.Config{Image: l.holdfast, Cmd: []string{"serve"}, Env: []string{
			"HOLDFAST_STATE_DIR=/data", "HOLDFAST_NATS_URL=nats://127.0.0.1:4222", "HOLDFAST_HOST_ID=" + l.host,
			"HOLDFAST_DOCKER_HOST=unix:///docker.sock", "HOLDFAST_SINK=/sink",
		}}, shared, mount.Mount{Type: mount.TypeBind, Source: socket, Target: "/docker.sock"},
			mount.Mount{Type: mount.TypeBind, Source: t.TempDir(), Target: "/sink"})
		l.wantPlan(url, map[string]string{
			"owner":  "none (protected: the worker uses its network)",
			"nats":   "none (protected: the worker may reach NATS through it, as it shares the worker's network)",
			"worker": "none (protected: it is the worker's own container)",
			"other":  "pause",
		})
	})
}

// lifeline is a fleet of one host whose parts run in containers.
type lifeline struct {
	*testing.T
	*realEngine
	host, dir      string
	nats, holdfast string // images
}

func (l *lifeline) of(t *testing.T) *lifeline {
	copied := *l
	copied.T = t
	return &copied
}

// name is the name of a container of this test.
func (l *lifeline) name(suffix string) string { return l.prefix + "-lifeline-" + suffix }

// run makes a container and starts it.
func (l *lifeline) run(name string, c *container.Config, network container.NetworkMode, mounts ...mount.Mount) (id string) {
	l.Helper()
	id, err := l.create(l, l.name(name), c, &container.HostConfig{NetworkMode: network, Mounts: mounts})
	if err == nil {
		err = l.api.ContainerStart(context.Background(), id, container.StartOptions{})
	}
	if err != nil {
		l.Fatalf("run container %s: %v", name, err)
	}
	return id
}

// program runs a command of the program as a client of the fleet.
func (l *lifeline) program(url string, args ...string) (string, error) {
	cmd := exec.Command("holdfast", append(args, "--nats", url, "--state-dir", filepath.Join(l.dir, "client"))...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (l *lifeline) provision(url string) {
	l.Helper()
	var out string
	var err error
	eventually(l.T, "the server is provisioned", func() bool {
		out, err = l.program(url, "provision", "--host-id", l.host)
		return err == nil
	})
	l.Log(out)
}

// wantPlan asks what would be done to the containers, and compares how each would
// be quiesced.
func (l *lifeline) wantPlan(url string, want map[string]string) {
	l.Helper()
	var out string
	eventually(l.T, "the worker answers", func() bool {
		var err error
		out, err = l.program(url, "backup", "--match", "^"+l.name(""), "--host", l.host, "--dry-run")
		return err == nil
	})
	for line := range strings.Lines(out) {
		for name, quiesce := range want {
			if strings.Contains(line, " "+l.name(name)+" ") {
				if !strings.Contains(line, "  "+quiesce) {
					l.Errorf("container %s: want %q in the line\n%s", name, quiesce, line)
				}
				delete(want, name)
			}
		}
	}
	if len(want) > 0 {
		l.Errorf("nothing is said of %v in\n%s", want, out)
	}
	if out, err := l.program(url, "backup", "--match", "^"+l.name(""), "--host", l.host, "--together"); err != nil {
		l.Errorf("the backup of all together: %v\n%s", err, out)
	}
}
