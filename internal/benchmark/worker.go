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
}

// serve starts a worker, with its own message server, and waits until it serves.
func (h *holdfast) serve(ctx context.Context) (*worker, error) {
	log, err := os.Create(filepath.Join(filepath.Dir(h.stateDir), "serve.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	w := &worker{cmd: h.command(ctx, h.path, "serve", "--sink", h.sink)}
	w.cmd.Stdout, w.cmd.Stderr = log, log
	if err := w.cmd.Start(); err != nil {
		return nil, err
	}
	w.process = process(w.cmd.Process.Pid)
	for deadline := time.Now().Add(startBound); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		if w.Endpoint, err = state.Find(h.stateDir); err == nil {
			return w, nil
		}
	}
	_ = w.stop()
	said, _ := os.ReadFile(log.Name())
	return nil, fmt.Errorf("holdfast serve does not serve: %s", bytes.TrimSpace(said))
}

// stop ends the worker, which first undoes what it is at.
func (w *worker) stop() error {
	if err := w.cmd.Cancel(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	err := w.cmd.Wait()
	if errors.Is(err, context.Canceled) { // it was asked to end before, with everything
		return nil
	}
	return err
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
