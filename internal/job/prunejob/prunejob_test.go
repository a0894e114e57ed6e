package prunejob_test

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
	"testing/synctest"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.uber.org/zap/zaptest"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/inuse"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/job/prunejob"
	"holdfast.io/holdfast/internal/ledger"
	"holdfast.io/holdfast/internal/ledger/ledgertest"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
	"holdfast.io/holdfast/internal/step"
	"holdfast.io/holdfast/schemas/examples"
)

const host = "web01"

var asked = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// world is a host with a sink, and what runs its jobs.
type world struct {
	*testing.T
	sink    *sinktest.Memory
	away    bool
	wrap    func(*sinktest.Memory) sink.Sink // nil for the sink as it is
	locks   *ledgertest.Memory
	store   *ledgertest.Memory
	retry   time.Duration
	observe func(step.Name)

	mu     sync.Mutex
	events []event.Event
}

func newWorld(t *testing.T) *world {
	return &world{T: t, sink: sinktest.NewMemory(), locks: ledgertest.NewMemory(), store: ledgertest.NewMemory()}
}

// Sinks of the world.
func (w *world) Has(name string) bool { return name == events.DefaultSink }
func (w *world) Names() []string      { return []string{events.DefaultSink} }
func (w *world) Shared(string) bool   { return false }
func (w *world) Open(context.Context, string) (sink.Sink, error) {
	if w.away {
		return nil, fmt.Errorf("%w: it is not mounted", sink.ErrUnavailable)
	}
	if w.wrap != nil {
		return w.wrap(w.sink), nil
	}
	return w.sink, nil
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

// point stores a point of a thing that is so many days older than the request.
func (w *world) point(name string, days int, change func(*point.Manifest)) (id string) {
	w.Helper()
	valid, err := examples.Valid("manifest")
	if err != nil {
		w.Fatal(err)
	}
	id = asked.AddDate(0, 0, -days).Format("20060102T150405Z") + fmt.Sprintf("-0000%04x", uint16(days))
	dir := point.Dir(host, events.ItemContainer, name, id)
	m, err := point.Decode(valid["container.json"])
	if err != nil {
		w.Fatal(err)
	}
	m.ID, m.Host, m.Item.Name = id, host, name
	for i := range m.Artifacts {
		m.Artifacts[i].Key = path.Join(dir, path.Base(m.Artifacts[i].Key))
	}
	if change != nil {
		change(m)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		w.Fatal(err)
	}
	staging, err := w.sink.Stage(w.Context(), dir, "1")
	if err == nil {
		err = errors.Join(staging.Publish(w.Context(), raw), staging.Discard(w.Context()))
	}
	if err != nil {
		w.Fatal(err)
	}
	return id
}

func dirOf(name, id string) string { return point.Dir(host, events.ItemContainer, name, id) }

// result is what came of a job.
type result struct {
	verdict job.Verdict
	events  []event.Event
}

// prune carries a request out that was stored at a time; id is the request's.
func (w *world) prune(id string, stored time.Time, data string) result {
	w.Helper()
	k := &prunejob.Kind{Host: host, Sinks: w, SinkPolicy: job.SinkPolicy{Host: host, Sinks: w}, Uses: &inuse.Registry{Locks: w.locks, Host: host}}
	ev := event.New()
	ev.SetID(id)
	ev.SetSource("/test")
	ev.SetType(events.Prune.RequestType())
	if err := ev.SetData(event.ApplicationJSON, json.RawMessage(data)); err != nil {
		w.Fatal(err)
	}
	r := job.Request{Job: events.JobID("/test", id, host), Host: host, Target: events.TargetHost, Event: ev,
		Digest: events.RequestDigest(ev), Reply: "reply", Stored: stored}
	spec, err := k.Parse(r)
	if err != nil {
		w.Fatal(err)
	}
	runner := &job.Runner{Host: host, Publisher: w, Jobs: &ledger.Jobs{Store: w.store, Host: host, Owner: "a"}, Lease: w,
		Slots: job.NewSlots(2), RetryFor: w.retry, Log: zaptest.NewLogger(w)}
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
	return result{verdict: runner.Run(ctx, r, events.Prune, spec, slot), events: w.events}
}

// last decodes the last event.
func last[T any](w *world, r result) (data T) {
	w.Helper()
	if len(r.events) == 0 {
		w.Fatalf("nothing was published; the verdict is %+v", r.verdict)
	}
	if err := r.events[len(r.events)-1].DataAs(&data); err != nil {
		w.Fatal(err)
	}
	return data
}

// outcomes are how the points ended, by their ids.
func outcomes(d events.Ended) map[string]string {
	of := map[string]string{}
	for _, o := range d.Items {
		of[o.Point] = strings.TrimSpace(string(o.Status) + " " + string(o.Code))
	}
	return of
}

// left are the ids of the points that are there, in order, those with a mark that hides
// them in brackets.
func (w *world) left() (ids []string) {
	w.Helper()
	for e, err := range point.List(w.Context(), w.sink, sink.PointsName) {
		if err != nil {
			w.Fatal(err)
		}
		id := path.Base(e.Dir)
		if e.Marks.IsRemoved() {
			id = "[" + id + "]"
		}
		ids = append(ids, id)
	}
	return ids
}

func (w *world) want(ids ...string) {
	w.Helper()
	if got := w.left(); !slices.Equal(got, ids) {
		w.Errorf("there are the points %q, want %q", got, ids)
	}
}

// Points are hidden at first, and their bytes go with a prune after the grace.
func TestPrune(t *testing.T) {
	w := newWorld(t)
	old, middle, newest := w.point("web-1", 3, nil), w.point("web-1", 2, nil), w.point("web-1", 1, nil)
	other := w.point("db", 9, nil)
	r := w.prune("1", asked, `{"keep":{"last":1},"grace":"24h"}`)
	end := last[events.Ended](w, r)
	if end.Status != events.StatusSucceeded || end.Counts.Completed != 2 || end.Hidden != 2 || end.HiddenBytes == 0 || end.Bytes != 0 {
		t.Errorf("the end is %+v", end)
	}
	for _, o := range end.Items {
		if !o.GoneAfter.Equal(asked.Add(24 * time.Hour)) {
			t.Errorf("%s is gone after %s", o.Point, o.GoneAfter)
		}
	}
	w.want(other, "["+old+"]", "["+middle+"]", newest)

	// The same message again: the same words, and nothing is done.
	again := w.prune("1", asked.Add(48*time.Hour), `{"keep":{"last":1},"grace":"24h"}`)
	if len(again.events) != len(r.events) || again.events[len(again.events)-1].ID() != r.events[len(r.events)-1].ID() {
		t.Errorf("it was repeated with %d events, and had %d", len(again.events), len(r.events))
	}
	w.want(other, "["+old+"]", "["+middle+"]", newest)

	w.prune("2", asked.Add(24*time.Hour-time.Second), `{"keep":{"last":1}}`)
	w.want(other, "["+old+"]", "["+middle+"]", newest)
	if err := w.sink.Remove(t.Context(), path.Join(dirOf("web-1", middle), sink.RemovedName)); err != nil { // it is taken back
		t.Fatal(err)
	}
	end = last[events.Ended](w, w.prune("3", asked.Add(24*time.Hour), `{"keep":{"last":2}}`))
	if end.Counts.Completed != 1 || end.Bytes == 0 || end.Hidden != 0 {
		t.Errorf("the end is %+v", end)
	}
	w.want(other, middle, newest)
}

// The clock of the worker counts for nothing: here it is the year 2000, long before the
// points were made.
func TestTheWorkersClockDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if year := time.Now().Year(); year > 2001 {
			t.Fatalf("the clock shows %d", year)
		}
		w := newWorld(t)
		old, newest, future := w.point("web-1", 2, nil), w.point("web-1", 1, nil), w.point("web-1", -1, nil)
		w.prune("1", asked, `{"keep":{"last":1},"grace":"24h"}`)
		w.want("["+old+"]", newest, future)
		w.prune("2", asked.Add(23*time.Hour), `{"keep":{"last":1},"grace":"24h"}`)
		w.want("["+old+"]", newest, future)
		w.prune("3", asked.Add(24*time.Hour), `{"keep":{"last":1},"grace":"24h"}`)
		w.want("["+newest+"]", future)
	})
}

