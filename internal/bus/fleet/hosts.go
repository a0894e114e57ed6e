// Package fleet knows the hosts of a message server: which there are, who serves
// them, and which requests wait for them.
package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
)

// Fleet is the hosts of a message server. Its methods may be called from several
// goroutines.
type Fleet struct{ *bus.Bus }

// Of returns the fleet of the server that b is connected to.
func Of(b *bus.Bus) Fleet { return Fleet{b} }

// Service is how a worker lets itself be found.
type Service struct {
	// Host is the host's id, Version the program's.
	Host, Version string
	// Status says how the worker is. It is called for each question, also by
	// several goroutines; it must not block. Host and Version are filled in.
	Status func() events.HostStatus
}

// serviceName is the worker's name among the services of the server.
const serviceName = "holdfast"

// Announce makes a worker known: as a NATS micro service, and by an answer to
// whoever asks for the status of its host. The server knows of it when Announce
// returns, and it lasts over reconnects until stop is called or the bus is
// closed; it knows of its end when stop returns.
func (f Fleet) Announce(s Service) (stop func() error, err error) {
	service, err := micro.AddService(f.Conn(), micro.Config{
		Name:               serviceName,
		Version:            semantic(s.Version),
		Description:        "Backs up the containers of a Docker host",
		Metadata:           map[string]string{"host": s.Host, "version": s.Version},
		QueueGroupDisabled: true,
	})
	if err != nil {
		return nil, fmt.Errorf("announce the worker of host %s: %w", s.Host, bus.Named(err))
	}
	// Without a queue group all workers of a host answer, those that stand by too.
	err = service.AddEndpoint("status", micro.HandlerFunc(f.answer(s)),
		micro.WithEndpointSubject(events.StatusSubject(s.Host)), micro.WithEndpointQueueGroupDisabled())
	if err == nil {
		err = f.Conn().FlushTimeout(bus.AttemptTimeout)
	}
	if err != nil {
		_ = service.Stop() // what there is to say is in err
		return nil, fmt.Errorf("announce the worker of host %s: %w", s.Host, bus.Named(err))
	}
	return func() error { return f.withdraw(service) }, nil
}

// withdraw returns when the server knows that the worker is gone, if it is there.
func (f Fleet) withdraw(service micro.Service) error {
	err := service.Stop()
	if err == nil && f.Conn().IsConnected() {
		err = f.Conn().FlushTimeout(withdrawTimeout)
	}
	return bus.Named(err)
}

// withdrawTimeout bounds how long a worker that ends waits for the server.
const withdrawTimeout = 2 * time.Second

func (f Fleet) answer(s Service) func(micro.Request) {
	return func(r micro.Request) {
		status := s.Status()
		status.Host, status.Version = s.Host, s.Version
		if err := r.RespondJSON(status); err != nil {
			f.Logger().Debug("the status could not be sent", zap.Error(err))
		}
	}
}

var versionCore = regexp.MustCompile(`^v?((0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*))`)

// semantic makes of the program's version one that a service may have. What it
// leaves out is in the service's metadata.
func semantic(version string) string {
	if core := versionCore.FindStringSubmatch(version); core != nil {
		return core[1]
	}
	return "0.0.0"
}

// standbyGrace is how long answers of workers that stand by are waited for after
// every host has answered.
const standbyGrace = 100 * time.Millisecond

// Hosts asks the workers of the hosts how they are, and returns the answers that
// came within wait, sorted by host, the serving worker first. A host that nobody
// serves and nobody stands by for has no answer; where there is none to wait for
// any more, Hosts returns earlier. Without hosts it asks all that are enrolled,
// or, where the permissions do not let those be listed, all that are announced.
// It reports bus.ErrDenied if the permissions do not let a host be asked.
func (f Fleet) Hosts(ctx context.Context, hosts []string, wait time.Duration) ([]events.HostStatus, error) {
	if hosts == nil {
		var err error
		if hosts, err = f.fleet(ctx, wait); err != nil {
			return nil, err
		}
	}
	open := map[string]bool{} // hosts that may still answer
	for _, host := range hosts {
		open[host] = true
	}
	var all []events.HostStatus
	err := f.askHosts(ctx, hosts, wait, func(host string, status *events.HostStatus) time.Duration {
		if status != nil {
			all = append(all, *status)
		}
		if status == nil || status.Role == events.RoleServing {
			delete(open, host)
		}
		switch {
		case len(open) > 0:
			return wait
		case len(all) == 0:
			return 0
		}
		return standbyGrace
	})
	slices.SortFunc(all, func(a, b events.HostStatus) int {
		return cmp.Or(strings.Compare(a.Host, b.Host), strings.Compare(string(a.Role), string(b.Role)), strings.Compare(a.Owner, b.Owner))
	})
	return all, err
}

// Served reports whether a worker serves the host at this moment. It returns as
// soon as that is known, and after wait at the latest. It reports bus.ErrDenied if
// the permissions do not let the host be asked.
func (f Fleet) Served(ctx context.Context, host string, wait time.Duration) (bool, error) {
	served := false
	err := f.askHosts(ctx, []string{host}, wait, func(_ string, status *events.HostStatus) time.Duration {
		served = status != nil && status.Role == events.RoleServing
		if status == nil || served {
			return 0
		}
		return wait
	})
	return served, err
}

// askHosts asks the hosts for their status. What heard returns is how much longer
// to listen at most. It gets nil for a host without any worker; an answer that
// names another host than the one that was asked is dropped.
func (f Fleet) askHosts(ctx context.Context, hosts []string, wait time.Duration,
	heard func(host string, status *events.HostStatus) time.Duration,
) error {
	subjects := map[string]string{}
	for _, host := range hosts {
		subjects[host] = events.StatusSubject(host)
	}
	err := f.Ask(ctx, subjects, wait, func(host string, m *nats.Msg) time.Duration {
		if m == nil {
			return heard(host, nil)
		}
		var status events.HostStatus
		if err := json.Unmarshal(m.Data, &status); err != nil || status.Host != host {
			f.Logger().Warn("an answer that is not the host's status was dropped", zap.String("host", host), zap.Error(err))
			return wait
		}
		return heard(host, &status)
	})
	if err != nil {
		return fmt.Errorf("ask for the status of hosts: %w", err)
	}
	return nil
}

// fleet returns the hosts that there are.
func (f Fleet) fleet(ctx context.Context, wait time.Duration) ([]string, error) {
	hosts, err := f.Enrolled(ctx)
	if !errors.Is(err, bus.ErrDenied) {
		return hosts, err
	}
	found := map[string]bool{}
	err = f.Ask(ctx, map[string]string{"all": "$SRV.INFO." + serviceName}, wait, func(_ string, m *nats.Msg) time.Duration {
		if m == nil {
			return 0
		}
		var info micro.Info
		if json.Unmarshal(m.Data, &info) == nil && events.ValidHostID(info.Metadata["host"]) {
			found[info.Metadata["host"]] = true
		}
		return wait
	})
	if err != nil {
		return nil, fmt.Errorf("look for workers: %w", err)
	}
	return slices.Sorted(maps.Keys(found)), nil
}
