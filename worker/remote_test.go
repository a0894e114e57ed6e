package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"

	"holdfast.io/holdfast/internal/docker/dockertest"
)

// TestRemoteEngine backs up and restores over TCP with TLS: found by the variables of the
// docker command, and by a docker context.
func TestRemoteEngine(t *testing.T) {
	e := dockertest.New(t, dockertest.Options{TLS: true})
	const image, name, volume = "holdfast-test/remote:1", "far", "far-data"
	e.ImportImage(t, image)
	id := e.Run(t, dockertest.Container{Name: name, Image: image, Volume: volume})

	e.Write(t, id, "data/note", []byte("far away"))

	own := "HOLDFAST_STATE_DIR=" + t.TempDir()
	byVariables := []string{own, "DOCKER_HOST=" + e.TLSHost(), "DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH=" + e.Certificates()}
	says := func(env []string, status int, want string, args ...string) {
		t.Helper()
		cmd := e.Command("holdfast", args...)
		cmd.Env = append(os.Environ(), env...)
		out, _ := cmd.CombinedOutput() // its status is looked at
		if got := cmd.ProcessState.ExitCode(); got != status || !strings.Contains(string(out), want) {
			t.Fatalf("holdfast %s ends with status %d, not %d with %q:\n%s", strings.Join(args, " "), got, status, want, out)
		}
	}
	says(byVariables, 0, " at "+e.TLSHost()+": Docker Engine ", "doctor")
	says(byVariables, 0, "succeeded: 2 stored", "backup", name, "--attached-volumes", "--volume", volume)
	if err := e.API().ContainerRemove(t.Context(), id, container.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	if err := e.API().VolumeRemove(t.Context(), volume, false); err != nil {
		t.Fatal(err)
	}

	dir := t.TempDir()
	files := e.Certificates()
	byContext := func(name, has string) []string {
		t.Helper()
		env := []string{own, "DOCKER_HOST=", "DOCKER_CONFIG=" + dir, "DOCKER_CONTEXT=" + name}
		create := exec.Command("docker", "context", "create", name, "--docker", "host="+e.TLSHost()+has)
		create.Env = append(os.Environ(), env[1:3]...)
		if out, err := create.CombinedOutput(); err != nil {
			t.Fatalf("make a docker context: %v\n%s", err, out)
		}
		return env
	}
	ca := ",ca=" + filepath.Join(files, "ca.pem")
	far := byContext("far", ca+",cert="+filepath.Join(files, "cert.pem")+",key="+filepath.Join(files, "key.pem"))
	says(far, 0, "succeeded: 1 restored", "restore", name, "--gate", "1s")
	if note, err := (&realEngine{api: e.API()}).read(name, "/data/note"); err != nil || note != "far away" {
		t.Errorf("the container came back with %q (%v)", note, err)
	}

	if err := e.API().ContainerRemove(t.Context(), name, container.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}

	// Without a certificate nobody gets in, and an Engine whose certificate somebody else
	// has signed is not talked to.
	says([]string{own, "DOCKER_HOST=" + e.TLSHost()}, 1, "it takes connections with TLS only", "doctor")
	says(byContext("bare", ca), 1, "remote error: tls: ", "doctor")
	for to, from := range map[string]string{"cert.pem": "cert.pem", "key.pem": "key.pem", "ca.pem": "cert.pem"} {
		if err := os.Symlink(filepath.Join(files, from), filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	says([]string{own, "DOCKER_HOST=" + e.TLSHost(), "DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH=" + dir}, 1, "certificate signed by unknown authority", "doctor")
}
