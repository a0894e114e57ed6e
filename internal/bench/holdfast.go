//go:build linux

package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/sink/file"
	"holdfast.io/holdfast/internal/sink/layered"
)

// Holdfast is the program with a state dir and a sink of its own.
type Holdfast struct {
	Programs
	Path, stateDir, Sink string
	// config is the file that says how the sink is, if it is not as sinks are without one.
	config string
	// Second is the folder of the sink that is called second, if there is one.
	Second string
}

// NewHoldfast returns the program at path, with its folders below dir, whose sink has archives.
func NewHoldfast(p Programs, path, dir string) (*Holdfast, error) {
	h := &Holdfast{Programs: p, Path: path, Sink: filepath.Join(dir, "sink")}
	h.Env = append(h.Env[:len(h.Env):len(h.Env)], fmt.Sprintf("HOLDFAST_COMPRESSION_LEVEL=%d", Level), "HOLDFAST_SHUTDOWN_GRACE=1s")
	if err := os.MkdirAll(h.Sink, 0o700); err != nil {
		return nil, err
	}
	_, err := file.Open(context.Background(), h.Sink, "", file.Options{Format: layered.Archive}) // which is kept with it
	return h.Beside(filepath.Join(dir, "state")), err
}

// Beside returns the program with another state dir and the same sink: it knows of no
// worker, and does the work itself.
func (h *Holdfast) Beside(stateDir string) *Holdfast {
	beside := *h
	beside.stateDir = stateDir
	beside.Env = slices.Concat(h.Env, []string{"HOLDFAST_STATE_DIR=" + stateDir}) // the last one counts
	return &beside
}

// NewLayered returns the program at path, with its folders below dir, whose sink, and the one
// that is called second, store each layer once.
func NewLayered(p Programs, path, dir string) (*Holdfast, error) {
	h, err := NewHoldfast(p, path, dir)
	if err != nil {
		return nil, err
	}
	h.config, h.Second = filepath.Join(dir, "holdfast.yaml"), filepath.Join(dir, "second")
	if err := os.MkdirAll(h.Second, 0o700); err != nil {
		return nil, err
	}
	return h, os.WriteFile(h.config, fmt.Appendf(nil,
		"sinks:\n  default: {url: %q, format: layers}\n  second: {url: %q, format: layers}\n", h.Sink, h.Second), 0o600)
}

// place are the flags that name the sink.
func (h *Holdfast) place() []string {
	if h.config != "" {
		return []string{"--config", h.config}
	}
	return []string{"--sink", h.Sink}
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

// Backup runs holdfast backup with these arguments, and removes what it stored.
func (h *Holdfast) Backup(ctx context.Context, args ...string) (r HoldfastRun, err error) {
	began := time.Now()
	done, err := h.Store(ctx, args...)
	r.took = time.Since(began)
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

// Store runs holdfast backup with these arguments, and says what it stored, of several items
// that which was stored first.
func (h *Holdfast) Store(ctx context.Context, args ...string) (done events.BackupItemCompleted, err error) {
	out, err := h.Output(ctx, nil, h.Path, append([]string{"backup", "--json"}, args...)...)
	if err != nil {
		return done, err
	}
	return done, completed(events.Backup, out, &done)
}

// RestoreRun is one restore by Holdfast.
type RestoreRun struct {
	Took time.Duration
	// Peak is the largest resident memory of the command.
	Peak int64
	// NotRunning is how long neither the old nor the new container ran.
	NotRunning time.Duration
}

// Restore runs holdfast restore with these arguments, which does the work itself.
func (h *Holdfast) Restore(ctx context.Context, args ...string) (r RestoreRun, err error) {
	cmd := h.Command(ctx, h.Path, slices.Concat([]string{"restore", "--json"}, h.place(), args)...)
	began := time.Now()
	out, err := output(cmd)
	r.Took = time.Since(began)
	if err != nil {
		return r, err
	}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.Peak = usage.Maxrss << 10
	}
	var done events.RestoreItemCompleted
	err = completed(events.Restore, out, &done)
	r.NotRunning = time.Duration(done.NotRunningMillis * float64(time.Millisecond))
	return r, err
}

// completed reads the event that says what became of the item among those that a
// command printed.
func completed(kind events.Kind, printed string, into any) error {
	for line := range strings.Lines(printed) {
		var ev event.Event
		if err := json.Unmarshal([]byte(line), &ev); err != nil {
			return fmt.Errorf("read what holdfast %s printed: %w", kind, err)
		}
		if ev.Type() == kind.ResultType(events.ResultItemCompleted) {
			return ev.DataAs(into)
		}
	}
	return fmt.Errorf("holdfast %s does not say that the item is completed", kind)
}
