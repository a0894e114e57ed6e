package fleet_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/bus/fleet"
	"holdfast.io/holdfast/internal/bus/provision"
)

// longWait is a wait that no test gets to the end of.
const longWait = time.Minute

// announce makes a worker of a host known, until the test ends.
func announce(t *testing.T, b *bus.Bus, host string, role events.Role, owner string) (stop func()) {
	t.Helper()
	withdraw, err := fleet.Of(b).Announce(fleet.Service{Host: host, Version: "v1.2.3", Status: func() events.HostStatus {
		return events.HostStatus{Role: role, Owner: owner, Slots: 2, Busy: 1, Jobs: []string{"ptg32uecxwng6yf7"}}
	}})
	if err != nil {
		t.Fatal(err)
	}
	stop = func() {
		if err := withdraw(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// enrol provisions the consumers of hosts.
func enrol(t *testing.T, b *bus.Bus, hosts ...string) {
	t.Helper()
	if _, err := provision.Run(t.Context(), b, provision.Options{Hosts: hosts}); err != nil {
		t.Fatal(err)
	}
}

// who returns each answer as host, role and owner.
func who(all []events.HostStatus) []string {
	var names []string
	for _, s := range all {
		names = append(names, fmt.Sprintf("%s %s %s", s.Host, s.Role, s.Owner))
	}
	return names
}

func ask(t *testing.T, b *bus.Bus, hosts []string, wait time.Duration) []string {
	t.Helper()
	all, err := fleet.Of(b).Hosts(bustest.Within(t, bustest.Patience), hosts, wait)
	if err != nil {
		t.Fatal(err)
	}
	return who(all)
}

func TestHostsAnswer(t *testing.T) {
	bustest.OnBoth(t, func(t *testing.T, o bus.Options) {
		b := bustest.Connect(t, o)
		enrol(t, b, "a", "b", "silent")
		announce(t, bustest.Connect(t, o), "b", events.RoleStandby, "2")
		announce(t, bustest.Connect(t, o), "b", events.RoleServing, "3")
		announce(t, bustest.Connect(t, o), "a", events.RoleServing, "1")
		want := []string{"a serving 1", "b serving 3", "b standby 2"}
		for name, hosts := range map[string][]string{"all": nil, "named": {"b", "a"}} {
			// Everybody is known to be there or not: nothing is waited for.
			if got := ask(t, b, hosts, longWait); !slices.Equal(got, want) {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
		if got := ask(t, b, []string{"silent", "unknown"}, longWait); got != nil {
			t.Errorf("nobody is there, and %q answer", got)
		}
	})
}

// A host with workers that only stand by is waited for: one may be about to serve.
func TestHostsWaitsForOneThatServes(t *testing.T) {
	b := bustest.Provisioned(t, bustest.Embedded(t))
	announce(t, b, host, events.RoleStandby, "1")
	if got := ask(t, b, nil, 50*time.Millisecond); !slices.Equal(got, []string{host + " standby 1"}) {
		t.Errorf("got %q", got)
	}
	served, err := fleet.Of(b).Served(t.Context(), host, 50*time.Millisecond)
	if served || err != nil {
		t.Errorf("served: %v, %v", served, err)
	}
}

func TestServed(t *testing.T) {
	o := bustest.Embedded(t)
	b := bustest.Provisioned(t, o)
	for _, want := range []bool{false, true} {
		if want {
			announce(t, bustest.Connect(t, o), host, events.RoleServing, "1")
		}
		if got, err := fleet.Of(b).Served(bustest.Within(t, bustest.Patience), host, longWait); got != want || err != nil {
			t.Errorf("got %v, %v; want %v", got, err, want)
		}
	}
}

func TestWithdrawnWorkerIsGone(t *testing.T) {
	o := bustest.Embedded(t)
	b := bustest.Provisioned(t, o)
	stop := announce(t, bustest.Connect(t, o), host, events.RoleServing, "1")
	stop()
	if got := ask(t, b, nil, longWait); got != nil {
		t.Errorf("%q answers", got)
	}
}

// An answer counts for the host that was asked only.
func TestHostsDropsAnAnswerForAnother(t *testing.T) {
	o := bustest.Embedded(t)
	b := bustest.Provisioned(t, o)
	nc, _ := bustest.Operator(t, o)
	_, err := nc.Subscribe(events.StatusSubject(host), func(m *nats.Msg) {
		raw, _ := json.Marshal(events.HostStatus{Host: "another", Role: events.RoleServing})
		_ = m.Respond(raw)
		_ = m.Respond([]byte("not JSON"))
	})
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(t, b, []string{host, "another"}, 100*time.Millisecond); got != nil {
		t.Errorf("got %q", got)
	}
}

// A worker shows among the services of the server.
func TestAnnouncedServiceIsListed(t *testing.T) {
	o := bustest.Embedded(t)
	b := bustest.Provisioned(t, o)
	announce(t, b, host, events.RoleServing, "1")
	nc, _ := bustest.Operator(t, o)
	m, err := nc.Request("$SRV.INFO.holdfast", nil, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var info micro.Info
	if err := json.Unmarshal(m.Data, &info); err != nil {
		t.Fatal(err)
	}
	if info.Name != "holdfast" || info.Version != "1.2.3" || info.Metadata["host"] != host || info.Metadata["version"] != "v1.2.3" {
		t.Errorf("got %+v", info)
	}
}

func TestAnnounceTakesAnyVersion(t *testing.T) {
	b := bustest.Connect(t, bustest.Embedded(t))
	for _, version := range []string{"", "(devel)", "v0.0.0-20260302141503-0123456789ab+dirty", "1.2.3", "1.02.3", "1.2.3-rc..1"} {
		stop, err := fleet.Of(b).Announce(fleet.Service{Host: host, Version: version,
			Status: func() events.HostStatus { return events.HostStatus{} }})
		if err != nil {
			t.Errorf("%q: %v", version, err)
			continue
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}

// A worker is found again after the server was away.
func TestAnnouncedWorkerOutlastsTheServer(t *testing.T) {
	t.Parallel()
	p, o := bustest.External(t)
	b := bustest.Provisioned(t, o)
	announce(t, bustest.Connect(t, o), host, events.RoleServing, "1")
	p.Restart()
	for deadline := time.Now().Add(30 * time.Second); ; {
		served, err := fleet.Of(b).Served(bustest.Within(t, bustest.Patience), host, time.Second)
		if served {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not found again: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// The server lists at most 1024 names at once.
func TestEnrolledListsEveryPage(t *testing.T) {
	o := bustest.Embedded(t)
	b := bustest.Connect(t, o)
	_, js := bustest.Operator(t, o)
	// A stream has at most 1000 consumers if it does not say otherwise.
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: events.StreamRequests, Subjects: []string{"holdfast.req.>"}, Storage: jetstream.MemoryStorage, MaxConsumers: 2000,
	})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range 1100 {
		want = append(want, fmt.Sprintf("h%04d", i))
		c := jetstream.ConsumerConfig{Durable: "host_" + want[i], AckPolicy: jetstream.AckExplicitPolicy}
		if _, err := js.CreateConsumer(t.Context(), events.StreamRequests, c); err != nil {
			t.Fatal(err)
		}
	}
	got, err := fleet.Of(b).Enrolled(t.Context())
	if !slices.Equal(got, want) || err != nil {
		t.Errorf("got %d hosts, %v; want %d", len(got), err, len(want))
	}
}

func TestEnrolledWithoutStreams(t *testing.T) {
	b := bustest.Connect(t, bustest.Embedded(t))
	if _, err := fleet.Of(b).Enrolled(t.Context()); !errors.Is(err, bus.ErrNotProvisioned) {
		t.Errorf("got %v", err)
	}
}

// Who may not list the consumers sees the workers that are announced; who may not
// even ask is told so at once.
func TestHostsWithoutPermissions(t *testing.T) {
	for name, test := range map[string]struct {
		denied string
		want   []string
		err    error
	}{
		"no list":   {"$JS.API.CONSUMER.NAMES.>", []string{host + " serving 1"}, nil},
		"no status": {"holdfast.status.>", nil, bus.ErrDenied},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, o := bustest.External(t, bustest.Config{Permissions: fmt.Sprintf("publish: { deny: [%q] }", test.denied)})
			o, _ = bustest.Logged(o)
			b := bustest.Provisioned(t, o)
			announce(t, bustest.Connect(t, o), host, events.RoleServing, "1")
			began := time.Now()
			all, err := fleet.Of(b).Hosts(bustest.Within(t, bustest.Patience), nil, time.Second)
			if got := who(all); !slices.Equal(got, test.want) || !errors.Is(err, test.err) {
				t.Errorf("got %q, %v", got, err)
			}
			if took := time.Since(began); took > 4*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func TestHostsEndsWithItsContext(t *testing.T) {
	b := bustest.Provisioned(t, bustest.Embedded(t))
	announce(t, b, host, events.RoleStandby, "1")
	ctx := bustest.Within(t, 50*time.Millisecond)
	if _, err := fleet.Of(b).Hosts(ctx, []string{host}, longWait); !errors.Is(err, ctx.Err()) {
		t.Errorf("got %v", err)
	}
}