// A sink that cannot be written to has the job tried again.
func TestReadOnlySink(t *testing.T) {
	w := newWorld(t)
	old, newest := w.point("web-1", 2, nil), w.point("web-1", 1, nil)
	w.retry = time.Hour
	w.sink.Fail(t, sinktest.OpMark, 1, fmt.Errorf("%w: it is read-only; mount it writable", sink.ErrUnavailable))
	if r := w.prune("1", asked, `{"keep":{"last":1}}`); r.verdict.Disposition != job.RetryLater {
		t.Errorf("the verdict is %+v", r.verdict)
	}
	w.want(old, newest)
	w.retry = 0
	w.sink.Fail(t, sinktest.OpMark, 1, fmt.Errorf("%w: it is read-only; mount it writable", sink.ErrUnavailable))
	end := last[events.Ended](w, w.prune("1", asked, `{"keep":{"last":1}}`))
	if got := outcomes(end); got[old] != "failed sink_unavailable" {
		t.Errorf("the outcomes are %v", got)
	}
	w.want(old, newest)
}

// What the sink has locked is kept, and not hidden, until its lock ends: that is said of each
// in a dry run, and of all in a warning. It is no failure.
func TestLocked(t *testing.T) {
	w := newWorld(t)
	w.sink.LockFor(30 * 24 * time.Hour)
	old, older, newest := w.point("web-1", 2, nil), w.point("web-1", 3, nil), w.point("web-1", 1, nil)
	free := w.point("web-1", 4, nil)
	w.sink.LockPoint(dirOf("web-1", free), 0)
	planned := last[events.Planned](w, w.prune("1", asked, `{"keep":{"last":1},"dryRun":true}`))
	reasons := map[string]string{}
	for _, e := range planned.Excluded {
		reasons[e.Point] = e.Reason
	}
	if len(planned.Items) != 1 || planned.Items[0].Point != free || !strings.HasPrefix(reasons[old], "locked until 20") ||
		!strings.HasPrefix(reasons[older], "locked until 20") || reasons[newest] != "last (1 of 1); the newest" {
		t.Errorf("planned are %+v, and left out %q", planned.Items, reasons)
	}
	end := last[events.Ended](w, w.prune("2", asked, `{"keep":{"last":1},"grace":"0s"}`))
	if end.Status != events.StatusSucceeded || end.Counts.Items != 1 || len(end.Warnings) != 1 || end.Warnings[0].Code != events.WarningLocked ||
		!strings.HasPrefix(end.Warnings[0].Message, "2 points would be removed, and are kept: the first is locked until 20") {
		t.Errorf("the end is %+v", end)
	}
	w.want(older, old, newest)
	w.sink.LockFor(0)
	end = last[events.Ended](w, w.prune("3", asked, `{"keep":{"last":1},"grace":"0s"}`))
	if end.Counts.Completed != 2 || len(end.Warnings) > 0 {
		t.Errorf("the end is %+v", end)
	}
	w.want(newest)
}

