package client

import (
	"context"

	"holdfast.io/holdfast/events"
)

// AnyHost stands for all hosts where a job is followed whose host is not known.
const AnyHost = "*"

// RequestAll publishes a request of a kind to all hosts, and follows its jobs on
// the hosts that are named. The request is stored when RequestAll returns. The
// caller closes the subscription.
func (c Client) RequestAll(ctx context.Context, kind events.Kind, hosts []string, data any) (*Subscription, error) {
	ev, err := c.request(kind, data)
	if err != nil {
		return nil, err
	}
	s := newSubscription(ctx)
	for _, host := range hosts {
		job, err := c.follow(ctx, host, events.JobID(c.Source, ev.ID(), host), ev)
		if err != nil {
			s.Close()
			return nil, err
		}
		s.add(job)
	}
	if err := c.publish(ctx, events.AllSubject(kind), ev); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Cancel asks a host to cancel a job, or all hosts with [AnyHost], and follows the
// job, which is the first of the subscription. With a host it follows the request
// too, whose only event is its rejection. The request is stored when Cancel
// returns. The caller closes the subscription.
func (c Client) Cancel(ctx context.Context, host, job string) (*Subscription, error) {
	ev, err := c.request(events.Cancel, events.CancelRequest{Job: job})
	if err != nil {
		return nil, err
	}
	subject, ids := events.AllSubject(events.Cancel), []string{job}
	if host != AnyHost {
		subject = events.HostSubject(events.Cancel, host)
		ids = append(ids, events.JobID(c.Source, ev.ID(), host))
	}
	s := newSubscription(ctx)
	for _, id := range ids {
		followed, err := c.follow(ctx, host, id, ev)
		if err != nil {
			s.Close()
			return nil, err
		}
		s.add(followed)
	}
	if err := c.publish(ctx, subject, ev); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}
