// Package unserved reports requests that lie for a host that no worker serves:
// their publisher has the server's acknowledgement, and nobody who would do them.
package unserved

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus/fleet"
)

const (
	// patience is how long a request lies, and its host is not served, before that
	// is reported: a takeover takes less.
	patience = time.Minute
	// interval is the mean time between two looks.
	interval = 30 * time.Second
	// maxReports bounds the reports of one look for each host. The next look goes
	// on where this one ended.
	maxReports = 100
)

// Queue is where requests lie. Its methods may report errors that pass; see
// [fleet.Fleet], which implements it.
type Queue interface {
	// WaitingHosts returns the hosts that requests lie for.
	WaitingHosts(ctx context.Context) ([]string, error)
	// LockedHosts returns the hosts that are served.
	LockedHosts(ctx context.Context) ([]string, error)
	// NextWaiting returns the oldest request for a host after a sequence, or nil.
	NextWaiting(ctx context.Context, host string, after uint64) (*fleet.WaitingRequest, error)
	// PublishEvent returns when the event is stored. An event with the same id is
	// stored once within two minutes.
	PublishEvent(ctx context.Context, subject string, ev event.Event) error
}

// Watcher looks for requests that nobody serves, on behalf of the worker that
// serves a host. All watchers of a fleet agree on who reports what, so that each
// request is reported once; when workers come or go it can be reported again,
// under the same id.
type Watcher struct {
	// Host is the host that the worker serves.
	Host  string
	Queue Queue
	Log   *zap.Logger

	hosts map[string]absence
}

// Run looks every 15 to 45 s until ctx ends. Where no requests lie, a look is one
// exchange with the server. It is run while the worker holds its host's lock.
func (w *Watcher) Run(ctx context.Context) {
	for {
		select {
		case <-time.After(interval/2 + rand.N(interval)):
		case <-ctx.Done():
			return
		}
		if err := w.look(ctx); err != nil && ctx.Err() == nil {
			w.Log.Debug("it cannot be seen whether requests lie for hosts that nobody serves; looking again later", zap.Error(err))
		}
	}
}

// look looks once, and reports what is due.
func (w *Watcher) look(ctx context.Context) error {
	queued, err := w.Queue.WaitingHosts(ctx)
	if err != nil {
		return err
	}
	if len(queued) == 0 {
		w.hosts = nil
		return nil
	}
	locked, err := w.Queue.LockedHosts(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	var due []string
	w.hosts, due = decide(now, w.Host, queued, locked, w.hosts)
	for _, host := range due {
		if err := w.report(ctx, host, now.Add(-patience)); err != nil {
			return err
		}
	}
	return nil
}

// report reports the requests for a host that were stored before a time, and not
// reported before.
func (w *Watcher) report(ctx context.Context, host string, before time.Time) error {
	for range maxReports {
		q, err := w.Queue.NextWaiting(ctx, host, w.hosts[host].reported)
		if err != nil || q == nil || q.Time.After(before) {
			return err
		}
		// What no worker could read has no job to be reported of.
		if request, err := events.Decode(q.Headers, q.Body); err == nil {
			if err := w.publish(ctx, host, q, request); err != nil {
				return err
			}
		}
		state := w.hosts[host]
		state.reported = q.Sequence
		w.hosts[host] = state
	}
	return nil
}

func (w *Watcher) publish(ctx context.Context, host string, q *fleet.WaitingRequest, request event.Event) error {
	job := events.JobID(request.Source(), request.ID(), host)
	ev := events.NewResult(time.Now(), w.Host, job, request, events.TypeRequestUnserved, job, "", events.RequestUnserved{
		Host: host, Job: job, Subject: q.Subject, Since: q.Time.UTC(), Reporter: w.Host,
	})
	if err := w.Queue.PublishEvent(ctx, events.EventSubject(w.Host, job, ev.Type()), ev); err != nil {
		return err
	}
	w.Log.Warn("a request lies for a host that no worker serves", zap.String("host", host), zap.String("job", job), zap.Time("since", q.Time))
	return nil
}
