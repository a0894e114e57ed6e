package copyjob_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.uber.org/zap/zaptest"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/copies"
	"holdfast.io/holdfast/internal/inuse"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/job/copyjob"
	"holdfast.io/holdfast/internal/ledger"
	"holdfast.io/holdfast/internal/ledger/ledgertest"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
	"holdfast.io/holdfast/internal/step"
	"holdfast.io/holdfast/internal/undo"
	"holdfast.io/holdfast/internal/undo/undotest"
	"holdfast.io/holdfast/schemas/examples"
)

const host = "web01"

// world is a host with sinks, and what runs its jobs.
type world struct {
	*testing.T
	sinks    map[string]*sinktest.Memory
	away     string // the name of a sink
	locks    *ledgertest.Memory
	store    *ledgertest.Memory
	retry    time.Duration
	observe  func(step.Name)
	attempts int

	mu     sync.Mutex
	events []event.Event
}

func newWorld(t *testing.T) *world {
	one := sinktest.NewMemory()
	return &world{T: t, locks: ledgertest.NewMemory(), store: ledgertest.NewMemory(),
		sinks: map[string]*sinktest.Memory{"default": one, "offsite": sinktest.NewMemory(), "again": one.Reopen()}}
}

// Sinks of the world.
func (w *world) Has(name string) bool    { return w.sinks[name] != nil }
func (w *world) Names() []string         { return []string{"again", "default", "offsite"} }
func (w *world) Shared(name string) bool { return name == "offsite" }
func (w *world) Open(_ context.Context, name string) (sink.Sink, error) {
	if w.away == name {
		return nil, fmt.Errorf("sink %s: %w: it is not mounted", name, sink.ErrUnavailable)
	}
	return w.sinks[name], nil
}

// PublishMessage implements job.Publisher.
func (w *world) PublishMessage(_ context.Context, m events.Message) error {
	ev, err := m.Event()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, ev)
	return err
}

func (w *world) PublishProgress(string, event.Event) error { return nil }

// Confirm implements job.Lease.
func (w *world) Confirm(context.Context) error { return nil }

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// point stores a point of a container of a day in March.
func (w *world) point(name string, day int) (id string) {
	w.Helper()
	valid, err := examples.Valid("manifest")
	w.must(err)
	m, err := point.Decode(valid["container.json"])
	w.must(err)
	id = fmt.Sprintf("202603%02dT000000Z-0000000%d", day, day)
	dir := point.Dir(host, events.ItemContainer, name, id)
	m.ID, m.Host, m.Item.Name, m.Signature = id, host, name, ""
	staging, err := w.sinks["default"].Stage(w.Context(), dir, "1")
	w.must(err)
	out, key, err := staging.Create(w.Context(), point.ImageArchive, 0)
	w.must(err)
	plain, err := codec.NewPlainWriter(codec.Destination{Writer: out})
	w.must(err)
	_, err = plain.Write([]byte("the archive of " + id))
	w.must(err)
	stored, err := plain.Finish()
	w.must(err)
	m.Artifacts = []events.Artifact{{Key: key, MediaType: point.MediaTypeImageArchive, Size: stored.Size, Digest: stored.Digest}}
	raw, err := m.Encode()
	w.must(err)
	w.must(errors.Join(out.Commit(), staging.Publish(w.Context(), raw), staging.Discard(w.Context())))
	return id
}

// kind carries out the requests of the world's host until the test ends.
func (w *world) kind() (*copyjob.Kind, *undo.Sweeper) {
	log := zaptest.NewLogger(w)
	sweeper := &undo.Sweeper{Locks: &undo.Locks{}, Store: &undotest.Memory{}, Sinks: w, Log: log}
	ctx, cancel := context.WithCancel(w.Context())
	var running sync.WaitGroup
	running.Go(func() { sweeper.Run(ctx) })
	w.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return &copyjob.Kind{Host: host, Sinks: w, SinkPolicy: job.SinkPolicy{Host: host, Sinks: w},
		Runner: &copies.Runner{Sweeper: sweeper, Log: log}, Uses: &inuse.Registry{Locks: w.locks, Host: host}}, sweeper
}

