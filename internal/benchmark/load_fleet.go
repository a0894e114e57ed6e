//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

const (
	// fleetServers make the cluster, and each keeps every stream.
	fleetServers    = 3
	fleetPublishers = 8
	// fullShare of five requests come at full speed, the rest at half of it.
	fullShare = 4
)

// fleet has simulated hosts on a cluster carry out n requests.
func (l *lab) fleet(ctx context.Context, n int) ([]table, error) {
	cluster, err := l.startServers(ctx, fleetServers)
	if err != nil {
		return nil, err
	}
	k, err := l.connect(ctx, cluster)
	if err != nil {
		return nil, err
	}
	names := hostNames(l.hosts)
	say("enrolling %d hosts on %d servers", l.hosts, fleetServers)
	if err := k.provision(ctx, fleetServers, names); err != nil {
		return nil, err
	}
	h, err := l.simulate(ctx, k, cluster, names)
	if err != nil {
		return nil, err
	}
	watch, err := k.watch(nil)
	if err != nil {
		return nil, err
	}
	orders := fleetOrders(n, names)
	full, half := orders[:n*fullShare/5], orders[n*fullShare/5:]
	say("%d requests at full speed", len(full))
	began := time.Now()
	if err := k.publish(ctx, watch, fleetPublishers, full, 0); err != nil {
		return nil, err
	}
	published := time.Since(began)
	if err := watch.wait(ctx, len(full)); err != nil {
		return nil, err
	}
	took := span(watch.of(full))
	interval := 2 * took / time.Duration(len(full))
	say("%d requests, one each %s", len(half), interval)
	if err := k.publish(ctx, watch, fleetPublishers, half, interval); err != nil {
		return nil, err
	}
	if err := watch.wait(ctx, len(orders)); err != nil {
		return nil, err
	}
	a, err := k.audit(ctx, orders)
	if err != nil {
		return nil, err
	}
	speed := table{
		{fmt.Sprintf("%d hosts, %d servers, %d replicas", l.hosts, fleetServers, fleetServers), ""},
		{fmt.Sprintf("publishing %d requests, %d publishers", len(full), fleetPublishers), seconds(published)},
		{"first published → last ended", seconds(took)},
		{"jobs/s", fmt.Sprintf("%.1f", float64(len(full))/took.Seconds())},
		{"events/job", fmt.Sprintf("%.1f", float64(a.events)/float64(n))},
		{"jobs with exactly one terminal event", a.endings()},
		{"jobs that succeeded", ofAll(a.succeeded, a.jobs)},
	}
	return []table{speed, latencyAtHalf(watch.of(half), interval)}, errors.Join(a.err(), h.failure())
}

// fleetOrders are n requests to the hosts in turn.
func fleetOrders(n int, hosts []string) []order {
	orders := make([]order, n)
	for i := range orders {
		orders[i] = order{id: strconv.Itoa(i), host: hosts[i%len(hosts)], containers: []string{containerName(i / len(hosts))}}
	}
	return orders
}

func latencyAtHalf(all []moments, interval time.Duration) table {
	row := func(name string, figure func(m moments) time.Duration) []string {
		values := each(all, figure)
		return []string{name, millis(median(values)), millis(quantile(values, 0.99))}
	}
	return table{
		{fmt.Sprintf("latency, %d requests at %.1f/s", len(all), 1/interval.Seconds()), "median", "99th percentile"},
		row("published → accepted event received", func(m moments) time.Duration { return m.accepted.Sub(m.published) }),
		row("published → completed event received", func(m moments) time.Duration { return m.ended.Sub(m.published) }),
	}
}
