// Package client is the asking side: it publishes a request as any outside
// publisher would, and follows the job's events to its end.
package client

import (
	"context"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
)

// Source is the CloudEvents source of requests made by hand.
const Source = "/holdfast/cli"

// Job is a request that was published, as one host carries it out.
type Job struct {
	// ID is the job's id, Host the host that does it.
	ID, Host string
	// Request is the request's own id.
	Request string

	sub *bus.Subscription
}

// Backup publishes a backup request to a host and returns the job to follow.
// The request is stored when Backup returns. The caller closes the job.
func Backup(ctx context.Context, b *bus.Bus, host string, data *events.BackupRequest) (*Job, error) {
	served, err := b.HostServed(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("ask who serves host %s: %w", host, err)
	}
	if !served {
		return nil, fmt.Errorf("no worker has ever served a host %q here: check the name, and that holdfast serve runs there", host)
	}
	ev, err := request(events.Backup, data)
	if err != nil {
		return nil, err
	}
	return send(ctx, b, events.HostSubject(events.Backup, host), host, events.JobID(Source, ev.ID(), host), ev)
}

// Cancel asks the job's host to cancel it. The job's own terminal event tells
// when that is done.
func (j *Job) Cancel(ctx context.Context, b *bus.Bus) error {
	ev, err := request(events.Cancel, events.CancelRequest{Job: j.ID})
	if err != nil {
		return err
	}
	return publish(ctx, b, events.HostSubject(events.Cancel, j.Host), ev)
}

// Next returns the job's next event, progress included. It blocks until there
// is one, or ctx ends.
func (j *Job) Next(ctx context.Context) (event.Event, error) { return j.sub.Next(ctx) }

// Close ends the following; the job goes on.
func (j *Job) Close() { j.sub.Close() }

// send publishes a request and returns its job on the host. Following comes
// first: what is published afterwards cannot be missed.
func send(ctx context.Context, b *bus.Bus, subject, host, id string, ev event.Event) (*Job, error) {
	job, err := follow(ctx, b, host, id, ev)
	if err != nil {
		return nil, err
	}
	if err := publish(ctx, b, subject, ev); err != nil {
		job.Close()
		return nil, err
	}
	return job, nil
}

// follow follows a job on a host, on behalf of a request.
func follow(ctx context.Context, b *bus.Bus, host, id string, request event.Event) (*Job, error) {
	sub, err := b.Follow(ctx, host, id)
	if err != nil {
		return nil, fmt.Errorf("follow job %s: %w", id, err)
	}
	return &Job{ID: id, Host: host, Request: request.ID(), sub: sub}, nil
}

// request makes a request with an id of its own.
func request(kind events.Kind, data any) (event.Event, error) {
	ev := event.New()
	ev.SetID(uuid.NewString())
	ev.SetSource(Source)
	ev.SetType(kind.RequestType())
	if err := ev.SetData(event.ApplicationJSON, data); err != nil {
		return ev, fmt.Errorf("encode the request: %w", err)
	}
	return ev, nil
}

func publish(ctx context.Context, b *bus.Bus, subject string, ev event.Event) error {
	if _, err := b.PublishRequest(ctx, subject, ev); err != nil {
		return fmt.Errorf("publish the request: %w", err)
	}
	return nil
}
