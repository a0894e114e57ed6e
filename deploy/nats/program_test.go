package nats_test

import (
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"holdfast.io/holdfast/events"
)

const (
	// large is how many bytes take a worker with the highest compression more than
	// ten seconds to save, so that a job can be met while it runs.
	large       = 16 << 20
	compression = "HOLDFAST_COMPRESSION_LEVEL=19"

	// takeoverBound is how long a host may be without a worker when one stands by.
	takeoverBound = 30 * time.Second
)

// The exit statuses of the program.
const (
	exitFailed  = 1
	exitPartial = 3
)

// TestProgram has the real program do all that it can do, each user what its role
// is for, on the machine's Engine.
func TestProgram(t *testing.T) {
	e, p := newEngine(t), newProgram(t)
	small, big := e.run(1), e.run(large)

	t.Run("the operator provisions", func(t *testing.T) {
		for _, host := range []string{"web01", "db01"} {
			p.expect(t, operator, 0, []string{"create consumer HOLDFAST_REQUESTS/host_" + host}, "provision", "--host-id", host)
			p.expect(t, operator, 0, []string{"all is there, and as it should be"}, "provision", "--host-id", host)
		}
	})
	first := p.serve(compression)
	eventually(t, "the first worker serves", func() bool { return roles(p.hosts(observer), "web01") == "serving" })
	t.Run("all may ask who serves", func(t *testing.T) {
		for _, user := range []string{publisher, observer, operator} {
			p.expect(t, user, exitPartial, []string{"web01  serving", "db01   silent", "1 host did not answer"}, "hosts")
		}
	})
	t.Run("the publisher backs up", func(t *testing.T) {
		p.expect(t, publisher, 0, []string{"1 stored"}, "backup", "--host", "web01", small)
		p.expect(t, publisher, exitPartial, []string{"db01: no worker serves it", "1 stored"}, "backup", "--all-hosts", small)
	})
	t.Run("worker and operator see a doctor", func(t *testing.T) {
		for _, user := range []string{web01, operator} {
			p.expect(t, user, 0, []string{"all as they should be"}, "doctor", "--host-id", "web01")
		}
	})
	t.Run("the publisher cancels", func(t *testing.T) { p.cancels(t, big) })
	t.Run("the operator mends", func(t *testing.T) { p.mends(t, small) })
	second := p.serve()
	t.Run("another worker takes over", func(t *testing.T) { p.takesOver(t, big, first) })

	if err := second.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := second.status(); status != 0 {
		t.Errorf("the second worker ends with status %d", status)
	}
	denied := regexp.MustCompile(`(?i)permission|violation|denied|not allow|no responders`)
	for _, log := range []string{first.said(), second.said(), read(t, p.servers[0].log)} {
		if found := denied.FindString(log); found != "" {
			t.Errorf("something was denied (%q):\n%s", found, log)
		}
	}
}

// serve starts a worker of web01 on a machine of its own.
func (p *program) serve(env ...string) *process {
	p.t.Helper()
	cmd := p.command(web01, "serve", "--log-level", "debug")
	cmd.Env = append(cmd.Env, env...)
	return p.start(cmd)
}

// saving returns the id of the next job of which the subscription hears that it
// saved something after a time.
func saving(t *testing.T, progress *nats.Subscription, after time.Time) (job string) {
	t.Helper()
	ctx := within(t, processBound)
	for {
		m, err := progress.NextMsgWithContext(ctx)
		if err != nil {
			t.Fatalf("no job saves anything: %v", err)
		}
		ev, err := events.Decode(m.Header, m.Data)
		if err != nil {
			t.Fatal(err)
		}
		var at events.Progress
		if err := ev.DataAs(&at); err != nil {
			t.Fatal(err)
		}
		if at.Step == events.StepSave && ev.Time().After(after) {
			return at.Job
		}
	}
}

// cancels has the publisher cancel a job that runs.
func (p *program) cancels(t *testing.T, container string) {
	progress := p.connect(observer).subscribe("holdfast.progress.web01.*")
	job := strings.TrimSpace(p.expect(t, publisher, 0, nil, "backup", "--host", "web01", "--detach", container))
	if saves := saving(t, progress, time.Time{}); saves != job {
		t.Fatalf("job %s saves, not %s", saves, job)
	}
	p.expect(t, publisher, 0, []string{"job " + job + " on host web01 ended cancelled"}, "cancel", job, "--host", "web01")

	// It has no right to ask all hosts.
	r := p.start(p.command(publisher, "cancel", job))
	eventually(t, "it says that it may not", func() bool { return strings.Contains(r.said(), "this user may not publish there") })
	if err := r.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if r.status() == 0 {
		t.Errorf("cancelled at all hosts:\n%s", r.said())
	}
}

// mends has the operator find what was refused, and ask once more.
func (p *program) mends(t *testing.T, container string) {
	p.expect(t, publisher, exitFailed, []string{"unknown_sink"}, "backup", "--host", "web01", "--sink", "nosuch", container)
	p.expect(t, operator, 0, []string{"web01", "unknown_sink"}, "dlq", "list")
	p.expect(t, operator, 0, []string{`"reason": "unknown_sink"`}, "dlq", "show", "1")
	p.expect(t, operator, exitFailed, []string{"request rejected (unknown_sink)"}, "dlq", "replay", "1")
}

// takesOver kills the worker that serves, in the midst of a job that is followed.
func (p *program) takesOver(t *testing.T, container string, first *process) {
	eventually(t, "the second worker stands by", func() bool { return roles(p.hosts(observer), "web01") == "serving, standby" })
	progress := p.connect(observer).subscribe("holdfast.progress.web01.*")
	following := p.start(p.command(publisher, "backup", "--host", "web01", container))
	job := saving(t, progress, time.Time{})
	killed := time.Now()
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if status := first.status(); status != -1 {
		t.Fatalf("the first worker was not killed: it ended with status %d", status)
	}
	if carried := saving(t, progress, time.Now()); carried != job {
		t.Fatalf("job %s is carried on, not %s", carried, job)
	}
	pause := time.Since(killed)
	t.Logf("the job is carried on after %s", pause)
	if pause > takeoverBound {
		t.Errorf("the job is carried on after %s only", pause)
	}
	if got := roles(p.hosts(observer), "web01"); got != "serving" {
		t.Errorf("the workers' roles are %q", got)
	}
	if status := following.status(); status != 0 || !strings.Contains(following.said(), "1 stored") {
		t.Errorf("the job ended with status %d:\n%s", status, following.said())
	}
}
