package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"holdfast.io/holdfast/internal/fstest"
)

// TestWhereModesMeanNothing runs the real program on a file system that keeps no
// modes.
func TestWhereModesMeanNothing(t *testing.T) {
	testscript.Run(t, params(t, "testdata/modeless", func(env *testscript.Env) {
		at := fstest.Modeless(t)
		env.Setenv("MODELESS", at)
		config := fmt.Sprintf("sinks:\n  default:\n    url: %s\n    modes: ignored\n", at)
		if err := os.WriteFile(filepath.Join(env.WorkDir, "config.yaml"), []byte(config), 0o600); err != nil {
			t.Error(err)
		}
	}))
}
