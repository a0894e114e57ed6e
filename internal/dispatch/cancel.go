package dispatch

import (
	"context"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/job"
)

// cancel ends a job, whether it runs, waits, or has not come yet. A cancellation that
// comes again is simply done; a broadcast passes over hosts that do not have the job.
func (w *Worker) cancel(ctx context.Context, req *request) verdict {
	id := req.cancels.Job
	ended, err := w.Runner.Cancel(ctx, id)
	switch {
	case err != nil:
		w.Log.Warn("a cancellation is put off", zap.String("job", id), zap.Error(err))
		return again(job.RetryDelay)
	case ended && req.Target != events.TargetAll:
		return rejected(req.rejected(events.ReasonNoSuchJob, events.Violation{
			Pointer: "/job", Message: "job " + id + " has ended on host " + w.Host,
		}))
	}
	return done
}
