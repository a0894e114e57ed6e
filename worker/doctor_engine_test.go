package main

import (
	"os"
	"strings"
	"testing"

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
