package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// TestDisaster runs the example that people run: a compose project is backed up, removed
// with all that it has, and brought back by one command.
func TestDisaster(t *testing.T) {
	e := machineEngine(t)
	dir := filepath.Dir(buildStatic(t, "holdfast", "."))
	cmd := exec.Command("../deploy/examples/disaster/disaster.sh")
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "COMPOSE_PROJECT_NAME="+e.prefix+"-shop",
		"SHOP_PORT="+freePort(t), fmt.Sprintf("SHOP_NET=10.213.%d", rand.N(256)))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	shop := regexp.QuoteMeta(e.prefix + "-shop")
	for _, said := range []string{
		`order 4711: one ladder\nvisit 1\n`,
		`succeeded: 3 stored`,
		`container ` + shop + `-db: network ` + shop + `_backend: created\n`,
		`container ` + shop + `-db: volume ` + shop + `_orders: created\n`,
		`succeeded: 3 restored`,
		`order 4711: one ladder\nvisit 2\n`,
	} {
		if !regexp.MustCompile(said).Match(out) {
			t.Errorf("it does not say %q", said)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}
