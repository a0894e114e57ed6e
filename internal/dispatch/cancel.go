package dispatch

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/bus/consume"
	"holdfast.io/holdfast/internal/ledger"
)

// cancel ends a job, whether it runs, waits, or has not come yet. It is in the
// ledger before the job hears of it, so that a worker that dies now does not
// forget it. A cancellation that comes again is simply done; a broadcast passes
// over hosts that do not have the job.
func (w *Worker) cancel(ctx context.Context, m *consume.Message, req *request) {
	job := req.cancelData.Job
	end, err := w.Jobs.Cancel(ctx, job)
	switch {
	case errors.Is(err, ledger.ErrEnded):
		if req.target == events.TargetAll || endedCancelled(end) {
			break
		}
		w.reject(ctx, m, req.rejected(events.ReasonNoSuchJob, events.Violation{
			Pointer: "/job", Message: "job " + job + " has ended on host " + w.Host,
		}))
		return
	case err != nil:
		w.Log.Warn("a cancellation is put off", zap.String("job", job), zap.Error(err))
		w.later(m, putOffDelay)
		return
	}
	w.mu.Lock()
	cancel := w.runs[job]
	w.mu.Unlock()
	if cancel != nil {
		cancel(backup.ErrCancelled)
	}
	w.done(ctx, m)
}

// endedCancelled reports whether a job's terminal event says that it was
// cancelled.
func endedCancelled(terminal []byte) bool {
	m, err := decodeEnd(terminal)
	if err != nil {
		return false
	}
	ev, err := m.Event()
	if err != nil {
		return false
	}
	var data events.Ended
	return ev.DataAs(&data) == nil && data.Status == events.StatusCancelled
}
