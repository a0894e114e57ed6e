package read_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/bus/read"
)

// The events of a large job are read many at a time: one after another they would
// take 3 s from here.
func TestFollowIsNotBoundByTheDistance(t *testing.T) {
	const stored, oneWay = 600, 2500 * time.Microsecond
	p, o := bustest.External(t)
	near := bustest.Provisioned(t, o)
	for i := range stored {
		if err := near.PublishEvent(t.Context(), "holdfast.evt.web01.job.backup.item.completed", bustest.Result(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	far := bustest.Connect(t, bus.Options{URL: bustest.Distant(t, p, oneWay), User: o.User, Password: o.Password})
	began := time.Now()
	s, err := read.Follow(t.Context(), far, host, "job")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range stored {
		ev, err := s.Next(bustest.Within(t, bustest.Patience))
		if err != nil || ev.ID() != fmt.Sprint(i) {
			t.Fatalf("event %d is %s, %v", i, ev.ID(), err)
		}
	}
	took := time.Since(began)
	t.Logf("%d events after %s", stored, took)
	if took > stored*2*oneWay/2 {
		t.Errorf("it takes %s", took)
	}
}

// What somebody stored with a message is not taken for what the server says of it.
func TestStoredHeadersAreNotTheServers(t *testing.T) {
	bustest.OnBoth(t, func(t *testing.T, o bus.Options) {
		b := bustest.Provisioned(t, o)
		_, js := bustest.Operator(t, o)
		for i := range 3 {
			m := &nats.Msg{Subject: "holdfast.dlq.web01", Data: fmt.Append(nil, i), Header: nats.Header{
				"Status": {"204"}, "Nats-Subject": {"holdfast.dlq.other"}, "Nats-Sequence": {"99"}, "Nats-Num-Pending": {"0"},
				"Nats-Time-Stamp": {"2000-01-01T00:00:00Z"}, "Nats-Stream": {"OTHER"}, "Nats-Last-Sequence": {"99"},
			}}
			if _, err := js.PublishMsg(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for m, err := range b.Walk(t.Context(), events.StreamDLQ, "holdfast.dlq.*") {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprint(m.Subject, " ", m.Sequence, " ", string(m.Data), " ", time.Since(m.Time) < time.Minute))
		}
		if want := "[holdfast.dlq.web01 1 0 true holdfast.dlq.web01 2 1 true holdfast.dlq.web01 3 2 true]"; fmt.Sprint(got) != want {
			t.Errorf("got %s", got)
		}
	})
}

func TestFollowSaysThatAStreamAllowsNoDirectReads(t *testing.T) {
	o := bustest.Embedded(t)
	b := bustest.Provisioned(t, o)
	_, js := bustest.Operator(t, o)
	s, err := js.Stream(t.Context(), events.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	config := s.CachedInfo().Config
	config.AllowDirect = false
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if _, err := read.Follow(t.Context(), b, host, "job"); err == nil {
		t.Error("it is followed")
	} else {
		t.Log(err)
	}
}
