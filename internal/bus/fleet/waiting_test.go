package fleet_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/bus/consume"
	"holdfast.io/holdfast/internal/bus/fleet"
)

// wait stores a request of a kind for a host.
func wait(t *testing.T, b *bus.Bus, kind events.Kind, host, id string) {
	t.Helper()
	if _, err := b.PublishRequest(bustest.Within(t, bustest.Patience), events.HostSubject(kind, host), bustest.Request(kind, id)); err != nil {
		t.Fatal(err)
	}
}

func TestWaitingHosts(t *testing.T) {
	b := bustest.Provisioned(t, bustest.Embedded(t))
	expect := func(want ...string) {
		t.Helper()
		if got, err := fleet.Of(b).WaitingHosts(t.Context()); !slices.Equal(got, want) || err != nil {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	expect()
	wait(t, b, events.Backup, "b", "1")
	wait(t, b, events.Cancel, "b", "2")
	wait(t, b, events.Backup, host, "3")
	if _, err := b.PublishRequest(t.Context(), events.AnySubject(events.Verify), bustest.Request(events.Verify, "4")); err != nil {
		t.Fatal(err)
	}
	expect("b", host)
	m := bustest.Next(t, consume.Work(b, host)[0])
	expect("b", host) // until it is settled
	bustest.Done(t, m)
	expect("b")
}

func TestLockedHosts(t *testing.T) {
	o := bustest.Embedded(t)
	b := bustest.Provisioned(t, o)
	_, js := bustest.Operator(t, o)
	locks, err := js.KeyValue(t.Context(), events.BucketLocks)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, held := range []string{"a", "web_2E1"} {
		if got, err := fleet.Of(b).LockedHosts(t.Context()); !slices.Equal(got, want) || err != nil {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
		if _, err := locks.Put(t.Context(), held, []byte("owner")); err != nil {
			t.Fatal(err)
		}
		want = append(want, held)
	}
	if got, err := fleet.Of(b).LockedHosts(t.Context()); !slices.Equal(got, want) || err != nil {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

func TestNextWaitingGoesThroughAHostsRequests(t *testing.T) {
	b := bustest.Provisioned(t, bustest.Embedded(t))
	began := time.Now()
	wait(t, b, events.Backup, host, "1")
	wait(t, b, events.Backup, "other", "2")
	wait(t, b, events.Cancel, host, "3")
	last := uint64(0)
	for _, want := range []string{"1", "3"} {
		q, err := fleet.Of(b).NextWaiting(t.Context(), host, last)
		if err != nil || q == nil {
			t.Fatalf("%s: got %v, %v", want, q, err)
		}
		ev, err := events.Decode(q.Headers, q.Body)
		if err != nil || ev.ID() != want {
			t.Errorf("got %s, %v; want %s", ev.ID(), err, want)
		}
		if kind, _, err := events.ParseRequestSubject(q.Subject); err != nil || kind.RequestType() != ev.Type() {
			t.Errorf("%s: the subject is %s", want, q.Subject)
		}
		if q.Host != host {
			t.Errorf("%s: the host is %s", want, q.Host)
		}
		if q.Time.Before(began.Add(-time.Second)) || q.Time.After(time.Now().Add(time.Second)) {
			t.Errorf("%s: the time is %s", want, q.Time)
		}
		last = q.Sequence
	}
	if q, err := fleet.Of(b).NextWaiting(t.Context(), host, last); q != nil || err != nil {
		t.Errorf("got %v, %v after the last", q, err)
	}
}

func TestNextWaitingTakesAMessageWithoutHeaders(t *testing.T) {
	o := bustest.Embedded(t)
	b := bustest.Provisioned(t, o)
	_, js := bustest.Operator(t, o)
	if _, err := js.Publish(t.Context(), events.HostSubject(events.Backup, host), []byte("hello")); err != nil {
		t.Fatal(err)
	}
	q, err := fleet.Of(b).NextWaiting(t.Context(), host, 0)
	if err != nil || string(q.Body) != "hello" || len(q.Headers) > 0 {
		t.Errorf("got %+v, %v", q, err)
	}
}

func TestWaitingWithoutStreams(t *testing.T) {
	b := bustest.Connect(t, bustest.Embedded(t))
	if _, err := fleet.Of(b).WaitingHosts(t.Context()); !errors.Is(err, bus.ErrNotProvisioned) {
		t.Errorf("got %v", err)
	}
	if _, err := fleet.Of(b).LockedHosts(t.Context()); !errors.Is(err, bus.ErrNotProvisioned) {
		t.Errorf("got %v", err)
	}
	if _, err := fleet.Of(b).NextWaiting(t.Context(), host, 0); !errors.Is(err, bus.ErrNotProvisioned) {
		t.Errorf("got %v", err)
	}
}
