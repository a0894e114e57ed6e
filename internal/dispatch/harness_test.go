package dispatch

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/consume"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/job/backupjob"
	"holdfast.io/holdfast/internal/ledger"
	"holdfast.io/holdfast/internal/ledger/ledgertest"
	"holdfast.io/holdfast/internal/plan"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
	"holdfast.io/holdfast/internal/transport"
	"holdfast.io/holdfast/internal/undo"
	"holdfast.io/holdfast/internal/undo/undotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	baseImage = "app:v1"
	grace     = time.Minute
	retryFor  = time.Hour
)

// host is a Worker with an Engine, a sink and a message server in memory.
type host struct {
	*testing.T
	slots         int
	worker        *Worker
	runner        *job.Runner        // of the worker
	backups       *backupjob.Kind    // of the worker
	store         *ledgertest.Memory // of the ledger
	records       *undotest.Memory
	sweeper       *undo.Sweeper
	engine        *enginetest.Fake
	sink          *sinktest.Memory
	server        *server
	work, cancels *source
	stop          context.CancelFunc
	stopped       chan struct{} // closed when Run has returned
}

// withHost runs a test in a bubble: time passes only where all wait, and a
// goroutine that is left behind fails the test. The worker runs from start on.
func withHost(t *testing.T, slots int, test func(h *host)) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{T: t, slots: slots, engine: enginetest.NewFake(testHost), sink: sinktest.NewMemory(),
			store: ledgertest.NewMemory(), records: &undotest.Memory{},
			server: &server{t: t}, work: newSource(), cancels: newSource()}
		h.engine.AddImage(baseImage)
		h.worker = h.newWorker("a")
		ctx, stop := context.WithCancel(context.Background())
		sweeping := make(chan struct{})
		go func() { defer close(sweeping); h.sweeper.Run(ctx) }()
		defer func() { stop(); <-sweeping }()
		test(h)
		h.end()
		if pending := h.engine.Pending(); len(pending) > 0 {
			t.Errorf("faults that were not met: %q", pending)
		}
	})
}

// newWorker returns another worker of the host. It knows of the first one only what
// is in the ledger, on disk, and at the Engine.
func (h *host) newWorker(owner string) *Worker {
	log := zaptest.NewLogger(h)
	all := sinks{events.DefaultSink: h.sink}
	if h.sweeper == nil {
		h.sweeper = &undo.Sweeper{Engine: h.engine, Locks: &undo.Locks{}, Store: h.records, Sinks: all, Log: log}
	}
	h.backups = &backupjob.Kind{
		Host:       testHost,
		Runner:     &backup.Runner{Engine: h.engine, Sweeper: h.sweeper, Transport: &transport.Save{Engine: h.engine}, Version: "test", Log: log},
		Sinks:      all,
		SinkPolicy: job.SinkPolicy{Host: testHost, Sinks: all},
		Policy:     backupjob.Policy{Quiesce: []events.Quiesce{events.QuiescePause, events.QuiesceNone}},
		Lifeline:   func(context.Context, []engine.Container) plan.Lifeline { return plan.Lifeline{} },
	}
	h.runner = &job.Runner{
		Host:      testHost,
		RetryFor:  retryFor,
		Publisher: h.server,
		Jobs:      &ledger.Jobs{Store: h.store, Host: testHost, Owner: owner},
		Lease:     uncontested{},
		Sweeper:   h.sweeper,
		Slots:     job.NewSlots(h.slots),
		Log:       log,
	}
	return &Worker{
		Host: testHost, Kinds: []job.Kind{h.backups}, Allowed: []events.Kind{events.Backup, events.Cancel},
		Runner: h.runner, Publisher: h.server, Log: log,
	}
}

// uncontested is a lease that nobody contests.
type uncontested struct{}

func (uncontested) Confirm(context.Context) error { return nil }

func (h *host) start() {
	ctx, stop := context.WithCancel(h.Context())
	h.stop, h.stopped = stop, make(chan struct{})
	go func() {
		defer close(h.stopped)
		h.worker.Run(ctx, []Source{h.work}, []Source{h.cancels}, grace)
	}()
}

// end stops the worker, if it was started, and holds what must always be then: all
// slots are free, and no job ended in two ways.
func (h *host) end() {
	h.Helper()
	if h.stop == nil {
		return
	}
	h.stop()
	h.stop = nil
	<-h.stopped
	for i := range h.slots {
		if !h.runner.Slots.TryAcquire() {
			h.Errorf("slot %d of %d is lost", i+1, h.slots)
		}
	}
	ends := map[any]string{} // id of the terminal event by job
	for _, ev := range h.server.published() {
		job := ev.Extensions()[events.ExtJobID]
		var rejected events.RequestRejected
		if ev.DataAs(&rejected) == nil && rejected.Reason == events.ReasonIDReused {
			continue // it is said beside the job
		}
		if events.Terminal(ev.Type()) && ends[job] != "" && ends[job] != ev.ID() {
			h.Errorf("job %v ended as %s and as %s", job, ends[job], ev.ID())
		}
		if events.Terminal(ev.Type()) {
			ends[job] = ev.ID()
		}
	}
}

