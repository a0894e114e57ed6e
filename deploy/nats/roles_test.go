package nats_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/bus/consume"
	"holdfast.io/holdfast/internal/bus/fleet"
)

func TestPublisherPublishesAndFollows(t *testing.T) {
	f := newFleet(t)
	ci := f.connect(publisher)
	requests := f.bus(publisher)
	heard, progress := ci.subscribe("holdfast.evt.*.job.>"), ci.subscribe("holdfast.progress.*.job")
	for _, subject := range []string{"holdfast.req.backup.host.web01", "holdfast.req.cancel.host.web01", "holdfast.req.backup.all"} {
		publish(t, requests, subject)
	}
	if served, err := fleet.Of(requests).IsEnrolled(within(t, bustest.Patience), "web01"); err != nil || !served {
		t.Errorf("web01 is served: %v, %v", served, err)
	}
	if served, err := fleet.Of(requests).IsEnrolled(within(t, bustest.Patience), "nobody"); err != nil || served {
		t.Errorf("nobody is served: %v, %v", served, err)
	}
	if m := ci.must("$JS.API.CONSUMER.NAMES.HOLDFAST_REQUESTS", ""); !strings.Contains(string(m.Data), `"host_db01"`) {
		t.Errorf("the enrolled hosts are %s", m.Data)
	}
	worker := f.bus(web01)
	subject := events.EventSubject("web01", "job", "io.holdfast.backup.completed.v1")
	if err := worker.PublishEvent(within(t, bustest.Patience), subject, newEvent("io.holdfast.backup.completed.v1")); err != nil {
		t.Fatal(err)
	}
	if err := worker.PublishProgress(events.ProgressSubject("web01", "job"), newEvent("progress")); err != nil {
		t.Fatal(err)
	}
	if m := next(t, heard); m.Subject != subject {
		t.Errorf("heard %s", m.Subject)
	}
	next(t, progress)
	if m := ci.stored(events.StreamEvents, `{"seq":1,"next_by_subj":"holdfast.evt.*.job.>"}`); m.Subject != subject {
		t.Errorf("read %+v", m)
	}
}

func TestObserverFollowsEveryHost(t *testing.T) {
	f := newFleet(t)
	dash := f.connect(observer)
	heard := dash.subscribe("holdfast.evt.>")
	for user, host := range map[string]string{web01: "web01", db01: "db01"} {
		subject := events.EventSubject(host, "job", "io.holdfast.backup.completed.v1")
		if err := f.bus(user).PublishEvent(within(t, bustest.Patience), subject, newEvent("io.holdfast.backup.completed.v1")); err != nil {
			t.Fatal(err)
		}
		if m := next(t, heard); m.Subject != subject {
			t.Errorf("heard %s, not %s", m.Subject, subject)
		}
		if m := dash.stored(events.StreamEvents, `{"last_by_subj":"`+subject+`"}`); m.Subject != subject {
			t.Errorf("read %+v", m)
		}
	}
}

