//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bench"
)

const (
	// takeoverContainers are in each job, one after another.
	takeoverContainers = 4
	takeoverGoal       = 15 * time.Second
)

// takeover is how long a job lay after its worker's death.
type takeover struct {
	next, end time.Duration // until its next event, and until its end
}

// pair is a host's worker that serves, and the one that stands by.
type pair struct {
	lab              *lab
	link             *link
	host             string
	serving, standby member
}

type member struct {
	program *bench.Holdfast
	worker  *bench.Worker
}

// takeovers kills the worker that serves, n times, each in the midst of a job.
func (l *lab) takeovers(ctx context.Context, n int) ([]table, error) {
	host := "load-" + l.run
	server, k, err := l.network(ctx, 1, host)
	if err != nil {
		return nil, err
	}
	p := &pair{lab: l, link: k, host: host}
	containers, err := l.containers(ctx, takeoverContainers)
	if err != nil {
		return nil, err
	}
	if err := p.start(ctx, server); err != nil {
		return nil, err
	}
	var all []takeover
	var orders []order
	for i := range n {
		bench.Say("death %d of %d", i+1, n)
		o := order{id: strconv.Itoa(i), host: p.host, containers: containers}
		t, err := p.die(ctx, o)
		if err != nil {
			return nil, fmt.Errorf("death %d: %w", i+1, err)
		}
		all, orders = append(all, t), append(orders, o)
	}
	a, err := k.audit(ctx, orders)
	if err != nil {
		return nil, err
	}
	paused, err := l.Docker(ctx, "ps", "--quiet", "--filter", "status=paused", "--filter", "label="+bench.Label+"="+l.run)
	if err != nil {
		return nil, err
	}
	if err = a.err(); err == nil && paused != "" {
		err = fmt.Errorf("containers are left paused: %s", paused)
	}
	return []table{takeoverTable(all, a, len(strings.Fields(paused)))}, err
}

// start starts both workers, which share a sink.
func (p *pair) start(ctx context.Context, server *servers) error {
	var sink string
	for i, m := range []*member{&p.serving, &p.standby} {
		h, err := p.lab.workerOf(server, p.host, "worker-"+strconv.Itoa(i), 1)
		if err != nil {
			return err
		}
		if sink == "" {
			sink = h.Sink
		}
		h.Sink, m.program = sink, h
		if m.worker, err = p.lab.serveHost(ctx, p.link, h, p.host); err != nil {
			return err
		}
		p.lab.atEnd(func(context.Context) error { return m.worker.Stop() })
	}
	return nil
}

// die has a job begun, kills its worker when the first of its items has ended,
// and follows the job to its end. Afterwards the dead worker stands by.
func (p *pair) die(ctx context.Context, o order) (t takeover, err error) {
	heard := make(chan *nats.Msg, 1024)
	sub, err := p.link.nc.ChanSubscribe(events.EventSubject(p.host, o.job(), ">"), heard)
	if err != nil {
		return t, err
	}
	defer func() { _ = sub.Unsubscribe() }() // it ends with the connection at the latest
	if err := p.link.send(ctx, o); err != nil {
		return t, err
	}
	stored := func(eventType string) bool { return eventType == events.Backup.ResultType(events.ResultItemCompleted) }
	if _, err := hearOf(ctx, heard, stored); err != nil {
		return t, err
	}
	if err := p.serving.worker.Kill(); err != nil {
		return t, err
	}
	killed := time.Now()
	if err := p.drain(heard); err != nil {
		return t, err
	}
	if t, err = follow(ctx, heard, killed); err != nil {
		return t, err
	}
	p.serving, p.standby = p.standby, p.serving
	w, err := p.lab.serveHost(ctx, p.link, p.standby.program, p.host)
	if err == nil {
		p.standby.worker = w
	}
	return t, err
}

// drain takes what the dead worker had still said.
func (p *pair) drain(heard chan *nats.Msg) error {
	if err := p.link.nc.Flush(); err != nil {
		return err
	}
	for len(heard) > 0 {
		if m := <-heard; terminal(m) {
			return fmt.Errorf("the job had ended when its worker was killed")
		}
	}
	return nil
}

func terminal(m *nats.Msg) bool {
	_, eventType := parseEventSubject(m.Subject)
	return events.Terminal(eventType)
}

// follow waits for the job's next event, and for its end.
func follow(ctx context.Context, heard chan *nats.Msg, killed time.Time) (t takeover, err error) {
	next, err := hearOf(ctx, heard, func(string) bool { return true })
	if err != nil {
		return t, err
	}
	t.next = time.Since(killed)
	if !terminal(next) {
		_, err = hearOf(ctx, heard, events.Terminal)
	}
	t.end = time.Since(killed)
	return t, err
}

// hearOf waits for an event of such a type.
func hearOf(ctx context.Context, heard chan *nats.Msg, is func(eventType string) bool) (*nats.Msg, error) {
	for {
		select {
		case m := <-heard:
			if _, eventType := parseEventSubject(m.Subject); is(eventType) {
				return m, nil
			}
		case <-time.After(stall):
			return nil, fmt.Errorf("no event of the job comes for %s", stall)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func takeoverTable(all []takeover, a *audit, paused int) table {
	row := func(name, goal string, figure func(t takeover) time.Duration) []string {
		values := bench.Each(all, figure)
		return []string{name, bench.Seconds(bench.Median(values)), bench.Seconds(slices.Max(values)), goal}
	}
	return table{
		{fmt.Sprintf("a worker is killed in a job of %d containers, %d times; another stands by", takeoverContainers, len(all)),
			"median", "worst", "goal"},
		row("death → the job's next event", fmt.Sprintf("≤ %.0f s", takeoverGoal.Seconds()),
			func(t takeover) time.Duration { return t.next }),
		row("death → the job's end", "", func(t takeover) time.Duration { return t.end }),
		{"jobs with exactly one terminal event", a.endings(), "", ""},
		{"jobs that succeeded", ofAll(a.succeeded, a.jobs), "", ""},
		{"containers left paused", strconv.Itoa(paused), "", ""},
	}
}
