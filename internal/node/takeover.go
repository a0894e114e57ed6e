package node

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/internal/bus/consume"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/ledger"
	"holdfast.io/holdfast/internal/state"
	"holdfast.io/holdfast/internal/undo"
)

const (
	// nudgeInterval is how often the server is asked to redeliver a request that a
	// dead worker held, until it comes. It may first go to a pull of the dead worker,
	// which the server holds open.
	nudgeInterval = time.Second
	// maxNudges bounds that. After a minute the server redelivers by itself.
	maxNudges = 60
	// ackWindow is how long after a job's end its request may still be
	// unacknowledged, if the worker died between the two: twice the acknowledgement
	// wait.
	ackWindow = 2 * time.Minute
	// nudgesOfEnded is maxNudges for the request of a job that has ended. The ledger
	// does not show whether it was redelivered, and an acknowledged request never is.
	nudgesOfEnded = 3
)

// adoptOwnRecords gives the undo records on our own disk to the sweeper. Of a job that a
// worker with another disk has taken over since, only what bears our attempt's name is
// removed: that one has the record too.
func (n *Node) adoptOwnRecords(ctx context.Context) error {
	var failure error
	err := n.adopt(ctx, func(r undo.Record) bool {
		job, err := n.jobs.Get(ctx, r.Job)
		switch {
		case errors.Is(err, ledger.ErrNotFound): // forgotten: nobody else can have it
			return true
		case err != nil:
			failure = errors.Join(failure, err)
			return false
		}
		return job.Attempt == r.Attempt || state.SameDir(job.Owner, n.owner)
	})
	return errors.Join(err, failure)
}

// adopt gives the undo records on our own disk to the sweeper. One that cannot be
// read is logged, and stays where it is.
func (n *Node) adopt(ctx context.Context, whole func(undo.Record) bool) error {
	records, err := n.sweeper.Store.List()
	if err != nil {
		n.o.Log.Error("not all undo records can be read", zap.Error(err))
	}
	var errs []error
	for _, r := range records {
		errs = append(errs, n.sweeper.Adopt(ctx, r, whole(r)))
	}
	return errors.Join(errs...)
}

// adoptJobs gives the undo records of earlier workers' jobs to the sweeper, and returns the
// jobs whose requests may not be acknowledged. From its return on no job gets a
// container that has not been resumed.
func (n *Node) adoptJobs(ctx context.Context) (open []ledger.Job) {
	for job, err := range n.jobs.Unsettled(ctx, ackWindow) {
		if err != nil {
			if ctx.Err() == nil {
				n.o.Log.Error("not all jobs of an earlier worker can be taken over at once", zap.String("job", job.ID), zap.Error(err))
			}
			continue // others may follow
		}
		if job.Owner == n.owner {
			continue
		}
		if err := n.adoptBegun(ctx, job); err != nil {
			n.o.Log.Error("what an earlier worker left of a job cannot be undone", zap.String("job", job.ID), zap.Error(err))
		}
		open = append(open, job)
	}
	return open
}

// adoptBegun gives the undo records of a job that has not ended to the sweeper.
func (n *Node) adoptBegun(ctx context.Context, open ledger.Job) error {
	if len(open.End) > 0 {
		return nil
	}
	begun, err := n.jobs.Begun(ctx, open.ID)
	return errors.Join(err, job.AdoptRecords(ctx, n.sweeper, open.ID, begun))
}

// takeOver asks the server to redeliver the requests of jobs at once rather than
// after the acknowledgement wait.
func (n *Node) takeOver(ctx context.Context, open []ledger.Job) {
	for round := range maxNudges {
		open = n.nudge(ctx, open, round)
		if len(open) == 0 {
			return
		}
		select {
		case <-time.After(nudgeInterval):
		case <-ctx.Done():
			return
		}
	}
}

// nudge asks for the requests of the jobs once, and returns the jobs whose requests
// have not come.
func (n *Node) nudge(ctx context.Context, jobs []ledger.Job, round int) (waiting []ledger.Job) {
	for _, job := range jobs {
		now, err := n.jobs.Get(ctx, job.ID)
		ended := len(now.End) > 0 && (len(job.End) == 0 || round >= nudgesOfEnded)
		if err != nil || now.Attempt != job.Attempt || ended {
			continue
		}
		if err := consume.Redeliver(n.Bus, n.Host, now.Reply); err != nil {
			n.o.Log.Warn("a request of an earlier worker cannot be asked for", zap.String("job", job.ID), zap.Error(err))
			continue
		}
		waiting = append(waiting, job)
	}
	return waiting
}
