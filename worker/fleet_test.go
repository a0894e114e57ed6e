package main

import (
	"context"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/consume"
	"holdfast.io/holdfast/internal/bus/embedded"
	"holdfast.io/holdfast/internal/bus/fleet"
	"holdfast.io/holdfast/internal/bus/provision"
)

// testFleet is a message server with hosts that only say what real ones would.
type testFleet struct {
	*testing.T
	options bus.Options
	bus     *bus.Bus // of the operator
	env     []string // how commands reach it
}

func newFleet(t *testing.T) *testFleet {
	t.Helper()
	s, err := embedded.Start(t.Context(), t.TempDir(), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Shutdown() })
	f := &testFleet{T: t, options: s.Options()}
	f.env = []string{"HOLDFAST_NATS_URL=" + f.options.URL, "HOLDFAST_NATS_USER=" + f.options.User,
		"HOLDFAST_NATS_PASSWORD=" + f.options.Password}
	f.bus = f.connect()
	return f
}

func (f *testFleet) connect() *bus.Bus {
	f.Helper()
	b, err := bus.Connect(f.Context(), f.options)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = b.Close() })
	return b
}

func (f *testFleet) enrol(hosts ...string) {
	f.Helper()
	if _, err := provision.Run(f.Context(), f.bus, provision.Options{Hosts: hosts}); err != nil {
		f.Fatal(err)
	}
}

// announce has a host answer whoever asks for its status.
func (f *testFleet) announce(host string, role events.Role) *bus.Bus {
	f.Helper()
	b := f.connect()
	stop, err := fleet.Of(b).Announce(fleet.Service{Host: host, Version: "v1.2.3", Status: func() events.HostStatus {
		return events.HostStatus{Role: role, Owner: host, Engine: events.HostEngine{Name: host, Version: "29.1", Store: "overlay2"},
			Since: time.Unix(1_800_000_000, 0), Slots: 2, Busy: 1, Sinks: []string{"default", "offsite"}}
	}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = stop() })
	return b
}

// host is a worker that stores whatever it is asked for and has, at once.
type fakeHost struct {
	*testFleet
	id         string
	bus        *bus.Bus
	containers []string
}

// serve has a host take requests until the test ends.
func (f *testFleet) serve(id string, containers ...string) *fakeHost {
	f.Helper()
	f.enrol(id)
	h := &fakeHost{testFleet: f, id: id, bus: f.announce(id, events.RoleServing), containers: containers}
	ctx, stop := context.WithCancel(context.Background())
	var taking sync.WaitGroup
	for _, from := range append(consume.Work(h.bus, id), consume.Cancels(h.bus, id)...) {
		taking.Go(func() { h.take(ctx, from) })
	}
	f.Cleanup(func() { stop(); taking.Wait() })
	return h
}

func (h *fakeHost) take(ctx context.Context, from *consume.Source) {
	for {
		m, err := from.Next(ctx)
		if err != nil {
			return
		}
		ev, err := events.Decode(m.Headers, m.Body)
		if err != nil {
			h.Error(err)
			continue
		}
		switch ev.Type() {
		case events.Backup.RequestType():
			h.backup(ctx, ev)
		case events.Cancel.RequestType():
			h.cancel(ctx, ev)
		}
		if err := m.Done(ctx); err != nil && ctx.Err() == nil {
			h.Error(err)
		}
	}
}

