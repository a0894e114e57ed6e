package bus

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
)

// Role is what a worker is to its host.
type Role string

// The roles of a worker.
const (
	// RoleServing is the one worker that takes the host's requests.
	RoleServing Role = "serving"
	// RoleStandby is a worker that takes over when the one that serves is gone.
	RoleStandby Role = "standby"
)

// HostStatus is what a worker says of itself to whoever may ask. It names no
// container, no place of a sink and nothing of the environment.
type HostStatus struct {
	Host string `json:"host"`
	Role Role   `json:"role"`
	// Owner is the worker process, by an id of its own.
	Owner   string     `json:"owner"`
	Version string     `json:"version"`
	Engine  HostEngine `json:"engine"`
	// Since is when the worker got its role.
	Since time.Time `json:"since"`
	// Slots is how many items the worker works on at a time, Busy how many it
	// works on at this moment.
	Slots int `json:"slots"`
	Busy  int `json:"busy"`
	// Jobs are the ids of the jobs that run.
	Jobs []string `json:"jobs"`
	// Sinks are the names of the configured sinks.
	Sinks []string `json:"sinks"`
	// Kinds are the kinds of request that the worker carries out.
	Kinds []events.Kind `json:"kinds"`
}

// HostEngine is the Docker Engine of a host.
type HostEngine struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// Store is what keeps the Engine's images.
	Store string `json:"store"`
}

// Service is how a worker lets itself be found.
type Service struct {
	// Host is the host's id, Version the program's.
	Host, Version string
	// Status says how the worker is. It is called for each question, also by
	// several goroutines; it must not block. Host and Version are filled in.
	Status func() HostStatus
}

// serviceName is the worker's name among the services of the server.
const serviceName = "holdfast"

// Announce makes a worker known: as a NATS micro service, and by an answer to
// whoever asks for the status of its host. The server knows of it when Announce
// returns, and it lasts over reconnects until stop is called or the bus is
// closed; it knows of its end when stop returns.
func (b *Bus) Announce(s Service) (stop func() error, err error) {
	service, err := micro.AddService(b.nc, micro.Config{
		Name:               serviceName,
		Version:            semantic(s.Version),
		Description:        "Backs up the containers of a Docker host",
		Metadata:           map[string]string{"host": s.Host, "version": s.Version},
		QueueGroupDisabled: true,
	})
	if err != nil {
		return nil, fmt.Errorf("announce the worker of host %s: %w", s.Host, named(err))
	}
	// Without a queue group all workers of a host answer, those that stand by too.
	err = service.AddEndpoint("status", micro.HandlerFunc(b.answer(s)),
		micro.WithEndpointSubject(events.StatusSubject(s.Host)), micro.WithEndpointQueueGroupDisabled())
	if err == nil {
		err = b.nc.FlushTimeout(attemptTimeout)
	}
	if err != nil {
		_ = service.Stop() // what there is to say is in err
		return nil, fmt.Errorf("announce the worker of host %s: %w", s.Host, named(err))
	}
	return func() error { return b.withdraw(service) }, nil
}

// withdraw returns when the server knows that the worker is gone, if it is there.
func (b *Bus) withdraw(service micro.Service) error {
	err := service.Stop()
	if err == nil && b.nc.IsConnected() {
		err = b.nc.FlushTimeout(withdrawTimeout)
	}
	return named(err)
}

// withdrawTimeout bounds how long a worker that ends waits for the server.
const withdrawTimeout = 2 * time.Second

func (b *Bus) answer(s Service) func(micro.Request) {
	return func(r micro.Request) {
		status := s.Status()
		status.Host, status.Version = s.Host, s.Version
		if err := r.RespondJSON(status); err != nil {
			b.log.Debug("the status could not be sent", zap.Error(err))
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
// It reports ErrDenied if the permissions do not let a host be asked.
func (b *Bus) Hosts(ctx context.Context, hosts []string, wait time.Duration) ([]HostStatus, error) {
	if hosts == nil {
		var err error
		if hosts, err = b.fleet(ctx, wait); err != nil {
			return nil, err
		}
	}
	open := map[string]bool{} // hosts that may still answer
	for _, host := range hosts {
		open[host] = true
	}
	var all []HostStatus
	err := b.askHosts(ctx, hosts, wait, func(host string, status *HostStatus) time.Duration {
		if status != nil {
			all = append(all, *status)
		}
		if status == nil || status.Role == RoleServing {
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
	slices.SortFunc(all, func(a, b HostStatus) int {
		return cmp.Or(strings.Compare(a.Host, b.Host), strings.Compare(string(a.Role), string(b.Role)), strings.Compare(a.Owner, b.Owner))
	})
	return all, err
}

// Served reports whether a worker serves the host at this moment. It returns as
// soon as that is known, and after wait at the latest. It reports ErrDenied if
// the permissions do not let the host be asked.
func (b *Bus) Served(ctx context.Context, host string, wait time.Duration) (bool, error) {
	served := false
	err := b.askHosts(ctx, []string{host}, wait, func(_ string, status *HostStatus) time.Duration {
		served = status != nil && status.Role == RoleServing
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
func (b *Bus) askHosts(ctx context.Context, hosts []string, wait time.Duration,
	heard func(host string, status *HostStatus) time.Duration,
) error {
	subjects := map[string]string{}
	for _, host := range hosts {
		subjects[host] = events.StatusSubject(host)
	}
	err := b.ask(ctx, subjects, wait, func(host string, m *nats.Msg) time.Duration {
		if m == nil {
			return heard(host, nil)
		}
		var status HostStatus
		if err := json.Unmarshal(m.Data, &status); err != nil || status.Host != host {
			b.log.Warn("an answer that is not the host's status was dropped", zap.String("host", host), zap.Error(err))
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
func (b *Bus) fleet(ctx context.Context, wait time.Duration) ([]string, error) {
	hosts, err := b.Enrolled(ctx)
	if !errors.Is(err, ErrDenied) {
		return hosts, err
	}
	found := map[string]bool{}
	err = b.ask(ctx, map[string]string{"all": "$SRV.INFO." + serviceName}, wait, func(_ string, m *nats.Msg) time.Duration {
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