// TestEverybodyMayAskWhoServes has two workers answer as micro services.
func TestEverybodyMayAskWhoServes(t *testing.T) {
	f := newFleet(t)
	for user, host := range map[string]string{web01: "web01", db01: "db01"} {
		service, err := micro.AddService(f.connect(user).Conn,
			micro.Config{Name: "holdfast", Version: "1.0.0", Metadata: map[string]string{"host": host}})
		if err == nil {
			err = service.AddEndpoint("status", micro.HandlerFunc(func(r micro.Request) { _ = r.Respond([]byte(host)) }),
				micro.WithEndpointSubject("holdfast.status."+host))
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := service.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
	for _, user := range []string{publisher, observer, operator} {
		t.Run(user, func(t *testing.T) {
			asking := f.connect(user)
			for _, host := range []string{"web01", "db01"} {
				eventually(t, host+" answers", func() bool {
					m, err := asking.ask("holdfast.status."+host, "")
					return err == nil && string(m.Data) == host
				})
			}
			began := time.Now()
			if m, err := asking.ask("holdfast.status.nobody", ""); !errors.Is(err, nats.ErrNoResponders) {
				t.Errorf("a host that nobody serves: %+v, %v after %s", m, err, time.Since(began))
			}
			for _, subject := range []string{"$SRV.PING", "$SRV.INFO.holdfast", "$SRV.STATS.holdfast"} {
				inbox := asking.NewInbox()
				answers := asking.subscribe(inbox)
				if err := asking.PublishRequest(subject, inbox, nil); err != nil {
					t.Fatal(err)
				}
				var hosts []string
				for range 2 {
					var answer micro.ServiceIdentity
					if err := json.Unmarshal(next(t, answers).Data, &answer); err != nil {
						t.Fatal(err)
					}
					hosts = append(hosts, answer.Metadata["host"])
				}
				if slices.Sort(hosts); !slices.Equal(hosts, []string{"db01", "web01"}) {
					t.Errorf("%s is answered by %s", subject, hosts)
				}
			}
		})
	}
}

// TestEveryWorkerOfAHostAnswers has one that stands by answer when the answer of
// the one that serves has arrived.
func TestEveryWorkerOfAHostAnswers(t *testing.T) {
	f := newFleet(t)
	serving, standby := f.connect(web01).subscribe("holdfast.status.web01"), f.connect(web01).subscribe("holdfast.status.web01")
	for _, user := range []string{publisher, observer, operator} {
		t.Run(user, func(t *testing.T) {
			asking := f.connect(user)
			inbox := asking.NewInbox()
			answers := asking.subscribe(inbox)
			if err := asking.PublishRequest("holdfast.status.web01", inbox, nil); err != nil {
				t.Fatal(err)
			}
			for _, worker := range []*nats.Subscription{serving, standby} {
				if err := next(t, worker).Respond([]byte("here")); err != nil {
					t.Fatal(err)
				}
				next(t, answers)
			}
		})
	}
}

func TestOperatorReadsDeadLettersAndRepeatsRequests(t *testing.T) {
	f := newFleet(t)
	if err := f.bus(web01).PublishDeadLetter(within(t, bustest.Patience), "holdfast.dlq.web01", "id", []byte(`{"reason":"x"}`)); err != nil {
		t.Fatal(err)
	}
	op := f.connect(operator)
	if m := op.stored(events.StreamDLQ, `{"seq":1,"next_by_subj":"holdfast.dlq.>"}`); string(m.Data) != `{"reason":"x"}` {
		t.Errorf("read %+v", m)
	}
	publish(t, f.bus(operator), events.HostSubject(events.Backup, "db01"))
	op.must("$JS.API.STREAM.MSG.DELETE."+events.StreamDLQ, `{"seq":1}`)
}

// TestReloadBringsNewUsers changes the fleet under a server that runs, while a
// worker waits for requests.
func TestReloadBringsNewUsers(t *testing.T) {
	f := newFleet(t)
	op, worker := f.connect(operator), f.bus(web01)
	taken := make(chan *consume.Message, 1)
	ctx := within(t, 90*time.Second)
	source := consume.Work(worker, "web01")[0]
	go func() {
		m, err := source.Next(ctx)
		if err != nil {
			t.Error(err)
		}
		taken <- m
	}()
	eventually(t, "the pull lies at the server", func() bool { return op.consumer(events.StreamRequests, "host_web01").NumWaiting == 1 })

	removed, changed := f.options(db01), f.options(observer)
	f.script("host", f.dir, "app-1")
	f.script("password", f.dir, observer)
	removed.TLS.CA = changed.TLS.CA // its own goes with it
	f.script("remove", f.dir, db01)
	// Only at the second time does the server give a new account its imports.
	f.servers[0].reload()
	f.servers[0].reload()

	began := time.Now()
	publish(t, f.bus(publisher), events.HostSubject(events.Backup, "web01"))
	m := <-taken
	t.Logf("a request after the reload was taken after %s", time.Since(began))
	if m == nil {
		t.Fatal("nothing taken")
	}
	if err := m.Done(within(t, bustest.Patience)); err != nil {
		t.Error(err)
	}
	for _, o := range []bus.Options{removed, changed} {
		if _, err := bus.Connect(within(t, 5*time.Second), o); err == nil || !strings.Contains(err.Error(), "Authorization") {
			t.Errorf("%s is let in with what it had: %v", o.User, err)
		}
	}
	heard := f.connect(observer).subscribe("holdfast.evt.>")
	if err := f.bus("host-app-1").PublishEvent(within(t, bustest.Patience), "holdfast.evt.app-1.job.x", newEvent("x")); err != nil {
		t.Error(err)
	}
	next(t, heard)
	wire := f.connect("host-app-1")
	answers := wire.subscribe("holdfast.status.app-1")
	if err := f.connect(publisher).PublishRequest("holdfast.status.app-1", "_INBOX_publisher-ci.x", nil); err != nil {
		t.Error(err)
	}
	next(t, answers)
}
