//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bench"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/provision"
)

const (
	// loadSource is the CloudEvents source of the requests.
	loadSource = "/holdfast/load"
	// stall is how long no job ends before nothing is waited for any more.
	stall = 3 * time.Minute
)

// link is an outsider's way to the message servers: a publisher, and an observer.
type link struct {
	nc  *nats.Conn
	js  jetstream.JetStream
	bus *bus.Bus
}

// connect returns a link that ends with the part, if it was not closed before.
func (l *lab) connect(ctx context.Context, s *servers) (*link, error) {
	nc, err := nats.Connect(s.url(), nats.UserInfo(serverUser, serverPassword), nats.Name("benchmark"), nats.MaxReconnects(-1))
	if err != nil {
		return nil, err
	}
	k := &link{nc: nc}
	l.atEnd(func(context.Context) error { return k.close() })
	if k.js, err = jetstream.New(nc); err != nil {
		return nil, err
	}
	options := s.busOptions()
	options.Name = "benchmark"
	k.bus, err = bus.Connect(ctx, options)
	return k, err
}

// network starts n servers, connects to them, makes the streams of the contract,
// with as many replicas, and enrols the hosts.
func (l *lab) network(ctx context.Context, n int, hosts ...string) (*servers, *link, error) {
	s, err := l.startServers(ctx, n)
	if err != nil {
		return nil, nil, err
	}
	k, err := l.connect(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	bench.Say("enrolling %d hosts on %d servers", len(hosts), n)
	return s, k, k.provision(ctx, n, hosts)
}

// close disconnects. A second call does nothing.
func (k *link) close() error {
	k.nc.Close()
	if k.bus == nil {
		return nil
	}
	return k.bus.Close()
}

// provisionBound is how long the servers of a cluster may take to elect a leader.
const provisionBound = time.Minute

// provision makes the streams of the contract and enrols the hosts.
func (k *link) provision(ctx context.Context, replicas int, hosts []string) error {
	var err error
	done := bench.Until(ctx, provisionBound, func() bool {
		_, err = provision.Run(ctx, k.bus, provision.Options{Hosts: hosts, Replicas: replicas})
		return err == nil
	})
	if !done {
		return errors.Join(err, ctx.Err())
	}
	return nil
}

// order is one request to be: the containers of a host, or all of them.
type order struct {
	id, host   string
	containers []string
}

// job is the id of the job that becomes of it.
func (o order) job() string { return events.JobID(loadSource, o.id, o.host) }

// send publishes a request, and returns when the server has stored it.
func (k *link) send(ctx context.Context, o order) error {
	selector := events.ContainerSelector{Names: o.containers, All: len(o.containers) == 0}
	body, err := json.Marshal(map[string]any{
		"specversion": "1.0", "id": o.id, "source": loadSource, "type": events.Backup.RequestType(),
		"data": events.BackupRequest{Containers: &selector},
	})
	if err != nil {
		return err
	}
	_, err = k.js.Publish(ctx, events.HostSubject(events.Backup, o.host), body, jetstream.WithRetryAttempts(10))
	if err != nil {
		return fmt.Errorf("publish request %s: %w", o.id, err)
	}
	return nil
}

// publish sends the orders from several publishers, each of which waits for the
// server. With an interval the orders are due one interval after another.
func (k *link) publish(ctx context.Context, w *watch, publishers int, orders []order, interval time.Duration) error {
	began := time.Now()
	errs := make([]error, publishers)
	var group sync.WaitGroup
	for p := range publishers {
		group.Go(func() {
			for i := p; i < len(orders) && errs[p] == nil; i += publishers {
				due := began.Add(time.Duration(i) * interval)
				if errs[p] = bench.Pause(ctx, time.Until(due)); errs[p] == nil {
					w.expect(orders[i].job(), time.Now())
					errs[p] = k.send(ctx, orders[i])
					w.stored(orders[i].job(), time.Now())
				}
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// moments are when a job went on, as an observer hears of it.
type moments struct {
	published, stored, accepted, ended time.Time
}

// watch hears the events of all hosts as they are published. It may be used by
// several goroutines.
type watch struct {
	// onEnd is called when a job has ended, one call at a time, before wait returns
	// for it. It may be nil.
	onEnd func()

	mu    sync.Mutex
	jobs  map[string]*moments
	ended int
	heard chan struct{} // says that there is something new
}

// watch hears all events from now on, until the link is closed.
func (k *link) watch(onEnd func()) (*watch, error) {
	w := &watch{onEnd: onEnd, jobs: map[string]*moments{}, heard: make(chan struct{}, 1)}
	sub, err := k.nc.Subscribe(events.EventSubject("*", "*", ">"), func(m *nats.Msg) { w.hear(m.Subject, time.Now()) })
	if err != nil {
		return nil, err
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, err
	}
	return w, k.nc.Flush()
}

func (w *watch) expect(job string, published time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.jobs[job] = &moments{published: published}
}

// stored notes when the publisher had the server's acknowledgement.
func (w *watch) stored(job string, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.jobs[job].stored = at
}

// hear takes the event on this subject. What comes again changes nothing.
func (w *watch) hear(subject string, at time.Time) {
	job, eventType := parseEventSubject(subject)
	w.mu.Lock()
	m := w.jobs[job]
	ends := m != nil && events.Terminal(eventType) && m.ended.IsZero()
	switch {
	case m == nil:
	case eventType == events.Backup.ResultType(events.ResultAccepted) && m.accepted.IsZero():
		m.accepted = at
	case ends:
		m.ended = at
	}
	w.mu.Unlock()
	if !ends {
		return
	}
	if w.onEnd != nil {
		w.onEnd()
	}
	w.mu.Lock()
	w.ended++
	w.mu.Unlock()
	select {
	case w.heard <- struct{}{}:
	default:
	}
}

// parseEventSubject returns the job and the type of an event.
func parseEventSubject(subject string) (job, eventType string) {
	// holdfast.evt.<host>.<job>.<short type>
	parts := strings.SplitN(subject, ".", 5)
	if len(parts) < 5 {
		return "", ""
	}
	return parts[3], events.TypePrefix + parts[4] + ".v1"
}

// wait returns when n jobs have ended.
func (w *watch) wait(ctx context.Context, n int) error {
	for {
		w.mu.Lock()
		ended := w.ended
		w.mu.Unlock()
		if ended >= n {
			return nil
		}
		select {
		case <-w.heard:
		case <-time.After(stall):
			return fmt.Errorf("no job has ended for %s; %d of %d have", stall, ended, n)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// of returns the moments of the jobs of these orders. It is called when all have
// ended.
func (w *watch) of(orders []order) []moments {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([]moments, len(orders))
	for i, o := range orders {
		all[i] = *w.jobs[o.job()]
	}
	return all
}

// span is from the first publication to the last end.
func span(all []moments) time.Duration {
	first, last := all[0].published, all[0].ended
	for _, m := range all {
		if m.published.Before(first) {
			first = m.published
		}
		if m.ended.After(last) {
			last = m.ended
		}
	}
	return last.Sub(first)
}
