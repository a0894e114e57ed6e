package file_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"holdfast.io/holdfast/internal/sink"
)

// sharedDir is, in the environment of a process that a test started, the folder
// that all of them use.
const sharedDir = "HOLDFAST_TEST_SHARED_DIR"

// quickExit spares a process of the race detector the second that it waits at its
// end for other goroutines to race.
const quickExit = "GORACE=atexit_sleep_ms=0"

// Several processes set up one folder, and store a point in it, at a time.
func TestProcessesAtOneNewFolder(t *testing.T) {
	if dir := os.Getenv(sharedDir); dir != "" {
		s := open(t, dir)
		must(t, tryStore(t.Context(), s, fmt.Sprint(itemDir, "/i", os.Getpid())))
		must(t, os.WriteFile(fmt.Sprint(dir, "-id-", os.Getpid()), []byte(s.ID()), 0o600))
		return
	}
	const processes = 6
	dir := filepath.Join(t.TempDir(), "sink")
	mkdir(t, dir)
	var wg sync.WaitGroup
	for range processes {
		wg.Go(func() {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
			cmd.Env = append(os.Environ(), sharedDir+"="+dir, quickExit)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	wg.Wait()
	s := open(t, dir)
	ids, err := filepath.Glob(dir + "-id-*")
	must(t, err)
	for _, path := range ids {
		if id, err := os.ReadFile(path); err != nil || string(id) != s.ID() {
			t.Errorf("a process opened the sink %s, and it is %s: %v", id, s.ID(), err)
		}
	}
	dirs, err := points(t, s)
	must(t, err)
	if len(ids) != processes || len(dirs) != processes {
		t.Errorf("%d processes opened the sink and stored %q", len(ids), dirs)
	}
	if found := contents(t, dir); len(found) != 1+2*processes { // the identity; an artifact and a manifest each
		t.Errorf("something temporary is left: %q", found)
	}
}

// tryStore stores a point, or discards it and reports why.
func tryStore(ctx context.Context, s sink.Sink, dir string) (err error) {
	staging, err := s.Stage(ctx, dir, "1")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, staging.Discard(ctx)) }()
	w, _, err := staging.Create(ctx, "volumes/data.tar.zst", 0)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, "volume")
	if err := errors.Join(err, w.Commit()); err != nil {
		return errors.Join(err, w.Abort())
	}
	return staging.Publish(ctx, []byte("{}"))
}
