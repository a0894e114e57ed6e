//go:build linux

package bench

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

// Holdfast is the program with a state dir and a sink of its own.
type Holdfast struct {
	Programs
	Path, stateDir, Sink string
}

// NewHoldfast returns the program at path, with its folders below dir.
func NewHoldfast(p Programs, path, dir string) (*Holdfast, error) {
	h := &Holdfast{Programs: p, Path: path, stateDir: filepath.Join(dir, "state"), Sink: filepath.Join(dir, "sink")}
	h.Env = append(h.Env[:len(h.Env):len(h.Env)], fmt.Sprintf("HOLDFAST_COMPRESSION_LEVEL=%d", Level),
		"HOLDFAST_STATE_DIR="+h.stateDir, "HOLDFAST_SHUTDOWN_GRACE=1s")
	return h, os.MkdirAll(h.Sink, 0o700)
}

// HoldfastRun is one backup by Holdfast.
type HoldfastRun struct {
	took time.Duration
	Size int64
	// commit is what Holdfast says of the Engine's commit, notRunning how long
	// the Engine's own events say that the container did not run.
	Commit, NotRunning time.Duration
}

func (r HoldfastRun) Time() time.Duration { return r.took }

// BeyondCommit is how much longer the container did not run than the commit took.
func (r HoldfastRun) BeyondCommit() time.Duration { return r.NotRunning - r.Commit }

// Backup runs holdfast backup, and removes what it stored.
func (h *Holdfast) Backup(ctx context.Context, container string, flags ...string) (r HoldfastRun, err error) {
	began := time.Now()
	out, err := h.Output(ctx, nil, h.Path, append([]string{"backup", "--json", container}, flags...)...)
	r.took = time.Since(began)
	if err != nil {
		return r, err
	}
	done, err := completed(out)
	if err != nil {
		return r, err
	}
	r.Commit = time.Duration(done.DurationsMillis.Commit) * time.Millisecond
	r.NotRunning = time.Duration(done.NotRunningMillis * float64(time.Millisecond))
	for _, a := range done.Artifacts {
		r.Size += a.Size
	}
	return r, os.RemoveAll(filepath.Join(h.Sink, done.Path))
}

// completed finds the event that says what was stored among those that holdfast
// Backup printed.
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
