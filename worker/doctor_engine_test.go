package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"holdfast.io/holdfast/internal/docker/dockertest"
	"holdfast.io/holdfast/internal/engine"
)

// The manual lists every call that a proxy must let through.
func TestManualListsCalls(t *testing.T) {
	raw, err := os.ReadFile("../deploy/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, call := range engine.Calls {
		if method, path := call.Endpoint(); !strings.Contains(string(raw), "`"+method+" "+path+"`") {
			t.Errorf("deploy/README.md does not list %s %s", method, path)
		}
	}
}

// An Engine with a network of its own does not reach the worker, which is nothing to mend.
func TestDoctorOfAnEngineOutOfReach(t *testing.T) {
	e := dockertest.New(t, dockertest.Options{})
	cmd := exec.Command("holdfast", "doctor")
	cmd.Env = append(os.Environ(), "HOLDFAST_STATE_DIR="+t.TempDir(), "DOCKER_HOST="+e.Host())
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "no push into sinks with format: layers, so all of an image is read: the Engine does not reach") {
		t.Errorf("it ends with %v, and says\n%s", err, out)
	}
}
