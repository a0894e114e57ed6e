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

// Job is a request that was published to one host.
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
	id := uuid.NewString()
	job := &Job{ID: events.JobID(Source, id, host), Host: host, Request: id}
	// Follow first: what is published afterwards cannot be missed.
	if job.sub, err = b.Follow(ctx, host, job.ID); err != nil {
		return nil, fmt.Errorf("follow job %s: %w", job.ID, err)
	}
	if err := publish(ctx, b, events.Backup, host, id, data); err != nil {
		job.Close()
		return nil, err
	}
	return job, nil
}

// Cancel asks the job's host to cancel it. The job's own terminal event tells
// when that is done.
func (j *Job) Cancel(ctx context.Context, b *bus.Bus) error {
	return publish(ctx, b, events.Cancel, j.Host, uuid.NewString(), events.CancelRequest{Job: j.ID})
}

// Next returns the job's next event, progress included. It blocks until there
// is one, or ctx ends.
func (j *Job) Next(ctx context.Context) (event.Event, error) { return j.sub.Next(ctx) }

// Close ends the following; the job goes on.
func (j *Job) Close() { j.sub.Close() }

func publish(ctx context.Context, b *bus.Bus, kind events.Kind, host, id string, data any) error {
	ev := event.New()
	ev.SetID(id)
	ev.SetSource(Source)
	ev.SetType(kind.RequestType())
	if err := ev.SetData(event.ApplicationJSON, data); err != nil {
		return fmt.Errorf("encode the request: %w", err)
	}
	if _, err := b.PublishRequest(ctx, events.HostSubject(kind, host), ev); err != nil {
		return fmt.Errorf("publish the request to host %s: %w", host, err)
	}
	return nil
}
