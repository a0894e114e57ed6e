package main

import (
	"context"
	"errors"
	"time"

	"holdfast.io/holdfast/internal/client"
	"holdfast.io/holdfast/internal/present"
)

// watch shows one job to its end.
type watch struct {
	show *present.Presenter
	// own has Ctrl-C cancel the job. Otherwise it leaves the job to its worker.
	own bool
	// patience bounds the waiting for the job's first event; 0 means no bound.
	patience time.Duration
}

// errWaited ends the waiting for what should have come.
var errWaited = errors.New("waited for long enough")

// run returns how the job ended, as an exit status, see [exitFor].
func (w *watch) run(ctx context.Context, job *client.Job) error {
	waiting, begun := ctx, func() {}
	if w.patience > 0 {
		waiting, begun = context.WithTimeoutCause(ctx, w.patience, errWaited)
	}
	defer func() { begun() }()
	for {
		ev, err := job.Next(waiting)
		switch {
		case errors.Is(err, errWaited):
			w.show.Line("host %s has not begun job %s within %s; the request goes on waiting", job.Host, job.ID, w.patience)
			return &exitError{status: exitPartial}
		case err != nil && ctx.Err() != nil && !w.own:
			w.show.Line("detached: job %s goes on at host %s", job.ID, job.Host)
			return &exitError{status: exitCancelled}
		case err != nil && ctx.Err() != nil:
			w.show.Line("cancelling job %s", job.ID)
			ctx = context.WithoutCancel(ctx)
			waiting = ctx
			if err := job.Cancel(ctx); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		}
		waiting = ctx
		outcome, err := w.show.Event(ev)
		if err != nil {
			return err
		}
		if outcome != present.Running {
			return exitFor(outcome)
		}
	}
}
