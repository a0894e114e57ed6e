package node_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/bus/fleet"
	"holdfast.io/holdfast/internal/bus/provision"
	"holdfast.io/holdfast/internal/client"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/job/backupjob"
	"holdfast.io/holdfast/internal/lease"
	"holdfast.io/holdfast/internal/node"
	"holdfast.io/holdfast/internal/sink/open"
)

func TestMain(m *testing.M) { bustest.VerifyNoLeaks(m) }

const host = "web01"

// patience is how long a test waits for what takes seconds at most.
const patience = time.Minute

// testFleet is a message server with one enrolled host, whose Engine has one container.
type testFleet struct {
	*testing.T
	options bus.Options
	engine  *enginetest.Fake
	sink    string
}

func newFleet(t *testing.T) *testFleet {
	t.Helper()
	server := bustest.Server(t)
	f := &testFleet{T: t, engine: engineOf(host), sink: t.TempDir(),
		options: bus.Options{URL: server.URL, User: server.User, Password: server.Password}}
	if _, err := provision.Run(t.Context(), f.bus(), provision.Options{Hosts: []string{host}}); err != nil {
		t.Fatal(err)
	}
	return f
}

func engineOf(name string) *enginetest.Fake {
	e := enginetest.NewFake(name)
	e.AddImage("app:1")
	e.Add(enginetest.Spec{Name: "web", Image: "app:1"}, events.StateRunning)
	return e
}

// bus is a connection of its own.
func (f *testFleet) bus() *bus.Bus {
	f.Helper()
	b, err := bus.Connect(f.Context(), f.options)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := b.Close(); err != nil {
			f.Error(err)
		}
	})
	return b
}

// start starts a worker of the host. ended gets how it ended; stop has it end, and
// closes it.
func (f *testFleet) start(engine *enginetest.Fake) (ended <-chan error, stop func()) {
	f.Helper()
	n, err := node.Start(f.Context(), node.Options{
		StateDir: filepath.Join(f.TempDir(), "state"), NATS: f.options, Engine: engine, HostID: host,
		Sinks: map[string]open.Config{events.DefaultSink: {URL: f.sink}}, Slots: 1,
		Kinds: []events.Kind{events.Backup}, Policy: backupjob.Policy{Quiesce: []events.Quiesce{events.QuiescePause}},
		Log: zaptest.NewLogger(f),
	})
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	end, closed := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(closed)
		end <- n.Run(ctx)
		n.Close()
	}()
	return end, func() {
		cancel()
		<-closed
	}
}

// roles waits until the workers of the host have these roles, the serving first.
func (f *testFleet) roles(b *bus.Bus, want ...events.Role) {
	f.Helper()
	var got []events.HostStatus
	for began := time.Now(); time.Since(began) < patience; {
		var err error
		if got, err = fleet.Of(b).Hosts(f.Context(), []string{host}, time.Second); err != nil {
			f.Fatal(err)
		}
		fits := len(got) == len(want)
		for i := range want {
			fits = fits && got[i].Role == want[i]
		}
		if fits {
			return
		}
	}
	f.Fatalf("the workers are %+v, want %q", got, want)
}

// backup has the container backed up, and returns how the job ended.
func (f *testFleet) backup(b *bus.Bus) events.Status {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), patience)
	defer cancel()
	job, err := client.Client{Bus: b, Source: "/test"}.Request(ctx, events.Backup, host,
		&events.BackupRequest{Containers: &events.ContainerSelector{All: true}})
	if err != nil {
		f.Fatal(err)
	}
	defer job.Close()
	for {
		ev, err := job.Next(ctx)
		if err != nil {
			f.Fatal(err)
		}
		var data events.Ended
		if events.Terminal(ev.Type()) && ev.DataAs(&data) == nil {
			return data.Status
		}
	}
}

func TestASecondWorkerStandsByAndTakesOver(t *testing.T) {
	f := newFleet(t)
	b := f.bus()
	first, stopFirst := f.start(f.engine)
	f.roles(b, events.RoleServing)
	second, stopSecond := f.start(f.engine)
	f.roles(b, events.RoleServing, events.RoleStandby)
	if got := f.backup(b); got != events.StatusSucceeded {
		t.Errorf("with one standing by a job ended as %s", got)
	}
	stopFirst()
	if err := <-first; err != nil {
		t.Errorf("the first ended with %v", err)
	}
	f.roles(b, events.RoleServing)
	if got := f.backup(b); got != events.StatusSucceeded {
		t.Errorf("at the one that took over a job ended as %s", got)
	}
	stopSecond()
	if err := <-second; err != nil {
		t.Errorf("the second ended with %v", err)
	}
	f.roles(b)
}

func TestAWorkerWithAnotherEngineIsRefused(t *testing.T) {
	f := newFleet(t)
	holder, stop := f.start(f.engine)
	f.roles(f.bus(), events.RoleServing)
	other, stopOther := f.start(engineOf("another"))
	if err := <-other; !errors.Is(err, lease.ErrOtherEngine) {
		t.Errorf("it ended with %v", err)
	}
	stopOther()
	stop()
	if err := <-holder; err != nil {
		t.Errorf("the holder ended with %v", err)
	}
}
