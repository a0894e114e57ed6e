package unserved

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus/fleet"
	"holdfast.io/holdfast/schemas"
)

// latest is how long it takes at most until a request is reported.
const latest = patience + 3*interval

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDecide(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	ago := func(d time.Duration, reported uint64) absence { return absence{since: now.Add(-d), reported: reported} }
	for name, test := range map[string]struct {
		queued, locked []string
		before, after  map[string]absence
		due            []string
	}{
		"nothing lies":                      {nil, []string{"self"}, map[string]absence{"a": ago(time.Hour, 1)}, map[string]absence{}, nil},
		"its own":                           {[]string{"self"}, []string{"self"}, nil, map[string]absence{"self": {}}, nil},
		"its own, with the lock just taken": {[]string{"self"}, nil, nil, map[string]absence{"self": {}}, nil},
		"served":                            {[]string{"a"}, []string{"a", "self"}, nil, map[string]absence{"a": {}}, nil},
		"seen first":                        {[]string{"a"}, []string{"self"}, nil, map[string]absence{"a": ago(0, 0)}, nil},
		"not yet": {[]string{"a"}, []string{"self"}, map[string]absence{"a": ago(59*time.Second, 0)},
			map[string]absence{"a": ago(59*time.Second, 0)}, nil},
		"due": {[]string{"a"}, []string{"self"}, map[string]absence{"a": ago(time.Minute, 7)},
			map[string]absence{"a": ago(time.Minute, 7)}, []string{"a"}},
		"served again": {[]string{"a"}, []string{"a", "self"}, map[string]absence{"a": ago(time.Hour, 7)},
			map[string]absence{"a": {reported: 7}}, nil},
		"gone again": {[]string{"a"}, []string{"self"}, map[string]absence{"a": {reported: 7}},
			map[string]absence{"a": ago(0, 7)}, nil},
		"self does not serve": {[]string{"a"}, []string{"b"}, map[string]absence{"a": ago(time.Hour, 0)},
			map[string]absence{"a": ago(time.Hour, 0)}, nil},
	} {
		before := maps.Clone(test.before)
		after, due := decide(now, "self", test.queued, test.locked, test.before)
		if !maps.Equal(after, test.after) || !slices.Equal(due, test.due) {
			t.Errorf("%s: got %v and %q, want %v and %q", name, after, due, test.after, test.due)
		}
		if !maps.Equal(before, test.before) {
			t.Errorf("%s: its argument was changed", name)
		}
	}
}

// One worker reports each host, the work is spread, and it stays where it is when
// another worker goes.
func TestReporterIsOneAndStays(t *testing.T) {
	serving := []string{"a", "b", "c", "d"}
	share := map[string]int{}
	for i := range 400 {
		host := fmt.Sprint("gone", i)
		chosen := reporter(host, serving)
		share[chosen]++
		for _, left := range serving {
			if left == chosen {
				continue
			}
			others := slices.DeleteFunc(slices.Clone(serving), func(s string) bool { return s == left })
			if got := reporter(host, others); got != chosen {
				t.Fatalf("%s was reported by %s, and is by %s now that %s is gone", host, chosen, got, left)
			}
		}
	}
	for _, s := range serving {
		if share[s] < 50 {
			t.Errorf("%s reports %d of 400 hosts", s, share[s])
		}
	}
	if got := reporter("gone", nil); got != "" {
		t.Errorf("nobody serves, and %q reports", got)
	}
}

// server is a message server in memory.
type server struct {
	mu        sync.Mutex
	queued    []fleet.WaitingRequest
	locked    []string
	asked     int
	failures  int // of the next publications
	published []event.Event
	subjects  []string
}

func hostOf(q fleet.WaitingRequest) string { return q.Subject[len("holdfast.req.backup.host."):] }

func (s *server) WaitingHosts(context.Context) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	var hosts []string
	for _, q := range s.queued {
		hosts = append(hosts, hostOf(q))
	}
	slices.Sort(hosts)
	return slices.Compact(hosts), nil
}

func (s *server) LockedHosts(context.Context) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return s.locked, nil
}

func (s *server) NextWaiting(_ context.Context, host string, after uint64) (*fleet.WaitingRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	for _, q := range s.queued {
		if hostOf(q) == host && q.Sequence > after {
			return &q, nil
		}
	}
	return nil, nil
}

func (s *server) PublishEvent(_ context.Context, subject string, ev event.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures > 0 {
		s.failures--
		return errors.New("away")
	}
	s.published, s.subjects = append(s.published, ev), append(s.subjects, subject)
	return nil
}

// lock has these hosts be served, and no others.
func (s *server) lock(hosts ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.locked = hosts
}

