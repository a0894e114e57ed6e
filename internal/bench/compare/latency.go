//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/read"
	"holdfast.io/holdfast/internal/docker"
	"holdfast.io/holdfast/internal/state"
)

// requests is how many requests the latency is measured over.
const requests = 200

// latency is how long a request took, from the moment before it was published.
type latency struct {
	accepted  time.Duration // until the event that it is accepted was received
	committed time.Duration // until the Engine reported the pause
	inspected time.Duration // of it, to watch the container and inspect it
	// pause is how long the Engine took right after it to pause the same container by a
	// call alone.
	pause time.Duration
}

// measureLatency has a container backed up again and again, one request after
// another, and has the Engine pause it by itself in between.
func measureLatency(ctx context.Context, end state.Endpoint, container string) ([]latency, error) {
	b, err := bus.Connect(ctx, bus.Options{URL: end.URL, User: end.User, Password: end.Password, Name: "benchmark"})
	if err != nil {
		return nil, err
	}
	defer b.Close()
	engine, err := docker.Connect("")
	if err != nil {
		return nil, err
	}
	defer engine.Close()
	all := make([]latency, requests)
	for i := range all {
		if all[i], err = request(ctx, b, end.Host, container); err != nil {
			return nil, fmt.Errorf("request %d: %w", i, err)
		}
		if all[i].pause, err = pause(ctx, engine, container); err != nil {
			return nil, fmt.Errorf("after request %d: %w", i, err)
		}
	}
	return all, nil
}

// pause returns how long the Engine takes to pause a container.
func pause(ctx context.Context, engine *docker.Engine, container string) (time.Duration, error) {
	began := time.Now()
	if err := engine.Pause(ctx, container); err != nil {
		return 0, err
	}
	took := time.Since(began)
	return took, engine.Unpause(ctx, container)
}

// request publishes one request and follows its job to the end. It is not
// client.Backup, which does more than publish.
func request(ctx context.Context, b *bus.Bus, host, container string) (l latency, err error) {
	ev := event.New()
	ev.SetID(uuid.NewString())
	ev.SetSource("/holdfast/benchmark")
	ev.SetType(events.Backup.RequestType())
	data := events.BackupRequest{Containers: &events.ContainerSelector{Names: []string{container}}}
	if err := ev.SetData(event.ApplicationJSON, data); err != nil {
		return l, err
	}
	job, err := read.Follow(ctx, b, host, events.JobID(ev.Source(), ev.ID(), host))
	if err != nil {
		return l, err
	}
	defer job.Close()
	published := time.Now()
	if _, err := b.PublishRequest(ctx, events.HostSubject(events.Backup, host), ev); err != nil {
		return l, err
	}
	for {
		ev, err := job.Next(ctx)
		if err != nil {
			return l, err
		}
		switch ev.Type() {
		case events.Backup.ResultType(events.ResultAccepted):
			l.accepted = time.Since(published)
		case events.Backup.ResultType(events.ResultItemCompleted):
			var done events.BackupItemCompleted
			if err := ev.DataAs(&done); err != nil {
				return l, err
			}
			l.committed = done.SnapshotTime.Sub(published)
			l.inspected = time.Duration(done.DurationsMillis.Inspect) * time.Millisecond
		case events.Backup.ResultType(events.ResultCompleted):
			return l, nil
		case events.Backup.ResultType(events.ResultFailed), events.TypeRequestRejected:
			return l, fmt.Errorf("%s: %s", ev.Type(), ev.Data())
		}
	}
}