// mayNot is a sink whose credentials may not remove anything.
type mayNot struct{ *sinktest.Memory }

func (mayNot) MayRemove(context.Context) error { return fmt.Errorf("s3://b: %w", sink.ErrMayNotRemove) }

// With credentials that may not remove, that is said, and nothing is hidden.
func TestMayNotRemove(t *testing.T) {
	w := newWorld(t)
	w.retry = time.Hour // which nothing is waited for
	old, newest := w.point("web-1", 2, nil), w.point("web-1", 1, nil)
	w.wrap = func(s *sinktest.Memory) sink.Sink { return mayNot{s} }
	end := last[events.Ended](w, w.prune("1", asked, `{"keep":{"last":1}}`))
	if got := outcomes(end); got[old] != "failed may_not_remove" {
		t.Errorf("the outcomes are %v", got)
	}
	w.want(old, newest)
}

// A dry run names every point with its reasons, and touches nothing.
func TestDryRun(t *testing.T) {
	w := newWorld(t)
	old, newest := w.point("web-1", 2, nil), w.point("web-1", 1, nil)
	damaged := w.point("db", 3, nil)
	if err := w.sink.RemovePoint(t.Context(), dirOf("db", damaged)); err != nil {
		t.Fatal(err)
	}
	staging, err := w.sink.Stage(t.Context(), dirOf("db", damaged), "2")
	if err == nil {
		err = errors.Join(staging.Publish(t.Context(), []byte("{")), staging.Discard(t.Context()))
	}
	if err != nil {
		t.Fatal(err)
	}
	before := w.sink.Contents()
	planned := last[events.Planned](w, w.prune("1", asked, `{"keep":{"last":1},"grace":"0s","dryRun":true,"containers":{"names":["web-1","db","gone"]}}`))
	if len(planned.Items) != 1 || planned.Items[0].Point != old || planned.Items[0].Reason != "no rule keeps it" ||
		len(planned.Items[0].Actions) != 1 || !strings.HasPrefix(planned.Items[0].Actions[0], "remove its ") {
		t.Errorf("the items are %+v", planned.Items)
	}
	if len(planned.Excluded) != 2 || !strings.Contains(planned.Excluded[0].Reason, "cannot be read") ||
		planned.Excluded[0].Name != dirOf("db", damaged) || planned.Excluded[1].Point != newest ||
		planned.Excluded[1].Reason != "last (1 of 1); the newest" {
		t.Errorf("left out are %+v", planned.Excluded)
	}
	if len(planned.Missing) != 1 || planned.Missing[0].Name != "gone" {
		t.Errorf("missing are %+v", planned.Missing)
	}
	if after := w.sink.Contents(); len(after) != len(before) {
		t.Errorf("the sink was changed: %q", after)
	}
}

