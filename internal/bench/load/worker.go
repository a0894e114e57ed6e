//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bench"
	"holdfast.io/holdfast/internal/bus/fleet"
)

// What one worker is asked to do.
const (
	workerSlots      = 8
	workerContainers = 50
	workerPublishers = 3
)

// workerFigures is what was measured of one worker.
type workerFigures struct {
	containers     int
	publish, carry time.Duration
	samples        []sample // at the beginning, and after each end of a job
	peak           int64
	to, from       int64 // messages to and from the server
	ledger         ledger
	audit          *audit
	right          int // points whose digests are right
}

// sample is a process at one moment.
type sample struct {
	cpu      time.Duration
	resident int64
}

func sampleOf(p bench.Process) (s sample, err error) {
	if s.cpu, err = p.CPU(); err != nil {
		return s, err
	}
	s.resident, err = p.Resident()
	return s, err
}

// oneWorker has one worker on the machine's Engine carry out n requests.
func (l *lab) oneWorker(ctx context.Context, n int) ([]table, error) {
	host := "load-" + l.run
	server, k, err := l.network(ctx, 1, host)
	if err != nil {
		return nil, err
	}
	containers, err := l.containers(ctx, min(n, workerContainers))
	if err != nil {
		return nil, err
	}
	h, err := l.workerOf(server, host, "worker", workerSlots)
	if err != nil {
		return nil, err
	}
	w, err := l.serveHost(ctx, k, h, host)
	if err != nil {
		return nil, err
	}
	l.atEnd(func(context.Context) error { return w.Stop() })
	orders := make([]order, n)
	for i := range orders {
		orders[i] = order{id: strconv.Itoa(i), host: host, containers: []string{containers[i%len(containers)]}}
	}
	f := &workerFigures{containers: len(containers)}
	if err := f.measure(ctx, k, server.all[0], w, orders); err != nil {
		return nil, err
	}
	bench.Say("verifying %d points", len(f.audit.stored))
	if f.right, err = verify(ctx, h.Sink, f.audit.stored); err == nil && f.right < n {
		err = fmt.Errorf("%d of %d points are right", f.right, n)
	}
	if err == nil {
		err = f.audit.err()
	}
	return f.tables(), err
}

