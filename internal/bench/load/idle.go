//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"holdfast.io/holdfast/internal/bench"
)

// idleFleet leaves simulated hosts on one server alone for some seconds.
func (l *lab) idleFleet(ctx context.Context, n int) ([]table, error) {
	servers, err := l.startServers(ctx, 1)
	if err != nil {
		return nil, err
	}
	alone, err := servers.all[0].traffic(ctx)
	if err != nil {
		return nil, err
	}
	k, err := l.connect(ctx, servers)
	if err != nil {
		return nil, err
	}
	names := hostNames(l.hosts)
	if err := k.provision(ctx, 1, names); err != nil {
		return nil, err
	}
	h, err := l.simulate(ctx, k, servers, names, hostContainers)
	if err != nil {
		return nil, err
	}
	if err := k.close(); err != nil { // whoever measures does not count
		return nil, err
	}
	f := idleFigures{alone: alone, hosts: l.hosts, took: time.Duration(n) * time.Second}
	bench.Say("leaving the hosts alone for %s", bench.SettleTime+f.took)
	if err := f.measure(ctx, servers.all[0]); err != nil {
		return nil, err
	}
	return []table{f.table()}, h.failure()
}

// idleFigures is what an idle fleet costs.
type idleFigures struct {
	hosts int
	took  time.Duration
	// alone is the server before anyone came.
	alone           traffic
	before, after   traffic
	serverCPU, self time.Duration
	resident        int64
}

func (f *idleFigures) measure(ctx context.Context, m *messageServer) error {
	if err := bench.Pause(ctx, bench.SettleTime); err != nil {
		return err
	}
	self := bench.Process(os.Getpid())
	server, err := sampleOf(m.Process)
	if err != nil {
		return err
	}
	own, err := self.CPU()
	if err != nil {
		return err
	}
	if f.before, err = m.traffic(ctx); err != nil {
		return err
	}
	if err := bench.Pause(ctx, f.took); err != nil {
		return err
	}
	if f.after, err = m.traffic(ctx); err != nil {
		return err
	}
	ownAfter, err := self.CPU()
	if err != nil {
		return err
	}
	serverAfter, err := sampleOf(m.Process)
	if err != nil {
		return err
	}
	f.serverCPU, f.self, f.resident = serverAfter.cpu-server.cpu, ownAfter-own, serverAfter.resident
	return nil
}

func (f *idleFigures) table() table {
	perSecond := func(n int64) float64 { return float64(n) / f.took.Seconds() }
	row := func(name, format string, all float64) []string {
		return []string{name, fmt.Sprintf(format, all), fmt.Sprintf("%.2f", all/float64(f.hosts))}
	}
	ms := func(d time.Duration) float64 { return perSecond(int64(d)) / float64(time.Millisecond) }
	return table{
		{fmt.Sprintf("%d idle hosts on one server, %s", f.hosts, f.took), "all", "per host"},
		row("messages/s, hosts → server", "%.1f", perSecond(f.after.In-f.before.In)),
		row("messages/s, server → hosts", "%.1f", perSecond(f.after.Out-f.before.Out)),
		row("server, CPU ms/s", "%.1f", ms(f.serverCPU)),
		row("hosts (one process), CPU ms/s", "%.1f", ms(f.self)),
		{"server, resident memory", bench.Mebibytes(f.resident), bench.Mebibytes(f.resident / int64(f.hosts))},
		row("connections", "%.0f", float64(f.after.Connections)),
		row("subscriptions, beyond those of a server alone", "%.0f", float64(f.after.Subscriptions)-float64(f.alone.Subscriptions)),
	}
}
