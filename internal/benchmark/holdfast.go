//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
)

// holdfast is the program with a state dir and a sink of its own.
type holdfast struct {
	programs
	path, stateDir, sink string
}

// newHoldfast returns the program at path, with its folders below dir.
func newHoldfast(p programs, path, dir string) (*holdfast, error) {
	h := &holdfast{programs: p, path: path, stateDir: filepath.Join(dir, "state"), sink: filepath.Join(dir, "sink")}
	h.env = append(h.env[:len(h.env):len(h.env)], fmt.Sprintf("HOLDFAST_COMPRESSION_LEVEL=%d", level),
		"HOLDFAST_STATE_DIR="+h.stateDir, "HOLDFAST_SHUTDOWN_GRACE=1s")
	return h, os.MkdirAll(h.sink, 0o700)
}

// holdfastRun is one backup by Holdfast.
type holdfastRun struct {
	took time.Duration
	size int64
	// commit is what Holdfast says of the Engine's commit, notRunning how long
	// the Engine's own events say that the container stood.
	commit, notRunning time.Duration
}

func (r holdfastRun) time() time.Duration { return r.took }

// beyondCommit is how much longer the container stood than the commit took.
func (r holdfastRun) beyondCommit() time.Duration { return r.notRunning - r.commit }

// backup runs holdfast backup, and removes what it stored.
func (h *holdfast) backup(ctx context.Context, container string, flags ...string) (r holdfastRun, err error) {
	began := time.Now()
	out, err := h.output(ctx, nil, h.path, append([]string{"backup", "--json", container}, flags...)...)
	r.took = time.Since(began)
	if err != nil {
		return r, err
	}
	done, err := completed(out)
	if err != nil {
		return r, err
	}
	r.commit = time.Duration(done.DurationsMillis.Commit) * time.Millisecond
	r.notRunning = time.Duration(done.NotRunningMillis * float64(time.Millisecond))
	for _, a := range done.Artifacts {
		r.size += a.Size
	}
	return r, os.RemoveAll(filepath.Join(h.sink, done.Path))
}

// completed finds the event that says what was stored among those that holdfast
// backup printed.
func completed(printed string) (done events.BackupItemCompleted, err error) {
	for line := range strings.Lines(printed) {
		var ev event.Event
		if err := json.Unmarshal([]byte(line), &ev); err != nil {
			return done, fmt.Errorf("read what holdfast backup printed: %w", err)
		}
		if ev.Type() == events.Backup.ResultType(events.ResultItemCompleted) {
			return done, ev.DataAs(&done)
		}
	}
	return done, errors.New("holdfast backup does not say that it stored the container")
}