// add has a request lie for a host.
func (s *server) add(host, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queued = append(s.queued, fleet.WaitingRequest{
		Subject: events.HostSubject(events.Backup, host), Sequence: uint64(len(s.queued) + 1), Time: time.Now(),
		Headers: map[string][]string{"ce-specversion": {"1.0"}, "ce-id": {id}, "ce-source": {"/ci"}, "ce-type": {events.Backup.RequestType()}},
		Body:    []byte("{}"),
	})
}

// reported returns the requests that were reported, in their order.
func (s *server) reported() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for _, ev := range s.published {
		ids = append(ids, ev.Extensions()[events.ExtCausationID].(string))
	}
	return ids
}

// watching runs a watcher of the host self in a bubble.
func watching(t *testing.T, s *server, test func(t *testing.T)) {
	synctest.Test(t, func(t *testing.T) {
		w := &Watcher{Host: "self", Queue: s, Log: zaptest.NewLogger(t)}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); w.Run(ctx) }()
		test(t)
		stop()
		<-ended
	})
}

// pass lets time pass, and whatever is due in it happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestUnservedRequestsAreReportedOnce(t *testing.T) {
	s := &server{locked: []string{"self"}}
	watching(t, s, func(t *testing.T) {
		s.add("gone", "1")
		s.add("self", "2")
		s.add("gone", "3")
		pass(patience)
		if got := s.reported(); got != nil {
			t.Fatalf("%q is reported after a minute", got)
		}
		pass(latest - patience)
		if got := s.reported(); !slices.Equal(got, []string{"1", "3"}) {
			t.Fatalf("got %q", got)
		}
		pass(time.Hour)
		s.add("gone", "4")
		pass(patience - time.Second)
		if got := s.reported(); len(got) != 2 {
			t.Fatalf("got %q", got)
		}
		pass(2 * interval)
		if got := s.reported(); !slices.Equal(got, []string{"1", "3", "4"}) {
			t.Fatalf("got %q", got)
		}
	})
	job := events.JobID("/ci", "1", "gone")
	if ev := s.published[0]; ev.ID() != events.EventID(job, events.TypeRequestUnserved, "") ||
		s.subjects[0] != "holdfast.evt.self."+job+".request.unserved" {
		t.Errorf("%s on %s", ev.ID(), s.subjects[0])
	}
	if err := schemas.Validate(events.TypeRequestUnserved, s.published[0].Data()); err != nil {
		t.Error(err)
	}
}

// A takeover, and a worker that was restarted, are not reported, even if they fall
// on every look.
func TestAHostThatIsServedAgainIsNotReported(t *testing.T) {
	s := &server{locked: []string{"self"}}
	watching(t, s, func(t *testing.T) {
		s.add("host", "1")
		for range 100 {
			s.lock("self")
			pass(15 * time.Second)
			s.lock("host", "self")
			pass(2 * interval)
		}
	})
	if got := s.reported(); got != nil {
		t.Errorf("%q is reported", got)
	}
}

func TestAFailedReportIsMadeLater(t *testing.T) {
	s := &server{locked: []string{"self"}, failures: 2}
	watching(t, s, func(t *testing.T) {
		s.add("gone", "1")
		s.add("gone", "2")
		pass(latest + 4*interval)
	})
	if got := s.reported(); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("got %q", got)
	}
}

// A look is bounded, and the next one goes on.
func TestManyRequestsAreReportedInTheirOrder(t *testing.T) {
	s := &server{locked: []string{"self"}}
	want := make([]string, maxReports+20)
	watching(t, s, func(t *testing.T) {
		for i := range want {
			want[i] = fmt.Sprint(i)
			s.add("gone", want[i])
		}
		pass(latest + 4*interval)
	})
	if got := s.reported(); !slices.Equal(got, want) {
		t.Errorf("%d of %d are reported", len(got), len(want))
	}
}

func TestWhatIsNoRequestIsPassedOver(t *testing.T) {
	s := &server{locked: []string{"self"}}
	watching(t, s, func(t *testing.T) {
		s.add("gone", "")
		s.add("gone", "2")
		pass(latest)
	})
	if got := s.reported(); !slices.Equal(got, []string{"2"}) {
		t.Errorf("got %q", got)
	}
}

func TestAnIdleFleetIsAskedLittle(t *testing.T) {
	s := &server{locked: []string{"self"}}
	watching(t, s, func(*testing.T) { pass(time.Hour) })
	if most := int(time.Hour / (interval / 2)); s.asked > most || s.asked < most/4 {
		t.Errorf("%d exchanges in an hour", s.asked)
	}
}

var _ Queue = fleet.Fleet{}
