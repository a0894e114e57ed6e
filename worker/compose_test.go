package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/image"

	"holdfast.io/holdfast/internal/porttest"
)

// TestCompose starts docker-compose.yml for real, with images of static
// binaries in place of those that a registry would have, and has it back up a
// container.
func TestCompose(t *testing.T) {
	e := machineEngine(t)
	name := runningContainer(t, e, "composed")
	dir := t.TempDir()
	sink := filepath.Join(dir, "sink")
	if err := os.Mkdir(sink, 0o700); err != nil {
		t.Fatal(err)
	}
	host := "compose-" + e.prefix
	env := append(os.Environ(),
		"COMPOSE_PROJECT_NAME="+e.prefix,
		"HOLDFAST_IMAGE="+e.staticImage(t, "holdfast", "."),
		"NATS_IMAGE="+e.staticImage(t, "nats-server", "github.com/nats-io/nats-server/v2"),
		"HOLDFAST_NATS_PASSWORD=s3cret",
		"HOLDFAST_NATS_PORT="+freePort(t),
		"HOLDFAST_HOST_ID="+host,
		"HOLDFAST_SINK="+sink,
		"DOCKER_SOCKET="+strings.TrimPrefix(e.api.DaemonHost(), "unix://"),
	)
	compose := func(args ...string) string {
		t.Helper()
		cmd := composeCommand(t, append([]string{"-f", "../docker-compose.yml"}, args...)...)
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("compose %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	t.Cleanup(func() { compose("down", "--volumes", "--timeout", "5") })
	compose("up", "-d", "--no-build")

	holdfast := func(args ...string) (string, error) {
		cmd := exec.Command("holdfast", args...)
		cmd.Env = append(os.Environ(), "HOLDFAST_NATS_USER=holdfast", "HOLDFAST_NATS_PASSWORD=s3cret", "HOLDFAST_STATE_DIR="+dir)
		for _, kv := range env {
			if port, ok := strings.CutPrefix(kv, "HOLDFAST_NATS_PORT="); ok {
				cmd.Env = append(cmd.Env, "HOLDFAST_NATS_URL=nats://127.0.0.1:"+port)
			}
		}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	var out string
	eventually(t, "the worker takes a request", func() bool {
		var err error
		out, err = holdfast("backup", name, "--host", host)
		return err == nil
	})
	if !strings.Contains(out, "succeeded: 1 stored") {
		t.Errorf("the backup says:\n%s", out)
	}
	if found, _ := filepath.Glob(filepath.Join(sink, "points", host, "container", name, "*", "manifest.json")); len(found) != 1 {
		t.Errorf("the sink holds %v", found)
	}

	// The worker's own container, and the server it hangs on, are protected.
	out, err := holdfast("backup", "--match", "^"+e.prefix+"[-_](nats|worker)", "--host", host, "--dry-run")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, why := range []string{"none (protected: it is the worker's own container)",
		"none (protected: the worker reaches NATS through it)"} {
		if !strings.Contains(out, why) {
			t.Errorf("nothing is %q in:\n%s", why, out)
		}
	}
	assertUntouched(t, e, name)
}

// composeCommand is docker compose, or the docker-compose that came before it.
func composeCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	if path, err := exec.LookPath("docker-compose"); err == nil {
		return exec.Command(path, args...)
	}
	if exec.Command("docker", "compose", "version").Run() == nil {
		return exec.Command("docker", append([]string{"compose"}, args...)...)
	}
	t.Fatal("this test needs docker compose, or docker-compose")
	return nil
}

// staticImage makes an image of one static program, which is its entry point.
func (e *realEngine) staticImage(t *testing.T, name, pkg string) string {
	t.Helper()
	content, err := os.ReadFile(buildStatic(t, name, pkg))
	if err != nil {
		t.Fatal(err)
	}
	ref := fmt.Sprintf("holdfast/test-%s:%s", name, e.prefix)
	r, err := e.api.ImageImport(context.Background(), image.ImportSource{Source: tarOf(name, content), SourceName: "-"}, ref,
		image.ImportOptions{Changes: []string{fmt.Sprintf(`ENTRYPOINT ["/%s"]`, name)}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var out bytes.Buffer
	if _, err := out.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := e.api.ImageRemove(context.Background(), ref, image.RemoveOptions{Force: true}); err != nil {
			t.Errorf("remove %s: %v", ref, err)
		}
	})
	return ref
}

// statics are the programs that were built, by their packages. Each has a folder of its
// own, which is removed at the end.
var statics = map[string]string{}

// buildStatic builds a program that needs nothing beside itself, once for all tests, and
// returns its path.
func buildStatic(t *testing.T, name, pkg string) string {
	t.Helper()
	if path := statics[pkg]; path != "" {
		return path
	}
	dir, err := os.MkdirTemp("", "holdfast-test-")
	if err != nil {
		t.Fatal(err)
	}
	removeAtEnd(func() error { return os.RemoveAll(dir) })
	program := filepath.Join(dir, name)
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v: %s", pkg, err, out)
	}
	statics[pkg] = program
	return program
}

func freePort(t *testing.T) string {
	t.Helper()
	port, err := findPort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// findPort finds a port of this machine that nobody uses.
func findPort() (string, error) {
	address, err := porttest.Free()
	if err != nil {
		return "", err
	}
	return strconv.Itoa(address.Port), nil
}
