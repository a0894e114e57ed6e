package client

import (
	"context"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
)

// AnyHost stands for all hosts where a job is followed whose host is not known.
const AnyHost = "*"

// BackupAll publishes a backup request to all hosts, and follows its jobs on the
// hosts that are named. The request is stored when BackupAll returns. The caller
// closes the following.
func BackupAll(ctx context.Context, b *bus.Bus, hosts []string, data *events.BackupRequest) (*Following, error) {
	ev, err := request(events.Backup, data)
	if err != nil {
		return nil, err
	}
	f := newFollowing(ctx)
	for _, host := range hosts {
		job, err := follow(ctx, b, host, events.JobID(Source, ev.ID(), host), ev)
		if err != nil {
			f.Close()
			return nil, err
		}
		f.add(job)
	}
	if err := publish(ctx, b, events.AllSubject(events.Backup), ev); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Cancel asks a host to cancel a job, or all hosts with [AnyHost], and follows the
// job, which is the first of the following. With a host it follows the request
// too, whose only event is its rejection. The request is stored when Cancel
// returns. The caller closes the following.
func Cancel(ctx context.Context, b *bus.Bus, host, job string) (*Following, error) {
	ev, err := request(events.Cancel, events.CancelRequest{Job: job})
	if err != nil {
		return nil, err
	}
	subject, ids := events.AllSubject(events.Cancel), []string{job}
	if host != AnyHost {
		subject = events.HostSubject(events.Cancel, host)
		ids = append(ids, events.JobID(Source, ev.ID(), host))
	}
	f := newFollowing(ctx)
	for _, id := range ids {
		followed, err := follow(ctx, b, host, id, ev)
		if err != nil {
			f.Close()
			return nil, err
		}
		f.add(followed)
	}
	if err := publish(ctx, b, subject, ev); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
