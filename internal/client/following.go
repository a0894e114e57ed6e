package client

import (
	"context"
	"sync"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
)

// Following is several jobs that are followed at once.
type Following struct {
	// Jobs are the jobs. They are closed with the following.
	Jobs []*Job

	reports chan Report
	ctx     context.Context // ends with Close
	stop    context.CancelFunc
	running sync.WaitGroup
}

// Report is an event of one of the jobs, or why there are no more of it.
type Report struct {
	Job   *Job
	Event event.Event
	Err   error
}

// newFollowing follows nothing yet. It outlives ctx, until Close.
func newFollowing(ctx context.Context) *Following {
	f := &Following{reports: make(chan Report)}
	f.ctx, f.stop = context.WithCancel(context.WithoutCancel(ctx))
	return f
}

func (f *Following) add(job *Job) {
	f.Jobs = append(f.Jobs, job)
	f.running.Go(func() { f.pass(job) })
}

// pass reports one job's events, to its last.
func (f *Following) pass(job *Job) {
	for {
		ev, err := job.Next(f.ctx)
		select {
		case f.reports <- Report{Job: job, Event: ev, Err: err}:
		case <-f.ctx.Done():
			return
		}
		if err != nil || events.Terminal(ev.Type()) {
			return
		}
	}
}

// Next returns what is next of any of the jobs: those of one job in their order,
// and nothing after its terminal event or its error. It blocks until there is
// something, or ctx ends; the error is that of ctx.
func (f *Following) Next(ctx context.Context) (Report, error) {
	select {
	case r := <-f.reports:
		return r, nil
	case <-ctx.Done():
		return Report{}, context.Cause(ctx)
	}
}

// Close ends the following; the jobs go on.
func (f *Following) Close() {
	f.stop()
	f.running.Wait()
	for _, job := range f.Jobs {
		job.Close()
	}
}
