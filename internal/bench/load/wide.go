//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast.io/holdfast/internal/bench"
)

// wide has one simulated host carry out one job of n containers of one image: what
// the ledger, the events and the message server cost beside the Engine.
func (l *lab) wide(ctx context.Context, n int) ([]table, error) {
	names := hostNames(1)
	cluster, k, err := l.network(ctx, fleetServers, names...)
	if err != nil {
		return nil, err
	}
	h, err := l.simulate(ctx, k, cluster, names, n)
	if err != nil {
		return nil, err
	}
	before, err := k.ledger(ctx)
	if err != nil {
		return nil, err
	}
	watch, err := k.watch(nil)
	if err != nil {
		return nil, err
	}
	orders := []order{{id: "wide", host: names[0]}}
	bench.Say("one job of %d containers", n)
	if err := k.publish(ctx, watch, 1, orders, 0); err != nil {
		return nil, err
	}
	if err := watch.wait(ctx, 1); err != nil {
		return nil, errors.Join(err, h.failure())
	}
	a, err := k.audit(ctx, orders)
	if err != nil {
		return nil, err
	}
	after, err := k.ledger(ctx)
	if err != nil {
		return nil, err
	}
	m := watch.of(orders)[0]
	took := m.ended.Sub(m.published)
	if err = a.err(); err == nil && len(a.stored) != n {
		err = fmt.Errorf("%d of %d containers are stored", len(a.stored), n)
	}
	return []table{{
		{fmt.Sprintf("one job of %d containers of one image, %d servers, %d replicas", n, fleetServers, fleetServers), ""},
		{"published → accepted event received", bench.Millis(m.accepted.Sub(m.published))},
		{"published → completed event received", bench.Seconds(took)},
		{"the same/container", bench.Millis(took / time.Duration(n))},
		{"events", fmt.Sprint(a.events)},
		{"ledger: writes", fmt.Sprint(after.writes - before.writes)},
		{"ledger: KiB in the end", fmt.Sprintf("%.0f", float64(after.bytes)/1024)},
		{"containers stored", ofAll(len(a.stored), n)},
	}}, errors.Join(err, h.failure())
}