// request is a request with these data.
func (w *world) request(data string, target events.Target) job.Request {
	w.Helper()
	ev := event.New()
	ev.SetID("1")
	ev.SetSource("/test")
	ev.SetType(events.Copy.RequestType())
	w.must(ev.SetData(event.ApplicationJSON, json.RawMessage(data)))
	return job.Request{Job: events.JobID("/test", "1", host), Host: host, Target: target, Event: ev,
		Digest: events.RequestDigest(ev), Reply: "reply", Stored: time.Now()}
}

// copy carries out the request once more, and returns what came of it.
func (w *world) copy(data string) (job.Verdict, []event.Event) {
	w.Helper()
	k, sweeper := w.kind()
	r := w.request(data, events.TargetHost)
	spec, err := k.Parse(r)
	w.must(err)
	w.attempts++
	runner := &job.Runner{Host: host, Publisher: w, Jobs: &ledger.Jobs{Store: w.store, Host: host, Owner: fmt.Sprint(w.attempts)}, Lease: w,
		Sweeper: sweeper, Slots: job.NewSlots(2), RetryFor: w.retry, Log: zaptest.NewLogger(w)}
	w.events = nil
	ctx := w.Context()
	if w.observe != nil {
		ctx = step.Observe(ctx, func(_ context.Context, passed step.Name) { w.observe(passed) })
	}
	if !runner.Slots.TryAcquire() {
		w.Fatal("no slot")
	}
	slot := runner.Slots.Slot(true)
	defer slot.Release()
	return runner.Run(ctx, r, events.Copy, spec, slot), w.events
}

// end is the data of a job's last event.
func (w *world) end(all []event.Event) (data events.Ended) {
	w.Helper()
	if len(all) == 0 {
		w.Fatal("nothing was published")
	}
	w.must(all[len(all)-1].DataAs(&data))
	return data
}

func (w *world) there(name string) (ids []string) {
	w.Helper()
	for found, err := range w.sinks[name].Points(w.Context(), sink.PointsName) {
		w.must(err)
		ids = append(ids, path.Base(found.Dir))
	}
	return ids
}

const all = `{"containers":{"all":true},"to":"offsite"}`