// A group whose newest point is suspicious is held back, by an event that says why; the
// others are not.
func TestHeld(t *testing.T) {
	w := newWorld(t)
	shrink := func(m *point.Manifest) {
		for i := range m.Artifacts {
			m.Artifacts[i].Size, m.Artifacts[i].UncompressedSize = 1, 1
		}
	}
	held := []string{w.point("db", 3, nil), w.point("db", 2, nil), w.point("db", 1, shrink)}
	kept := []string{w.point("web-1", 2, nil), w.point("web-1", 1, nil)}
	r := w.prune("1", asked, `{"keep":{"last":1},"grace":"0s"}`)
	end := last[events.Ended](w, r)
	if got := outcomes(end); end.Status != events.StatusPartial || got[held[2]] != "failed held" || got[kept[0]] != "completed" || len(got) != 2 {
		t.Errorf("the job ended %s with %v", end.Status, got)
	}
	w.want(append(slices.Clone(held), kept[1])...)
	said := false
	for _, ev := range r.events {
		var d events.ItemFailed
		if events.ResultOf(ev.Type()) == events.ResultItemFailed && ev.DataAs(&d) == nil {
			said = d.Code == events.CodeHeld && d.Point == held[2] && strings.Contains(d.Message, "the image of the newest point")
		}
	}
	if !said {
		t.Errorf("no event says why")
	}
}

