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
	"holdfast.io/holdfast/internal/bus/fleet"
	"holdfast.io/holdfast/internal/bus/read"
)

// Client asks for work over a bus. It may be used by several goroutines.
type Client struct {
	Bus *bus.Bus
	// Source is the CloudEvents source of its requests, such as /holdfast/cli.
	Source string
}

// Job is a request that was published, as one host carries it out.
type Job struct {
	// ID is the job's id, Host the host that does it.
	ID, Host string
	// Request is the request's own id.
	Request string

	client Client
	events *read.Subscription
}

// Request publishes a request of a kind to a host, or with [AnyHost] to whichever is
// free, with data as its schema says, and returns the job to follow. The request is
// stored when Request returns. It refuses a host that no worker ever served. The
// caller closes the job.
func (c Client) Request(ctx context.Context, kind events.Kind, host string, data any) (*Job, error) {
	if host == AnyHost {
		ev, err := c.request(kind, data)
		if err != nil {
			return nil, err
		}
		return c.send(ctx, events.AnySubject(kind), AnyHost, events.JobID(c.Source, ev.ID(), events.HostAny), ev)
	}
	enrolled, err := fleet.Of(c.Bus).IsEnrolled(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("ask who serves host %s: %w", host, err)
	}
	if !enrolled {
		return nil, fmt.Errorf("no worker has ever served a host %q here: check the name, and that holdfast serve runs there", host)
	}
	ev, err := c.request(kind, data)
	if err != nil {
		return nil, err
	}
	return c.send(ctx, events.HostSubject(kind, host), host, events.JobID(c.Source, ev.ID(), host), ev)
}

// Cancel asks the job's host to cancel it. The job's own terminal event tells
// when that is done.
func (j *Job) Cancel(ctx context.Context) error {
	ev, err := j.client.request(events.Cancel, events.CancelRequest{Job: j.ID})
	if err != nil {
		return err
	}
	return j.client.publish(ctx, events.HostSubject(events.Cancel, j.Host), ev)
}

// Next returns the job's next event, progress included. It blocks until there
// is one, or ctx ends.
func (j *Job) Next(ctx context.Context) (event.Event, error) { return j.events.Next(ctx) }

// Close ends the following; the job goes on.
func (j *Job) Close() { j.events.Close() }

// send publishes a request and returns its job on the host. Following comes
// first: what is published afterwards cannot be missed.
func (c Client) send(ctx context.Context, subject, host, id string, ev event.Event) (*Job, error) {
	job, err := c.follow(ctx, host, id, ev)
	if err != nil {
		return nil, err
	}
	if err := c.publish(ctx, subject, ev); err != nil {
		job.Close()
		return nil, err
	}
	return job, nil
}

// follow follows a job on a host, on behalf of a request.
func (c Client) follow(ctx context.Context, host, id string, request event.Event) (*Job, error) {
	sub, err := read.Follow(ctx, c.Bus, host, id)
	if err != nil {
		return nil, fmt.Errorf("follow job %s: %w", id, err)
	}
	return &Job{ID: id, Host: host, Request: request.ID(), client: c, events: sub}, nil
}

// request makes a request with an id of its own.
func (c Client) request(kind events.Kind, data any) (event.Event, error) {
	ev := event.New()
	ev.SetID(uuid.NewString())
	ev.SetSource(c.Source)
	ev.SetType(kind.RequestType())
	if err := ev.SetData(event.ApplicationJSON, data); err != nil {
		return ev, fmt.Errorf("encode the request: %w", err)
	}
	return ev, nil
}

func (c Client) publish(ctx context.Context, subject string, ev event.Event) error {
	if _, err := c.Bus.PublishRequest(ctx, subject, ev); err != nil {
		return fmt.Errorf("publish the request: %w", err)
	}
	return nil
}
