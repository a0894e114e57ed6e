//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"holdfast.io/holdfast/internal/bench"
)

const (
	// fleetServers make the cluster, and each keeps every stream.
	fleetServers = 3
	// fleetPublishers are so many that it is not they who set the pace.
	fleetPublishers = 64
	// fullShare of five requests come at full speed, the rest at half of it.
	fullShare = 4
)

// fleet has simulated hosts on a cluster carry out n requests.
func (l *lab) fleet(ctx context.Context, n int) ([]table, error) {
	names := hostNames(l.hosts)
	cluster, k, err := l.network(ctx, fleetServers, names...)
	if err != nil {
		return nil, err
	}
	h, err := l.simulate(ctx, k, cluster, names, hostContainers)
	if err != nil {
		return nil, err
	}
	f := &fleetFigures{hosts: l.hosts}
	if err := f.measure(ctx, k, cluster, fleetOrders(n, names)); err != nil {
		return nil, errors.Join(err, h.failure())
	}
	return []table{f.speed(), f.latency()}, errors.Join(f.audit.err(), h.failure())
}

// fleetOrders are n requests to the hosts in turn.
func fleetOrders(n int, hosts []string) []order {
	orders := make([]order, n)
	for i := range orders {
		orders[i] = order{id: strconv.Itoa(i), host: hosts[i%len(hosts)], containers: []string{containerName(i / len(hosts))}}
	}
	return orders
}

// fleetFigures is what was measured of a fleet at work.
type fleetFigures struct {
	hosts int
	// restServers and restSelf are what the servers and the hosts use while nobody asks for anything, in
	// CPU time for each second.
	restServers, restSelf time.Duration
	// What follows is of the requests at full speed.
	full            []moments
	publish         time.Duration
	serverCPU, self time.Duration
	// The others came one each interval.
	half     []moments
	interval time.Duration
	audit    *audit // of all
}

// measure has the orders carried out.
func (f *fleetFigures) measure(ctx context.Context, k *link, cluster *servers, orders []order) error {
	watch, err := k.watch(nil)
	if err != nil {
		return err
	}
	if err := f.atRest(ctx, cluster); err != nil {
		return err
	}
	full := len(orders) * fullShare / 5
	if err := f.atFullSpeed(ctx, k, cluster, watch, orders[:full]); err != nil {
		return err
	}
	f.interval = 2 * span(f.full) / time.Duration(full)
	half := orders[full:]
	bench.Say("%d requests, one each %s", len(half), f.interval)
	if err := k.publish(ctx, watch, fleetPublishers, half, f.interval); err != nil {
		return err
	}
	if err := watch.wait(ctx, len(orders)); err != nil {
		return err
	}
	f.half = watch.of(half)
	f.audit, err = k.audit(ctx, orders)
	return err
}

// fleetRest is how long the fleet is left alone.
const fleetRest = 5 * time.Second

func (f *fleetFigures) atRest(ctx context.Context, cluster *servers) error {
	servers, own, err := cpuTimes(cluster)
	if err != nil {
		return err
	}
	if err := bench.Pause(ctx, fleetRest); err != nil {
		return err
	}
	serversAfter, ownAfter, err := cpuTimes(cluster)
	seconds := fleetRest / time.Second
	f.restServers, f.restSelf = (serversAfter-servers)/seconds, (ownAfter-own)/seconds
	return err
}

// cpuTimes returns the CPU time of all servers, and of this process.
func cpuTimes(cluster *servers) (servers, own time.Duration, err error) {
	if servers, err = cluster.cpu(); err != nil {
		return 0, 0, err
	}
	own, err = bench.Process(os.Getpid()).CPU()
	return servers, own, err
}

func (f *fleetFigures) atFullSpeed(ctx context.Context, k *link, cluster *servers, watch *watch, orders []order) error {
	bench.Say("%d requests at full speed", len(orders))
	servers, own, err := cpuTimes(cluster)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := k.publish(ctx, watch, fleetPublishers, orders, 0); err != nil {
		return err
	}
	f.publish = time.Since(began)
	if err := watch.wait(ctx, len(orders)); err != nil {
		return err
	}
	f.full = watch.of(orders)
	serversAfter, ownAfter, err := cpuTimes(cluster)
	f.serverCPU, f.self = serversAfter-servers, ownAfter-own
	return err
}

func (f *fleetFigures) speed() table {
	took, jobs := span(f.full), time.Duration(len(f.full))
	return table{
		{fmt.Sprintf("%d hosts, %d servers, %d replicas", f.hosts, fleetServers, fleetServers), ""},
		{fmt.Sprintf("publishing %d requests, %d publishers", jobs, fleetPublishers), bench.Seconds(f.publish)},
		{"first published → last ended", bench.Seconds(took)},
		{"jobs/s", fmt.Sprintf("%.1f", float64(jobs)/took.Seconds())},
		{"at rest: CPU ms/s, all servers", bench.Millis(f.restServers)},
		{"at rest: CPU ms/s, hosts and publishers (one process)", bench.Millis(f.restSelf)},
		{"CPU time/job, all servers", bench.Millis(f.serverCPU / jobs)},
		{"CPU time/job, hosts and publishers (one process)", bench.Millis(f.self / jobs)},
		{"events/job", fmt.Sprintf("%.1f", float64(f.audit.events)/float64(f.audit.jobs))},
		{"jobs with exactly one terminal event", f.audit.endings()},
		{"jobs that succeeded", ofAll(f.audit.succeeded, f.audit.jobs)},
	}
}

func (f *fleetFigures) latency() table {
	row := func(name string, figure func(m moments) time.Duration) []string {
		values := bench.Each(f.half, figure)
		return []string{name, bench.Millis(bench.Median(values)), bench.Millis(bench.Quantile(values, 0.99))}
	}
	return table{
		{fmt.Sprintf("latency, %d requests at %.1f/s", len(f.half), 1/f.interval.Seconds()), "median", "99th percentile"},
		row("published → acknowledged to the publisher", func(m moments) time.Duration { return m.stored.Sub(m.published) }),
		row("published → accepted event received", func(m moments) time.Duration { return m.accepted.Sub(m.published) }),
		row("published → completed event received", func(m moments) time.Duration { return m.ended.Sub(m.published) }),
	}
}
