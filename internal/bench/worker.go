//go:build linux

package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"holdfast.io/holdfast/internal/state"
)

const (
	// StartBound is how long a worker may take to serve.
	StartBound = 30 * time.Second
	// SettleTime is how long a worker is left alone before its rest is measured,
	// and RestTime how long that is measured.
	SettleTime = 5 * time.Second
	RestTime   = time.Minute
)

// Worker is a holdfast serve.
type Worker struct {
	Process
	state.Endpoint
	cmd *exec.Cmd
	log string // the file that it writes to
	// ended is set when it was waited for.
	ended bool
}

// Serve starts a worker, with its own message server, and waits until it serves.
func (h *Holdfast) Serve(ctx context.Context) (*Worker, error) {
	w, err := h.Launch(ctx)
	if err != nil {
		return nil, err
	}
	err = w.Await(ctx, func() bool {
		w.Endpoint, err = state.Find(h.stateDir)
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// Launch starts a worker, and does not wait for it.
func (h *Holdfast) Launch(ctx context.Context) (*Worker, error) {
	log, err := os.Create(filepath.Join(filepath.Dir(h.stateDir), "serve.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	w := &Worker{cmd: h.Command(ctx, h.Path, append([]string{"serve"}, h.place()...)...), log: log.Name()}
	w.cmd.Stdout, w.cmd.Stderr = log, log
	if err := w.cmd.Start(); err != nil {
		return nil, err
	}
	w.Process = Process(w.cmd.Process.Pid)
	return w, nil
}

// Await waits until the worker is ready. One that is not in time is stopped.
func (w *Worker) Await(ctx context.Context, ready func() bool) error {
	if Until(ctx, StartBound, ready) {
		return nil
	}
	_ = w.Stop()
	said, _ := os.ReadFile(w.log)
	return fmt.Errorf("holdfast serve does not serve: %s", bytes.TrimSpace(said))
}

// Until waits until something is so, and reports whether it came to that before
// ctx ended and within the bound.
func Until(ctx context.Context, bound time.Duration, ready func() bool) bool {
	for deadline := time.Now().Add(bound); time.Now().Before(deadline) && ctx.Err() == nil; {
		if ready() {
			return true
		}
		_ = Pause(ctx, 50*time.Millisecond)
	}
	return false
}

// Stop ends the worker, which first undoes what it is at. It does nothing if the
// Worker was ended before.
func (w *Worker) Stop() error {
	if w.ended {
		return nil
	}
	w.ended = true
	if err := w.cmd.Cancel(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	err := w.cmd.Wait()
	if errors.Is(err, context.Canceled) { // it was asked to end before, with everything
		return nil
	}
	return err
}

// Kill ends the worker as a crash does.
func (w *Worker) Kill() error {
	if err := w.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill the worker: %w", err)
	}
	w.ended = true
	_ = w.cmd.Wait() // it says that it was killed
	return nil
}

// Rest is what a worker costs that has nothing to do.
type Rest struct {
	CPU      time.Duration // in RestTime
	Resident int64
}

// Rest leaves the worker alone and measures it.
func (w *Worker) Rest(ctx context.Context) (r Rest, err error) {
	Say("leaving the worker alone for %s", SettleTime+RestTime)
	if err := Pause(ctx, SettleTime); err != nil {
		return r, err
	}
	before, err := w.CPU()
	if err != nil {
		return r, err
	}
	if err := Pause(ctx, RestTime); err != nil {
		return r, err
	}
	after, err := w.CPU()
	if err != nil {
		return r, err
	}
	r.CPU = after - before
	r.Resident, err = w.Resident()
	return r, err
}

func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