// container adds a running container.
func (h *host) container(name string) (id string) {
	return h.engine.Add(enginetest.Spec{Name: name, Image: baseImage}, events.StateRunning)
}

// message makes a request to the host, of a kind and with data; changes are of its
// headers.
func (h *host) message(kind events.Kind, data string, changes ...string) *consume.Message {
	return h.deliver(&consume.Message{
		Subject: events.HostSubject(kind, testHost),
		Headers: headers(append([]string{"ce-type", kind.RequestType()}, changes...)...),
		Body:    []byte(data),
	})
}

func (h *host) backup(data string, changes ...string) *consume.Message {
	return h.message(events.Backup, data, changes...)
}

// deliver completes a message as the server does.
func (h *host) deliver(m *consume.Message) *consume.Message {
	m.Stream, m.Sequence, m.Delivered = events.StreamRequests, h.server.number(), 1
	if m.Time.IsZero() {
		m.Time = time.Now()
	}
	m.Settler = &settlement{server: h.server, sequence: m.Sequence, settled: make(chan struct{})}
	return m
}

// again is the next delivery of the same message.
func (h *host) again(d *consume.Message) *consume.Message {
	m := *d
	m.Delivered++
	m.Settler = &settlement{server: h.server, sequence: m.Sequence, settled: make(chan struct{})}
	return &m
}

// send has the worker take a message.
func (h *host) send(to *source, d *consume.Message) *settlement {
	h.Helper()
	select {
	case to.messages <- d:
	case <-time.After(time.Hour):
		h.Fatal("the worker does not take the message")
	}
	return d.Settler.(*settlement)
}

// do has the worker carry a request out, to the end.
func (h *host) do(d *consume.Message) *settlement {
	h.Helper()
	s := h.send(h.work, d)
	<-s.settled
	return s
}

// doAgain has the same message carried out once more, when all of it has ended.
func (h *host) doAgain(d *consume.Message) *settlement {
	h.Helper()
	synctest.Wait()
	return h.do(h.again(d))
}

// want holds all that happened so far, in order.
func (h *host) want(lines ...string) {
	h.Helper()
	if got := h.server.lines(); !slices.Equal(got, lines) {
		h.Errorf("it happened\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(lines, "\n\t"))
	}
}

// wantBeside holds all that happened so far: the lines in order, and at any time
// among them the one beside.
func (h *host) wantBeside(beside string, lines ...string) {
	h.Helper()
	got := h.server.lines()
	if i := slices.Index(got, beside); i >= 0 {
		got = slices.Delete(got, i, i+1)
	} else {
		h.Errorf("%s did not happen", beside)
	}
	if !slices.Equal(got, lines) {
		h.Errorf("it happened\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(lines, "\n\t"))
	}
}

// ended is the data of the last event, which ended a job.
func (h *host) ended() events.Ended {
	h.Helper()
	var data events.Ended
	h.last(&data)
	return data
}

func (h *host) last(into any) event.Event {
	h.Helper()
	all := h.server.published()
	if len(all) == 0 {
		h.Fatal("nothing was published")
	}
	ev := all[len(all)-1]
	if err := ev.DataAs(into); err != nil {
		h.Fatal(err)
	}
	return ev
}

// wantUntouched: the Engine was asked for nothing but its lists.
func (h *host) wantUntouched() {
	h.Helper()
	for _, op := range []enginetest.Op{enginetest.Commit, enginetest.Stop, enginetest.Save, enginetest.Watch} {
		if n := h.engine.Calls(op); n > 0 {
			h.Errorf("the Engine was called %d times to %s", n, op)
		}
	}
}

// sinks are a host's sinks by name; a nil one cannot be opened.
type sinks map[string]sink.Sink

func (s sinks) Has(name string) bool { _, ok := s[name]; return ok }

func (s sinks) Shared(string) bool { return false }

func (s sinks) Names() (names []string) {
	for name := range s {
		names = append(names, name)
	}
	return names
}

func (s sinks) Open(_ context.Context, name string) (sink.Sink, error) {
	if s[name] == nil {
		return nil, fmt.Errorf("%w: it is not mounted", sink.ErrUnavailable)
	}
	return s[name], nil
}

func (s sinks) Used(ctx context.Context, name string) (sink.Sink, error) { return s.Open(ctx, name) }

// source is a source of messages that a test hands over.
type source struct {
	messages chan *consume.Message
	closed   chan struct{}
}

func newSource() *source {
	return &source{messages: make(chan *consume.Message), closed: make(chan struct{})}
}

func (s *source) Next(ctx context.Context) (*consume.Message, error) {
	select {
	case d := <-s.messages:
		return d, nil
	case <-s.closed:
		return nil, bus.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// testKinds are the kinds of a worker, where nothing is carried out.
var testKinds = []job.Kind{&backupjob.Kind{Host: testHost}}