func (h *fakeHost) backup(ctx context.Context, request event.Event) {
	job := events.JobID(request.Source(), request.ID(), h.id)
	req, err := events.ParseBackupRequest(request.Data())
	if err != nil {
		h.Error(err)
		return
	}
	accepted := events.Accepted{Job: job, Host: h.id, Sink: events.DefaultSink}
	ended := events.Ended{Job: job, Host: h.id, Sink: events.DefaultSink, Status: events.StatusSucceeded}
	for _, name := range req.Containers.Names {
		if !slices.Contains(h.containers, name) {
			accepted.Skipped = append(accepted.Skipped, events.Skipped{Kind: events.ItemContainer, Name: name})
			continue
		}
		item := events.Item{Kind: events.ItemContainer, Name: name}
		accepted.Items = append(accepted.Items, events.PlannedItem{Item: item})
		ended.Items = append(ended.Items, events.ItemOutcome{Item: item, Status: events.OutcomeCompleted, Point: "20260302T141503Z-1a0b5fe3"})
		ended.Counts.Items++
		ended.Counts.Completed++
	}
	h.publish(ctx, job, request, events.Backup.ResultType(events.ResultAccepted), accepted)
	h.publish(ctx, job, request, events.Backup.ResultType(events.ResultCompleted), ended)
}

// cancel ends the one job that the host has, which is its id.
func (h *fakeHost) cancel(ctx context.Context, request event.Event) {
	req, err := events.ParseCancelRequest(request.Data())
	switch {
	case err != nil:
		h.Error(err)
	case req.Job == jobOf(h.id):
		h.publish(ctx, req.Job, request, events.Backup.ResultType(events.ResultFailed),
			events.Ended{Job: req.Job, Host: h.id, Status: events.StatusCancelled})
	default:
		job := events.JobID(request.Source(), request.ID(), h.id)
		h.publish(ctx, job, request, events.TypeRequestRejected, events.RequestRejected{Host: h.id, Job: job, Reason: events.ReasonNoSuchJob,
			Errors: []events.Violation{{Pointer: "/job", Message: "no job " + req.Job + " runs on host " + h.id}}})
	}
}

func (h *fakeHost) publish(ctx context.Context, job string, request event.Event, eventType string, data any) {
	ev := events.NewResult(time.Now(), h.id, job, request, eventType, job, "", data)
	if err := h.bus.PublishEvent(ctx, events.EventSubject(h.id, job, eventType), ev); err != nil && ctx.Err() == nil {
		h.Error(err)
	}
}

// jobOf is the job that a host of the tests runs all the time.
func jobOf(host string) string { return events.JobID("/test", "running", host) }

// run runs a command to its end, and returns what it says and its exit status.
func (f *testFleet) run(args ...string) (output string, status int) {
	f.Helper()
	p := start(f.T, f.env, args...)
	err := p.wait(f.T)
	if exit, ok := err.(*exec.ExitError); ok {
		return p.output.String(), exit.ExitCode()
	}
	if err != nil {
		f.Fatal(err)
	}
	return p.output.String(), 0
}

// expect runs a command, which says this and ends so.
func (f *testFleet) expect(status int, says []string, args ...string) {
	f.Helper()
	output, got := f.run(args...)
	if got != status {
		f.Errorf("holdfast %s: exit status %d, want %d\n%s", strings.Join(args, " "), got, status, output)
	}
	for _, words := range says {
		if !strings.Contains(output, words) {
			f.Errorf("holdfast %s does not say %q:\n%s", strings.Join(args, " "), words, output)
		}
	}
}

func TestHostsListsTheFleet(t *testing.T) {
	f := newFleet(t)
	f.expect(exitFailed, []string{"run holdfast provision"}, "hosts")
	f.enrol()
	f.expect(0, []string{"HOST  STATE"}, "hosts")

	f.enrol("web01", "web02", "web03")
	f.announce("web03", events.RoleServing)
	f.announce("web01", events.RoleStandby)
	f.announce("web01", events.RoleServing)
	f.expect(exitPartial, []string{
		"web01  serving", "web01  standby", "web02  silent\n", "web03  serving", "1/2", "v1.2.3", "29.1 overlay2", "default, offsite",
		"1 host did not answer within 300ms",
	}, "hosts", "--wait", "300ms")
	f.expect(exitPartial, []string{`{"host":"web01","role":"serving",`, `{"host":"web02","role":"silent"}`}, "hosts", "--json",
		"--wait", "300ms")

	f.announce("web02", events.RoleServing)
	f.expect(0, []string{"web02  serving"}, "hosts", "--wait", "30s")
}

