package client

import (
	"context"
	"sync"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
)

// Subscription is several jobs that are followed at once.
type Subscription struct {
	// Jobs are the jobs. They are closed with it.
	Jobs []*Job

	reports chan Report
	ctx     context.Context //nolint:containedctx // the lifetime of the subscription: it ends with Close
	stop    context.CancelFunc
	running sync.WaitGroup
}

// Report is an event of one of the jobs, or why there are no more of it.
type Report struct {
	Job   *Job
	Event event.Event
	Err   error
}

// newSubscription follows nothing yet. It outlives ctx, until Close.
func newSubscription(ctx context.Context) *Subscription {
	s := &Subscription{reports: make(chan Report)}
	s.ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	return s
}

func (s *Subscription) add(job *Job) {
	s.Jobs = append(s.Jobs, job)
	s.running.Go(func() { s.pass(job) })
}

// pass reports one job's events, to its last.
func (s *Subscription) pass(job *Job) {
	for {
		ev, err := job.Next(s.ctx)
		select {
		case s.reports <- Report{Job: job, Event: ev, Err: err}:
		case <-s.ctx.Done():
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
func (s *Subscription) Next(ctx context.Context) (Report, error) {
	select {
	case r := <-s.reports:
		return r, nil
	case <-ctx.Done():
		return Report{}, context.Cause(ctx)
	}
}

// Close ends the subscription; the jobs go on.
func (s *Subscription) Close() {
	s.stop()
	s.running.Wait()
	for _, job := range s.Jobs {
		job.Close()
	}
}