// While a point is copied nobody removes it, here or there.
func TestWhatIsCopiedIsInUse(t *testing.T) {
	w := newWorld(t)
	first, second := w.point("web-1", 1), w.point("web-1", 2)
	var mu sync.Mutex
	uses := &inuse.Registry{Locks: w.locks, Host: host}
	seen := 0
	w.observe = func(passed step.Name) {
		if passed != step.Staged && passed != step.Published {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		seen++
		for _, s := range []string{"default", "offsite"} {
			if users, err := uses.Users(t.Context(), w.sinks[s].ID()); err != nil || len(users) == 0 {
				t.Errorf("after %s the users in sink %s are %q, %v", passed, s, users, err)
			}
		}
	}
	verdict, evs := w.copy(all)
	end := w.end(evs)
	if verdict.Disposition != job.Done || end.Status != events.StatusSucceeded || end.Counts.Completed != 2 || end.Sink != "offsite" || end.Bytes == 0 {
		t.Errorf("the verdict is %+v, and the end %+v", verdict, end)
	}
	if got := w.there("offsite"); !slices.Equal(got, []string{first, second}) || seen != 4 {
		t.Errorf("there are %q", got)
	}
	for _, s := range []string{"default", "offsite"} {
		if users, err := uses.Users(t.Context(), w.sinks[s].ID()); err != nil || len(users) > 0 {
			t.Errorf("the users in sink %s are still %q, %v", s, users, err)
		}
	}
	_, again := w.copy(all)
	if len(again) != len(evs) || again[len(again)-1].ID() != evs[len(evs)-1].ID() {
		t.Errorf("the same message again has %d events, and had %d", len(again), len(evs))
	}
}

// What was copied before the sink went away stays copied, and the job goes on when it is
// back.
func TestASinkThatGoesAwayAndComesBack(t *testing.T) {
	w := newWorld(t)
	w.retry = time.Hour
	w.point("web-1", 1)
	newest := w.point("web-1", 2)
	w.away = "offsite"
	if verdict, evs := w.copy(all); verdict.Disposition != job.RetryLater || len(evs) > 0 {
		t.Errorf("the verdict is %+v, and the events are %v", verdict, evs)
	}
	w.away = ""
	w.sinks["offsite"].Fail(t, sinktest.OpStage, 2, sink.ErrUnavailable)
	if verdict, _ := w.copy(all); verdict.Disposition != job.RetryLater {
		t.Errorf("the verdict is %+v", verdict)
	}
	if got := w.there("offsite"); len(got) != 1 {
		t.Errorf("there are %q, and %s is the newest", got, newest)
	}
	verdict, evs := w.copy(all)
	if end := w.end(evs); verdict.Disposition != job.Done || end.Status != events.StatusSucceeded || end.Counts.Completed != 2 {
		t.Errorf("the verdict is %+v, and the end %+v", verdict, end)
	}
}

// A job that cannot be planned ends, and says why.
func TestOneSinkByTwoNames(t *testing.T) {
	w := newWorld(t)
	w.point("web-1", 1)
	_, evs := w.copy(`{"containers":{"all":true},"to":"again"}`)
	if end := w.end(evs); end.Status != events.StatusFailed || !strings.Contains(end.Message, "sinks default and again are one and the same") {
		t.Errorf("the end is %+v", end)
	}
}

func TestADryRunTouchesNothing(t *testing.T) {
	w := newWorld(t)
	id := w.point("web-1", 1)
	_, evs := w.copy(`{"points":["` + id + `"],"to":"offsite","dryRun":true}`)
	var plan events.Planned
	w.must(evs[len(evs)-1].DataAs(&plan))
	if len(plan.Items) != 1 || plan.Items[0].Point != id || len(plan.Items[0].Actions) != 1 || len(w.sinks["offsite"].Contents()) > 0 {
		t.Errorf("the plan is %+v, and there is %q", plan, w.sinks["offsite"].Contents())
	}
}

// Both sinks are held against the host's configuration.
func TestRefuse(t *testing.T) {
	for _, c := range []struct {
		data    string
		target  events.Target
		allowed []string
		want    string
	}{
		{all, events.TargetHost, nil, ""},
		{`{"containers":{"all":true},"to":"nowhere"}`, events.TargetHost, nil, "unknown_sink /to"},
		{`{"containers":{"all":true},"from":"nowhere","to":"there"}`, events.TargetHost, nil, "unknown_sink /from /to"},
		{all, events.TargetHost, []string{"default"}, "policy /to"},
		{all, events.TargetHost, []string{"offsite"}, "policy /from"},
		{all, events.TargetAny, nil, "policy /from"}, // which is not shared
		{`{"containers":{"all":true},"from":"offsite","to":"default"}`, events.TargetAny, nil, "policy /to"},
	} {
		w := newWorld(t)
		k, _ := w.kind()
		k.SinkPolicy.Allowed = c.allowed
		spec, err := k.Parse(w.request(c.data, c.target))
		w.must(err)
		got := ""
		if r := spec.Refuse(); r != nil {
			got = string(r.Reason)
			for _, v := range r.Violations {
				got += " " + v.Pointer
			}
		}
		if got != c.want {
			t.Errorf("%s to %s, with %q allowed: refused is %q, want %q", c.data, c.target, c.allowed, got, c.want)
		}
	}
}
