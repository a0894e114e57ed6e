package present

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
)

// eventOf returns an event with the given data.
func eventOf(t *testing.T, kind string, data any) event.Event {
	t.Helper()
	ev := event.New()
	ev.SetID("1")
	ev.SetSource("/test")
	ev.SetType(kind)
	if err := ev.SetData(event.ApplicationJSON, data); err != nil {
		t.Fatal(err)
	}
	return ev
}

func resultType(r events.Result) string { return events.Backup.ResultType(r) }

func TestEventsAndWhatTheirEndMeans(t *testing.T) {
	web := events.Item{Kind: events.ItemContainer, ID: "c1", Name: "web\x1b[31m"}
	ended := func(s events.Status) events.Ended { return events.Ended{Job: "j", Status: s} }
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, test := range map[string]struct {
		kind string
		data any
		want Outcome
		out  string
		err  string
	}{
		"accepted": {resultType(events.ResultAccepted), events.Accepted{Job: "j", Host: "h", Plan: events.Plan{
			Items:    []events.PlannedItem{{Item: web}},
			Excluded: []events.Excluded{{Item: web, Reason: "a rule"}},
		}}, Running, "", "job j on host h: 1 item\nleft out: container web\\u001b[31m: a rule\n"},
		"accepted, with points left out": {resultType(events.ResultAccepted), events.Accepted{Job: "j", Host: "h", Plan: events.Plan{
			Excluded: slices.Repeat([]events.Excluded{{Item: web, Point: "p", Reason: "a rule"}}, 25), ExcludedOmitted: 7,
		}}, Running, "", "job j on host h: 0 items\n" + strings.Repeat("left out: point p of container web\\u001b[31m: a rule\n", 20) +
			"left out: and 12 more; a dry run says why\n"},
		"progress": {resultType(events.ResultProgress), events.Progress{Item: web, Bytes: 1}, Running, "", ""},
		"stored": {resultType(events.ResultItemCompleted), events.BackupItemCompleted{Item: web, Point: "p",
			Artifacts: []events.Artifact{{Size: 1024}, {Size: 1024}}, Warnings: []events.Warning{{Message: "look"}}},
			Running, "", "warning: look\nstored: container web\\u001b[31m as p (2.0 KiB)\n"},
		"stored, unchanged": {resultType(events.ResultItemCompleted), events.BackupItemCompleted{Item: web, Point: "p", Unchanged: true,
			Artifacts: []events.Artifact{{Size: 1024, Reused: true}, {Size: 1024}}},
			Running, "", "stored: container web\\u001b[31m as p (2.0 KiB, 1.0 KiB new, image unchanged)\n"},
		"succeeded, unchanged": {resultType(events.ResultCompleted), events.Ended{Job: "j", Status: events.StatusSucceeded,
			Items: []events.ItemOutcome{{Item: web, Status: events.OutcomeCompleted, Unchanged: true}}}, Succeeded, "unchanged", "job j succeeded"},
		"failed item": {resultType(events.ResultItemFailed), events.ItemFailed{Item: web, Code: "c", Message: "m"},
			Running, "", "failed: container web\\u001b[31m: c: m\n"},
		"succeeded": {resultType(events.ResultCompleted), events.Ended{Job: "j", Status: events.StatusSucceeded, Bytes: 2048,
			Began: began, Ended: began.Add(1500 * time.Millisecond), Counts: events.Counts{Items: 1, Completed: 1},
			Items: []events.ItemOutcome{{Item: web, Status: events.OutcomeCompleted, Point: "p", Size: 2048, UncompressedSize: 4096}}},
			Succeeded, "web\\u001b[31m", "job j succeeded: 1 stored, 0 failed, 0 missing, 0 skipped, 0 cancelled; 2.0 KiB in 1.5s\n"},
		"nothing selected":            {resultType(events.ResultCompleted), ended(events.StatusSucceeded), Succeeded, "ITEM", "nothing was selected"},
		"partial":                     {resultType(events.ResultCompleted), ended(events.StatusPartial), Partial, "ITEM", "job j partial"},
		"failed":                      {resultType(events.ResultFailed), ended(events.StatusFailed), Failed, "ITEM", "job j failed"},
		"cancelled":                   {resultType(events.ResultFailed), ended(events.StatusCancelled), Cancelled, "ITEM", "job j cancelled"},
		"a status of a newer version": {resultType(events.ResultFailed), ended("odd"), Failed, "ITEM", "job j odd"},
		"dry run": {resultType(events.ResultPlanned), events.Planned{Plan: events.Plan{Items: []events.PlannedItem{{Item: web, Reason: "named"}}}},
			Succeeded, "named", "dry run: 1 item would be backed up\n"},
		"dry run that misses": {resultType(events.ResultPlanned), events.Planned{Plan: events.Plan{Missing: []events.Missing{{Name: "db", Message: "none"}}}},
			Failed, "db", "dry run: 0 items would be backed up\n"},
		"rejected": {events.TypeRequestRejected, events.RequestRejected{Reason: "invalid", Errors: []events.Violation{{Pointer: "/a", Message: "b"}, {Message: "c"}}},
			Failed, "", "request rejected (invalid): /a b; c\n"},
		"another event": {"io.example.other", map[string]string{}, Running, "", ""},
	} {
		var out, err strings.Builder
		p := New(&out, &err, false)
		got, failure := p.Event(eventOf(t, test.kind, test.data))
		if failure != nil || got != test.want {
			t.Errorf("%s: outcome %d, %v, want %d", name, got, failure, test.want)
		}
		if !strings.Contains(out.String(), test.out) || (test.out == "") != (out.Len() == 0) {
			t.Errorf("%s: printed %q, want %q", name, out.String(), test.out)
		}
		if !strings.Contains(err.String(), test.err) || (test.err == "") != (err.Len() == 0) {
			t.Errorf("%s: said %q, want %q", name, err.String(), test.err)
		}
		if strings.Contains(out.String()+err.String(), "\x1b") {
			t.Errorf("%s: a control character came through", name)
		}
	}
}

