//go:build linux

package main

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
	// startBound is how long a worker may take to serve.
	startBound = 30 * time.Second
	// settleTime is how long a worker is left alone before its rest is measured,
	// and restTime how long that is measured.
	settleTime = 5 * time.Second
	restTime   = time.Minute
)

// worker is a holdfast serve.
type worker struct {
	process
	state.Endpoint
	cmd *exec.Cmd
	log string // the file that it writes to
	// ended is set when it was waited for.
	ended bool
}

// serve starts a worker, with its own message server, and waits until it serves.
func (h *holdfast) serve(ctx context.Context) (*worker, error) {
	w, err := h.launch(ctx)
	if err != nil {
		return nil, err
	}
	err = w.await(ctx, func() bool {
		w.Endpoint, err = state.Find(h.stateDir)
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// launch starts a worker, and does not wait for it.
func (h *holdfast) launch(ctx context.Context) (*worker, error) {
	log, err := os.Create(filepath.Join(filepath.Dir(h.stateDir), "serve.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	w := &worker{cmd: h.command(ctx, h.path, "serve", "--sink", h.sink), log: log.Name()}
	w.cmd.Stdout, w.cmd.Stderr = log, log
	if err := w.cmd.Start(); err != nil {
		return nil, err
	}
	w.process = process(w.cmd.Process.Pid)
	return w, nil
}

// await waits until the worker is ready. One that is not in time is stopped.
func (w *worker) await(ctx context.Context, ready func() bool) error {
	if until(ctx, startBound, ready) {
		return nil
	}
	_ = w.stop()
	said, _ := os.ReadFile(w.log)
	return fmt.Errorf("holdfast serve does not serve: %s", bytes.TrimSpace(said))
}

// until waits until something is so, and reports whether it came to that before
// ctx ended and within the bound.
func until(ctx context.Context, bound time.Duration, ready func() bool) bool {
	for deadline := time.Now().Add(bound); time.Now().Before(deadline) && ctx.Err() == nil; {
		if ready() {
			return true
		}
		_ = pause(ctx, 50*time.Millisecond)
	}
	return false
}

// stop ends the worker, which first undoes what it is at. It does nothing if the
// worker was ended before.
func (w *worker) stop() error {
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

// kill ends the worker as a crash does.
func (w *worker) kill() error {
	if err := w.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill the worker: %w", err)
	}
	w.ended = true
	_ = w.cmd.Wait() // it says that it was killed
	return nil
}

// rest is what a worker costs that has nothing to do.
type rest struct {
	cpu      time.Duration // in restTime
	resident int64
}

// rest leaves the worker alone and measures it.
func (w *worker) rest(ctx context.Context) (r rest, err error) {
	say("leaving the worker alone for %s", settleTime+restTime)
	if err := pause(ctx, settleTime); err != nil {
		return r, err
	}
	before, err := w.cpu()
	if err != nil {
		return r, err
	}
	if err := pause(ctx, restTime); err != nil {
		return r, err
	}
	after, err := w.cpu()
	if err != nil {
		return r, err
	}
	r.cpu = after - before
	r.resident, err = w.resident()
	return r, err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