// What changed after the plan was made counts: such a point is skipped, and that is no
// failure.
func TestChangedSinceThePlan(t *testing.T) {
	protect := func(w *world, id string) {
		mark := point.Protected{By: "anna@ops-1", Time: asked, Reason: "no"}
		if err := mark.Write(w.Context(), w.sink, dirOf("web-1", id)); err != nil {
			w.Fatal(err)
		}
	}
	for what, meanwhile := range map[string]func(w *world, id string){
		"protected": protect,
		"verified, and the only one that passed": func(w *world, id string) {
			mark := point.Verified{Time: asked, Level: "full", OK: true, Host: host, Job: "ptg32uecxwng6yf7", Holdfast: "test"}
			if err := mark.Write(w.Context(), w.sink, dirOf("web-1", id)); err != nil {
				w.Fatal(err)
			}
		},
		"in use": func(w *world, id string) {
			r := &inuse.Registry{Locks: w.locks, Host: "db01"}
			release, err := r.Register(w.Context(), inuse.Point{Sink: w.sink.ID(), ID: id}, "k3j2k3j2k3j2k3j2")
			if err != nil {
				w.Fatal(err)
			}
			w.Cleanup(release)
		},
		"locked": func(w *world, id string) { w.sink.LockPoint(dirOf("web-1", id), 30*24*time.Hour) },
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			old, newest := w.point("web-1", 2, nil), w.point("web-1", 1, nil)
			w.observe = func(passed step.Name) {
				if passed == step.Accepted {
					meanwhile(w, old)
				}
			}
			end := last[events.Ended](w, w.prune("1", asked, `{"keep":{"last":1},"grace":"0s"}`))
			if got := outcomes(end); end.Status != events.StatusSucceeded || got[old] != "skipped kept" || end.Counts.Kept != 1 {
				t.Errorf("the job ended %s with %v, %+v", end.Status, got, end.Counts)
			}
			w.want(old, newest)
		})
	}
}

// A sink that is away has the job tried again, and at last fails it; nothing is lost.
func TestSinkAway(t *testing.T) {
	w := newWorld(t)
	old, newest := w.point("web-1", 2, nil), w.point("web-1", 1, nil)
	w.retry = time.Hour
	w.away = true
	if r := w.prune("1", asked, `{"keep":{"last":1},"grace":"0s"}`); r.verdict.Disposition != job.RetryLater || len(r.events) != 0 {
		t.Errorf("the verdict is %+v, after %d events", r.verdict, len(r.events))
	}
	w.away = false
	// In the middle: the manifest is gone, and the rest is not.
	fault := w.sink.Fail(t, sinktest.OpHidden, 1, fmt.Errorf("%w: unplugged", sink.ErrUnavailable))
	if r := w.prune("1", asked, `{"keep":{"last":1},"grace":"0s"}`); r.verdict.Disposition != job.RetryLater || !fault.Hit() {
		t.Errorf("the verdict is %+v", r.verdict)
	}
	w.want(newest)
	end := last[events.Ended](w, w.prune("1", asked, `{"keep":{"last":1},"grace":"0s"}`))
	if got := outcomes(end); got[old] != "completed" {
		t.Errorf("the outcomes are %v", got)
	}
	for key := range w.sink.Contents() {
		if strings.Contains(key, old) {
			t.Errorf("left is %s", key)
		}
	}

	w.retry = 0
	w.away = true
	end = last[events.Ended](w, w.prune("2", asked, `{"keep":{"last":1}}`))
	if end.Status != events.StatusFailed || !strings.Contains(end.Message, "not mounted") {
		t.Errorf("the end is %+v", end)
	}
}

// A request without a rule is refused, and so are rules that make no sense.
func TestParseRefuses(t *testing.T) {
	k := &prunejob.Kind{}
	for data, pointer := range map[string]string{
		`{}`:                                 "/keep",
		`{"keep":{}}`:                        "/keep",
		`{"keep":{"last":0}}`:                "/keep",
		`{"keep":{"last":-1}}`:               "/keep/last",
		`{"keep":{"last":1},"grace":"-1h"}`:  "/grace",
		`{"keep":{"last":1},"grace":"soon"}`: "/grace",
		`{"keep":{"within":"0s"}}`:           "/keep/within",
		`{"keep":{"last":1},"containers":{"match":["("]}}`: "/containers/match/0",
		`{"keep":{"last":1},"all":true}`:                   "/all",
	} {
		ev := event.New()
		_ = ev.SetData(event.ApplicationJSON, json.RawMessage(data))
		_, err := k.Parse(job.Request{Event: ev})
		invalid, ok := errors.AsType[*events.InvalidError](err)
		if !ok || !slices.ContainsFunc(invalid.Violations, func(v events.Violation) bool { return v.Pointer == pointer }) {
			t.Errorf("%s: %v, want something at %s", data, err, pointer)
		}
	}
}
