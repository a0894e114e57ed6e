package node

import (
	"sync"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus/fleet"
	"holdfast.io/holdfast/internal/dispatch"
)

// role is what this worker is to its host at this moment. It may be used by
// several goroutines.
type role struct {
	mu     sync.Mutex
	since  time.Time
	worker *dispatch.Worker // nil while it stands by
}

func (r *role) set(w *dispatch.Worker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since, r.worker = time.Now().UTC(), w
}

func (r *role) get() (*dispatch.Worker, time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.worker, r.since
}

// announce lets this worker be found, until stop is called. A worker that cannot
// be found works all the same.
func (n *Node) announce() (stop func()) {
	end, err := fleet.Of(n.Bus).Announce(fleet.Service{Host: n.Host, Version: n.o.Version, Status: n.status})
	if err != nil {
		n.o.Log.Warn("'holdfast hosts' does not show this worker", zap.Error(err))
		return func() {}
	}
	return func() {
		if err := end(); err != nil {
			n.o.Log.Debug("the worker could not be withdrawn", zap.Error(err))
		}
	}
}

func (n *Node) status() events.HostStatus {
	s := events.HostStatus{
		Role: events.RoleStandby, Owner: n.owner, Jobs: []string{}, Sinks: n.Sinks.Names(), Slots: n.o.Slots,
		Engine: events.HostEngine{Name: n.about.Name, Version: n.about.Version, Store: n.about.Store},
		Kinds:  n.o.Kinds,
	}
	worker, since := n.role.get()
	s.Since = since
	if worker != nil {
		s.Role, s.Jobs, s.Busy = events.RoleServing, worker.Running(), worker.Runner.Slots.Busy()
	}
	return s
}