// With JSON the events are what is printed, but for progress.
func TestEventsAsJSON(t *testing.T) {
	var out, err strings.Builder
	p := New(&out, &err, true)
	for _, kind := range []events.Result{events.ResultProgress, events.ResultCompleted} {
		if _, err := p.Event(eventOf(t, resultType(kind), events.Ended{Job: "j", Status: events.StatusSucceeded})); err != nil {
			t.Fatal(err)
		}
	}
	var printed event.Event
	if err := json.Unmarshal([]byte(out.String()), &printed); err != nil || printed.Type() != resultType(events.ResultCompleted) {
		t.Errorf("printed %q: %v", out.String(), err)
	}
}

// Of one host among several every line says which it is of.
func TestEventsOfOneHostAmongSeveral(t *testing.T) {
	var out, err strings.Builder
	p := NewForHost(&out, &err, false, "web01")
	if _, err := p.Event(eventOf(t, resultType(events.ResultFailed), events.Ended{Job: "j", Status: events.StatusFailed})); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "host web01\nITEM") {
		t.Errorf("printed %q", out.String())
	}
	for line := range strings.Lines(err.String()) {
		if !strings.HasPrefix(line, "web01: ") {
			t.Errorf("said %q", line)
		}
	}
}

// An event that cannot be read is no end.
func TestEventsThatCannotBeRead(t *testing.T) {
	var out, err strings.Builder
	got, failure := New(&out, &err, false).Event(eventOf(t, resultType(events.ResultCompleted), []int{1}))
	if got != Running || failure == nil || !strings.Contains(failure.Error(), "read event "+resultType(events.ResultCompleted)) {
		t.Errorf("outcome %d, %v", got, failure)
	}
}
