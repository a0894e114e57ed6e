package read_test

import (
	"encoding/json"
	"errors"
	"iter"
	"reflect"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/bus/read"
)

func bury(t *testing.T, b *bus.Bus, host, subject string) events.DeadLetter {
	t.Helper()
	letter := events.DeadLetter{
		Reason:   events.ReasonInvalid,
		Errors:   []events.Violation{{Message: "wrong"}},
		Stream:   events.StreamRequests,
		Sequence: 7,
		Subject:  subject,
		Time:     time.Now().UTC().Round(0),
		Headers:  map[string][]string{"ce-id": {"a"}},
		Size:     2,
		Digest:   "sha256:0",
		Body:     []byte("{}"),
	}
	body, err := json.Marshal(letter)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.PublishDeadLetter(t.Context(), events.DeadLetterSubject(host), host+subject, body); err != nil {
		t.Fatal(err)
	}
	return letter
}

func collect[V any](t *testing.T, all iter.Seq2[V, error]) []V {
	t.Helper()
	var values []V
	for v, err := range all {
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, v)
	}
	return values
}

func TestDeadLetters(t *testing.T) {
	o := bustest.Embedded(t)
	b := bustest.Provisioned(t, o)
	_, js := bustest.Operator(t, o)
	if got := collect(t, read.DeadLetters(t.Context(), b, "*")); len(got) != 0 {
		t.Errorf("in an empty stream: %+v", got)
	}
	before := time.Now()
	want := []events.DeadLetter{bury(t, b, "web01", "1"), bury(t, b, "web02", "2")}
	for _, rubbish := range []string{"", "{}", "no letter"} {
		if _, err := js.Publish(t.Context(), "holdfast.dlq.web01", []byte(rubbish)); err != nil {
			t.Fatal(err)
		}
	}
	want = append(want, bury(t, b, "web01", "3"))
	hosts := []string{"web01", "web02", "web01"}

	all := collect(t, read.DeadLetters(t.Context(), b, "*"))
	if len(all) != len(want) {
		t.Fatalf("%d letters", len(all))
	}
	for i, l := range all {
		if l.Host != hosts[i] || l.Time.Sub(before).Abs() > time.Minute || !reflect.DeepEqual(l.DeadLetter, want[i]) {
			t.Errorf("letter %d is %+v\nnot %+v", i, l, want[i])
		}
		one, err := read.DeadLetter(t.Context(), b, l.Sequence)
		if err != nil || !reflect.DeepEqual(one, l) {
			t.Errorf("letter %d alone: %+v, %v", i, one, err)
		}
	}
	own := collect(t, read.DeadLetters(t.Context(), b, "web01"))
	if len(own) != 2 || own[0].Subject != "1" || own[1].Subject != "3" {
		t.Errorf("of one host: %+v", own)
	}
}

func TestDeadLetterThatIsNotThere(t *testing.T) {
	o := bustest.Embedded(t)
	_, err := read.DeadLetter(t.Context(), bustest.Connect(t, o), 1)
	if !errors.Is(err, bus.ErrNotProvisioned) {
		t.Errorf("without a stream: %v", err)
	}
	b := bustest.Provisioned(t, o)
	bury(t, b, "web01", "1")
	for _, sequence := range []uint64{0, 2, 1 << 60} {
		if l, err := read.DeadLetter(t.Context(), b, sequence); !errors.Is(err, read.ErrNoLetter) {
			t.Errorf("%d: %+v, %v", sequence, l, err)
		}
	}
	for _, host := range []string{"", ">", "web.01"} {
		for l, err := range read.DeadLetters(t.Context(), b, host) {
			if err == nil {
				t.Errorf("of host %q: %+v", host, l)
			}
		}
	}
}
