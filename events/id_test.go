package events_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"testing/quick"
	"time"

	"holdfast.io/holdfast/events"
)

// The vectors in testdata/ids.json were computed by another program.
func TestIdentitiesAreThoseOfTheContract(t *testing.T) {
	var vectors struct {
		Jobs []struct {
			Source, ID, Host string
			Job              string
		}
		Points []struct {
			StreamTime             time.Time
			Source, ID, Host, Item string
			Kind                   events.ItemKind
			Point                  string
		}
		Events []struct {
			Job, Type, Discriminator string
			Event                    string
		}
	}
	raw, err := os.ReadFile("testdata/ids.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &vectors); err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors.Jobs {
		if got := events.JobID(v.Source, v.ID, v.Host); got != v.Job {
			t.Errorf("job of %.40q: got %s, want %s", v, got, v.Job)
		}
	}
	for _, v := range vectors.Points {
		if got := events.PointID(v.StreamTime, v.Source, v.ID, v.Host, v.Kind, v.Item); got != v.Point {
			t.Errorf("point of %q: got %s, want %s", v, got, v.Point)
		}
	}
	for _, v := range vectors.Events {
		if got := events.EventID(v.Job, v.Type, v.Discriminator); got != v.Event {
			t.Errorf("event of %q: got %s, want %s", v, got, v.Event)
		}
	}
	if len(vectors.Jobs) == 0 || len(vectors.Points) == 0 || len(vectors.Events) == 0 {
		t.Error("vectors are missing")
	}
}

func TestHostIDWritesWhatASubjectCannotHoldInHex(t *testing.T) {
	tests := map[string]string{
		"web01":      "web01",
		"Web-01":     "Web-01",
		"db.example": "db_2Eexample",
		"a_b":        "a_5Fb",
		"größe":      "gr_C3_B6_C3_9Fe",
		"*>":         "_2A_3E",
		"\xff\x00":   "_FF_00",
	}
	for name, want := range tests {
		if got := events.HostID(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

func TestValidHostIDTakesWhatHostIDMakes(t *testing.T) {
	takes := func(name string) bool { return name == "" || events.ValidHostID(events.HostID(name)) }
	if err := quick.Check(takes, nil); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", ".", "a.b", "a b", "_", "_2", "a_2", "_2e", "_2G", "a_", "é", "*", ">", "web01\n"} {
		if events.ValidHostID(bad) {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestTwoNamesNeverShareAHostID(t *testing.T) {
	differ := func(a, b string) bool { return a == b || events.HostID(a) != events.HostID(b) }
	if err := quick.Check(differ, nil); err != nil {
		t.Error(err)
	}
	if !differ("a.b", "a_2Eb") {
		t.Error("a name can look like the id of another")
	}
}

func TestEveryIDFitsIntoASubject(t *testing.T) {
	host := events.HostID("db.example *>")
	job := events.JobID("source with spaces", "id.with.dots", host)
	subject := events.EventSubject(host, job, events.Backup.ResultType(events.ResultItemCompleted))
	if want := "holdfast.evt." + host + "." + job + ".backup.item.completed"; subject != want || strings.ContainsAny(host+job, ".*> ") {
		t.Errorf("got %q, want %q", subject, want)
	}
}

func TestPointTime(t *testing.T) {
	id := events.PointID(time.Date(2026, 3, 2, 15, 15, 3, 9, time.FixedZone("", 3600)), "s", "i", "web01", events.ItemContainer, "c")
	if got, err := events.PointTime(id); err != nil || !got.Equal(time.Date(2026, 3, 2, 14, 15, 3, 0, time.UTC)) {
		t.Errorf("the time of %s is %s, %v", id, got, err)
	}
	for _, bad := range []string{"", "x", "20260302", "20261302T141503Z-441e7818", "20260302T141503.5Z-441e7818", "20260302T141503+01-00"} {
		if got, err := events.PointTime(bad); err == nil {
			t.Errorf("the time of %q is %s", bad, got)
		}
	}
}