func TestHostsNeedsAServer(t *testing.T) {
	f := &testFleet{T: t, env: []string{"HOLDFAST_STATE_DIR=" + t.TempDir()}}
	f.expect(exitFailed, []string{"start holdfast serve, or use --nats"}, "hosts")
}

func TestCancelSaysHowTheJobEnded(t *testing.T) {
	f := newFleet(t)
	f.serve("web01")
	f.serve("web02")
	f.expect(0, []string{"job " + jobOf("web02") + " on host web02 ended cancelled"}, "cancel", jobOf("web02"), "--host", "web02")
	f.expect(0, []string{"on host web01 ended cancelled"}, "cancel", jobOf("web01"))

	f.expect(exitFailed, []string{"host web01 rejected it (no_such_job)"}, "cancel", jobOf("nobody"), "--host", "web01")
	f.expect(exitPartial, []string{"no end of job", "within 100ms"}, "cancel", jobOf("nobody"), "--wait", "100ms", "--host", "web03")
	f.expect(exitUsage, []string{"a job's id"}, "cancel", "no-such-id")

	f.serve("web04", "a")
	output, _ := f.run("backup", "a", "--host", "web04", "--detach")
	job := strings.TrimSpace(output)
	f.expect(exitFailed, []string{"job " + job + " on host web04 ended succeeded, not cancelled: 1 stored"}, "cancel", job)
}

func TestBackupAllHosts(t *testing.T) {
	f := newFleet(t)
	f.enrol()
	f.expect(exitFailed, []string{"no host is enrolled"}, "backup", "--all-hosts", "a")
	f.serve("web01", "a", "b")
	f.serve("web02", "b")
	f.expect(0, []string{"web01: job", "web02: job", "host web01\nITEM", "host web02\nITEM", "1 stored"}, "backup", "--all-hosts", "a")
	f.expect(exitFailed, []string{"found on no host that answered: container c", "2 stored"}, "backup", "--all-hosts", "a", "b", "c")

	f.enrol("web03")
	f.expect(exitPartial, []string{"web03: no worker serves it", "web01: job"}, "backup", "--all-hosts", "b")

	f.announce("web03", events.RoleServing) // but it takes no requests
	f.expect(exitPartial, []string{"web03: has not begun within 500ms", "host web01\nITEM"}, "backup", "--all-hosts", "b", "--wait", "500ms")

	output, status := f.run("backup", "--all-hosts", "b", "--detach")
	if lines := strings.Count(output, "\n"); lines != 3 || status != 0 {
		t.Errorf("exit status %d, and %d lines:\n%s", status, lines, output)
	}
	f.expect(exitUsage, []string{"contradict"}, "backup", "--all-hosts", "--host", "web01", "b")
}

// A host that nobody serves is told of at once.
func TestBackupOfAnUnservedHost(t *testing.T) {
	f := newFleet(t)
	f.enrol("web01")
	const says = "no worker serves host web01 at this moment; the request waits for one"
	f.expect(0, []string{says}, "backup", "a", "--host", "web01", "--detach")
	f.expect(exitPartial, []string{says, "has not begun job"}, "backup", "a", "--host", "web01", "--wait", "300ms")
	f.expect(exitFailed, []string{"no worker has ever served"}, "backup", "a", "--host", "web02")

	waiting := start(t, f.env, "backup", "a", "--host", "web01")
	eventually(t, "it says that it waits", func() bool { return strings.Contains(waiting.output.String(), says) })
	f.serve("web01", "a")
	if err := waiting.wait(t); err != nil {
		t.Errorf("it ended with %v:\n%s", err, waiting.output)
	}
	output, status := f.run("backup", "a", "--host", "web01")
	if status != 0 || strings.Contains(output, says) {
		t.Errorf("exit status %d:\n%s", status, output)
	}
}
