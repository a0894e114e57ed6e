package node

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/dispatch"
	"holdfast.io/holdfast/internal/ledger"
)

const (
	// askAgain is how often a request that a dead worker held is asked for, until it
	// comes: it may go to a pull of the dead one, which the server holds open.
	askAgain = time.Second
	// asks is how often at most. After a minute it comes by itself.
	asks = 60
	// endedLately is how long after its end a job's request may not be acknowledged,
	// if the worker died between the two: twice the acknowledgement wait.
	endedLately = 2 * time.Minute
	// asksOfEnded is how often the request of such a job is asked for. Whether it came
	// does not show in the ledger; one that is acknowledged does not come.
	asksOfEnded = 3
)

// undoOwn has undone what the notes on our own disk name. What another worker has
// taken over since is its own affair: of that only what bears our attempt's name
// is removed.
func (n *Node) undoOwn(ctx context.Context) error {
	var failure error
	err := n.undo(func(note backup.Note) bool {
		job, err := n.jobs.Look(ctx, note.Job)
		switch {
		case errors.Is(err, ledger.ErrNotFound): // forgotten: nobody else can have it
			return true
		case err != nil:
			failure = errors.Join(failure, err)
			return false
		}
		return job.Attempt == note.Attempt
	})
	return errors.Join(err, failure)
}

// undo has undone what the notes on our own disk name.
func (n *Node) undo(whole func(backup.Note) bool) error {
	notes, err := n.notes.List()
	for _, note := range notes {
		if aerr := n.tidier.Adopt(note, whole(note)); aerr != nil {
			err = errors.Join(err, aerr)
		}
	}
	return err
}

// adoptJobs has undone what the notes name that went with the jobs of earlier
// workers, and returns those whose requests may not be acknowledged. From its return on no job gets a container
// before that is let go.
func (n *Node) adoptJobs(ctx context.Context) (open []ledger.Job) {
	for job, err := range n.jobs.Unsettled(ctx, endedLately) {
		if err != nil {
			if ctx.Err() == nil {
				n.o.Log.Error("not all jobs of an earlier worker can be taken over at once", zap.Error(err))
			}
			break
		}
		if job.Owner == n.owner {
			continue
		}
		if err := dispatch.AdoptNotes(n.tidier, job.ID, job.Begun); err != nil {
			n.o.Log.Error("what an earlier worker left of a job cannot be undone", zap.String("job", job.ID), zap.Error(err))
		}
		open = append(open, job)
	}
	return open
}

// takeOver has the requests of jobs delivered at once rather than after the
// acknowledgement wait.
func (n *Node) takeOver(ctx context.Context, open []ledger.Job) {
	for round := range asks {
		open = n.askFor(ctx, open, round)
		if len(open) == 0 {
			return
		}
		select {
		case <-time.After(askAgain):
		case <-ctx.Done():
			return
		}
	}
}

// askFor asks for the requests of the jobs, and returns those that have not come.
func (n *Node) askFor(ctx context.Context, jobs []ledger.Job, round int) (waiting []ledger.Job) {
	for _, job := range jobs {
		now, err := n.jobs.Look(ctx, job.ID)
		ended := len(now.End) > 0 && (len(job.End) == 0 || round >= asksOfEnded)
		if err != nil || now.Attempt != job.Attempt || ended {
			continue
		}
		if err := n.Bus.Redeliver(n.Host, now.Reply); err != nil {
			n.o.Log.Warn("a request of an earlier worker cannot be asked for", zap.String("job", job.ID), zap.Error(err))
			continue
		}
		waiting = append(waiting, job)
	}
	return waiting
}
