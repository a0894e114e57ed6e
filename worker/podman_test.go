package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"

	"holdfast.io/holdfast/internal/docker/dockertest"
)

// TestPodman has Podman's service do the main job: a running container with its volume is
// backed up, and comes back. What it cannot do is refused before anything is touched.
func TestPodman(t *testing.T) {
	e := dockertest.New(t, dockertest.Options{Podman: true})
	const from, name, volume, helper = "holdfast-test/podman:1", "pod", "pod-data", "holdfast-test/helper:1"
	e.ImportImage(t, from)
	id := e.Run(t, dockertest.Container{Name: name, Image: from, Volume: volume})
	e.Write(t, id, "data/note", []byte("in the volume"))
	e.Write(t, id, "tmp/note", []byte("in the container"))

	env := []string{"HOLDFAST_STATE_DIR=" + t.TempDir(), "DOCKER_HOST=" + e.Host(), "HOLDFAST_POLICY_QUIESCE=pause,none,stop"}
	says := func(status int, want string, args ...string) {
		t.Helper()
		cmd := exec.Command("holdfast", args...)
		cmd.Env = append(os.Environ(), env...)
		out, _ := cmd.CombinedOutput() // its status is looked at
		if got := cmd.ProcessState.ExitCode(); got != status || !strings.Contains(string(out), want) {
			t.Fatalf("holdfast %s ends with status %d, not %d with %q:\n%s", strings.Join(args, " "), got, status, want, out)
		}
	}
	says(0, "Podman Engine makes no container without an image, so volumes are neither read nor written", "doctor")
	says(0, "no push into sinks with format: layers, so all of an image is read: ", "doctor")
	says(1, "is not touched: there is no program for a helper on this Engine: Podman Engine makes no container without an image",
		"backup", name, "--attached-volumes")

	program, err := os.ReadFile(buildStatic(t, "holdfast", "."))
	if err != nil {
		t.Fatal(err)
	}
	r, err := e.API().ImageImport(t.Context(), image.ImportSource{Source: tarOf("holdfast", program), SourceName: "-"}, helper,
		image.ImportOptions{Changes: []string{`ENTRYPOINT ["/holdfast"]`}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := new(bytes.Buffer).ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	r.Close()
	env = append(env, "HOLDFAST_HELPER_IMAGE="+helper)
	says(0, "succeeded: 1 stored", "backup", name)
	says(0, "succeeded: 1 stored", "backup", name, "--attached-volumes", "--quiesce", "stop")
	if c, err := e.API().ContainerInspect(t.Context(), name); err != nil || !c.State.Running || c.State.Paused {
		t.Errorf("the container is %+v after its backups (%v)", c.State, err)
	}

	says(1, "does not have POST /containers/{id}/update", "restore", name, "--replace", "--volumes", "keep")
	if err := e.API().ContainerRemove(t.Context(), id, container.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	if err := e.API().VolumeRemove(t.Context(), volume, false); err != nil {
		t.Fatal(err)
	}
	says(0, "succeeded: 1 restored", "restore", name, "--gate", "1s")
	engine := &realEngine{api: e.API()}
	for file, want := range map[string]string{"/data/note": "in the volume", "/tmp/note": "in the container"} {
		if got, err := engine.read(name, file); err != nil || got != want {
			t.Errorf("%s is %q (%v)", file, got, err)
		}
	}
	if refs, err := engine.snapshots(); err != nil || len(refs) > 0 {
		t.Errorf("snapshots are left: %v (%v)", refs, err)
	}
	if err := e.API().ContainerRemove(t.Context(), name, container.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
}