// containers starts small containers, which are removed at the end, and returns
// their names.
func (l *lab) containers(ctx context.Context, n int) (names []string, err error) {
	f, err := l.images(ctx)
	if err != nil {
		return nil, err
	}
	image, err := f.Base(ctx)
	if err != nil {
		return nil, err
	}
	bench.Say("starting %d containers", n)
	for i := range n {
		name, err := f.Container(ctx, image, strconv.Itoa(i), 0)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

// serveHost starts a worker, and waits until it serves the host or stands by.
func (l *lab) serveHost(ctx context.Context, k *link, h *bench.Holdfast, host string) (*bench.Worker, error) {
	before, err := fleet.Of(k.bus).Hosts(ctx, []string{host}, time.Second)
	if err != nil {
		return nil, err
	}
	w, err := h.Launch(ctx)
	if err != nil {
		return nil, err
	}
	known := func(s events.HostStatus) bool { // the dead do not answer, so whoever is new is this one
		return slices.ContainsFunc(before, func(b events.HostStatus) bool { return b.Owner == s.Owner })
	}
	err = w.Await(ctx, func() bool {
		now, err := fleet.Of(k.bus).Hosts(ctx, []string{host}, time.Second)
		settled := slices.ContainsFunc(now, func(s events.HostStatus) bool { return s.Role == events.RoleServing })
		return err == nil && settled && slices.ContainsFunc(now, func(s events.HostStatus) bool { return !known(s) })
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// measure has the orders carried out.
func (f *workerFigures) measure(ctx context.Context, k *link, server *messageServer, w *bench.Worker, orders []order) error {
	begin, err := sampleOf(w.Process)
	if err != nil {
		return err
	}
	f.samples = []sample{begin}
	watch, err := k.watch(func() {
		s, err := sampleOf(w.Process)
		if err != nil { // it has died; that shows by itself
			return
		}
		f.samples = append(f.samples, s)
	})
	if err != nil {
		return err
	}
	before, err := server.trafficWith(ctx, "holdfast")
	if err != nil {
		return err
	}
	bench.Say("%d requests from %d publishers", len(orders), workerPublishers)
	began := time.Now()
	if err := k.publish(ctx, watch, workerPublishers, orders, 0); err != nil {
		return err
	}
	f.publish = time.Since(began)
	if err := watch.wait(ctx, len(orders)); err != nil {
		return err
	}
	f.carry = span(watch.of(orders))
	after, err := server.trafficWith(ctx, "holdfast")
	if err != nil {
		return err
	}
	f.to, f.from = after.In-before.In, after.Out-before.Out
	if f.peak, err = w.Peak(); err != nil {
		return err
	}
	if f.ledger, err = k.ledger(ctx); err != nil {
		return err
	}
	f.audit, err = k.audit(ctx, orders)
	return err
}

func (f *workerFigures) tables() []table {
	jobs := f.audit.jobs
	perJob := func(n int64) string { return fmt.Sprintf("%.1f", float64(n)/float64(jobs)) }
	step := func(figure func(events.Durations) int64) string {
		return fmt.Sprintf("%d", bench.Median(bench.Each(f.audit.stored,
			func(c events.BackupItemCompleted) int64 { return figure(c.DurationsMillis) })))
	}
	figures := table{
		{fmt.Sprintf("one worker, %d slots: %d requests for %d containers", workerSlots, jobs, f.containers), ""},
		{fmt.Sprintf("publishing, %d publishers", workerPublishers), bench.Seconds(f.publish)},
		{"first published → last ended", bench.Seconds(f.carry)},
		{"jobs/s", fmt.Sprintf("%.1f", float64(jobs)/f.carry.Seconds())},
		{"median ms: inspect, commit, save, publish, remove", fmt.Sprintf("%s, %s, %s, %s, %s",
			step(func(d events.Durations) int64 { return d.Inspect }), step(func(d events.Durations) int64 { return d.Commit }),
			step(func(d events.Durations) int64 { return d.Save }), step(func(d events.Durations) int64 { return d.Publish }),
			step(func(d events.Durations) int64 { return d.Remove }))},
		{"jobs with exactly one terminal event", f.audit.endings()},
		{"jobs that succeeded", ofAll(f.audit.succeeded, jobs)},
		{"points with the right digests", ofAll(f.right, len(f.audit.stored))},
		{"events/job", perJob(int64(f.audit.events))},
		{"messages/job, worker → server", perJob(f.to)},
		{"messages/job, server → worker", perJob(f.from)},
		{"ledger entries/job, written", perJob(int64(f.ledger.writes))},
		{"ledger entries/job, kept", perJob(int64(f.ledger.entries))},
		{"ledger bytes/job, kept", perJob(int64(f.ledger.bytes))},
	}
	return []table{figures, f.processTable()}
}

// processTable shows the worker in the first tenth of the jobs, in the fifth and
// in the last.
func (f *workerFigures) processTable() table {
	n := len(f.samples) - 1
	width := max(1, n/10)
	head, cpu, resident := []string{"the worker at jobs"}, []string{"CPU time/job"}, []string{"resident memory, median"}
	for _, from := range []int{0, n * 4 / 10, n - width} {
		window := f.samples[from : from+width+1]
		head = append(head, fmt.Sprintf("%d–%d", from+1, from+width))
		cpu = append(cpu, bench.Millis((window[width].cpu-window[0].cpu)/time.Duration(width)))
		resident = append(resident, bench.Mebibytes(bench.Median(bench.Each(window[1:], func(s sample) int64 { return s.resident }))))
	}
	return table{append(head, "most"), append(cpu, bench.None), append(resident, bench.Mebibytes(f.peak))}
}
