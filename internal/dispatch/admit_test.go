package dispatch

import (
	"maps"
	"slices"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus/consume"
)

const testHost = "web01"

var stored = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)

// headers are those of a valid request in binary mode, with changes: an empty
// value takes a header away.
func headers(changes ...string) map[string][]string {
	h := map[string]string{
		"ce-specversion": "1.0", "ce-id": "id-1", "ce-source": "/test",
		"ce-type": events.Backup.RequestType(), "ce-datacontenttype": "application/json",
	}
	for i := 0; i < len(changes); i += 2 {
		h[changes[i]] = changes[i+1]
	}
	maps.DeleteFunc(h, func(_, value string) bool { return value == "" })
	all := map[string][]string{}
	for name, value := range h {
		all[name] = []string{value}
	}
	return all
}

const allContainers = `{"containers": {"all": true}}`

// badMessages are the kinds of message that are rejected at the door.
var badMessages = map[string]struct {
	subject string
	headers map[string][]string
	body    string
	now     time.Duration // after the message was stored
	reason  events.Reason
	pointer string
	// silent: nobody can be answered.
	silent bool
}{
	"no CloudEvent": {events.HostSubject(events.Backup, testHost), nil, "hello", 0, events.ReasonMalformed, "", true},
	"without an id": {events.HostSubject(events.Backup, testHost), headers("ce-id", ""), allContainers, 0,
		events.ReasonMalformed, "/id", true},
	"without a source": {events.HostSubject(events.Backup, testHost), headers("ce-source", ""), allContainers, 0,
		events.ReasonMalformed, "/source", true},
	"without a type": {events.HostSubject(events.Backup, testHost), headers("ce-type", ""), allContainers, 0,
		events.ReasonMalformed, "/type", false},
	"of another version": {events.HostSubject(events.Backup, testHost), headers("ce-specversion", "0.3"), allContainers, 0,
		events.ReasonMalformed, "/specversion", false},
	"with a bad expiry": {events.HostSubject(events.Backup, testHost), headers("ce-expirytime", "soon"), allContainers, 0,
		events.ReasonMalformed, "/expirytime", false},
	"data that is not JSON by its type": {events.HostSubject(events.Backup, testHost),
		headers("ce-datacontenttype", "text/plain"), allContainers, 0,
		events.ReasonMalformed, "/datacontenttype", false},
	"a type of somebody else": {events.HostSubject(events.Backup, testHost), headers("ce-type", "com.example.order"),
		allContainers, 0, events.ReasonUnknownType, "/type", false},
	"a type of a later version": {events.HostSubject(events.Backup, testHost),
		headers("ce-type", "io.holdfast.backup.requested.v2"), allContainers, 0, events.ReasonUnknownType, "/type", false},
	"a result": {events.HostSubject(events.Backup, testHost),
		headers("ce-type", events.Backup.ResultType(events.ResultCompleted)), allContainers, 0, events.ReasonUnknownType, "/type", false},
	"a kind of another subject": {events.HostSubject(events.Cancel, testHost), headers(), allContainers, 0,
		events.ReasonKindMismatch, "/type", false},
	"a kind that may not go there": {events.AllSubject(events.Restore), headers("ce-type", events.Restore.RequestType()), "{}", 0,
		events.ReasonKindMismatch, "/type", false},
	"a backup by any host":    {events.AnySubject(events.Backup), headers(), allContainers, 0, events.ReasonKindMismatch, "/type", false},
	"on no request's subject": {"holdfast.req.backup", headers(), allContainers, 0, events.ReasonKindMismatch, "", false},
	"a kind that is not there yet": {events.HostSubject(events.Restore, testHost), headers("ce-type", events.Restore.RequestType()), "{}", 0,
		events.ReasonUnsupported, "", false},
	"expired": {events.HostSubject(events.Backup, testHost), headers("ce-expirytime", "2026-01-02T15:04:05Z"), allContainers, 0,
		events.ReasonExpired, "/expirytime", false},
	"a broadcast of an hour ago": {events.AllSubject(events.Backup), headers(), allContainers, time.Hour, events.ReasonExpired,
		"/expirytime", false},
	"a broadcast with an expiry": {events.AllSubject(events.Backup), headers("ce-expirytime", "2026-01-02T15:05:05Z"),
		allContainers, time.Minute,
		events.ReasonExpired, "/expirytime", false},
	"data that is not JSON": {events.HostSubject(events.Backup, testHost), headers(), "{", 0, events.ReasonInvalid, "", false},
	"no data":               {events.HostSubject(events.Backup, testHost), headers(), "", 0, events.ReasonInvalid, "", false},
	"no selector":           {events.HostSubject(events.Backup, testHost), headers(), "{}", 0, events.ReasonInvalid, "", false},
	"a misspelt member": {events.HostSubject(events.Backup, testHost), headers(), `{"containers": {"all": true}, "abortonerror": true}`, 0,
		events.ReasonInvalid, "/abortonerror", false},
	"a bad expression": {events.HostSubject(events.Backup, testHost), headers(), `{"containers": {"match": ["("]}}`, 0,
		events.ReasonInvalid, "/containers/match/0", false},
	"a sink and sinks": {events.HostSubject(events.Backup, testHost), headers(), `{"containers": {"all": true}, "sink": "x", "sinks": ["x"]}`, 0,
		events.ReasonInvalid, "/sinks", false},
	"a cancel without a job": {events.HostSubject(events.Cancel, testHost), headers("ce-type", events.Cancel.RequestType()), "{}", 0,
		events.ReasonInvalid, "/job", false},
}

// admitAt admits a message whose job has not begun at this time.
func admitAt(m *consume.Message, now time.Time) (*request, *rejection) {
	r, rejection := admit(m, testHost, testKinds)
	if rejection == nil {
		if refusal := r.Expired(now); refusal != nil {
			rejection = r.rejected(refusal.Reason, refusal.Violations...)
		}
	}
	if rejection != nil {
		return nil, rejection
	}
	return r, nil
}

func TestAdmitRejects(t *testing.T) {
	for name, c := range badMessages {
		t.Run(name, func(t *testing.T) {
			m := &consume.Message{Subject: c.subject, Time: stored, Headers: c.headers, Body: []byte(c.body)}
			r, rejection := admitAt(m, stored.Add(c.now))
			if r != nil || rejection == nil {
				t.Fatalf("it was admitted as %+v", r)
			}
			if rejection.reason != c.reason {
				t.Errorf("the reason is %s, want %s: %v", rejection.reason, c.reason, rejection.violations)
			}
			if (rejection.job == "") != c.silent {
				t.Errorf("the job is %q, want none: %v", rejection.job, c.silent)
			}
			pointers := []string{}
			for _, v := range rejection.violations {
				pointers = append(pointers, v.Pointer)
			}
			if !slices.Contains(pointers, c.pointer) {
				t.Errorf("it points to %q, want %q: %v", pointers, c.pointer, rejection.violations)
			}
		})
	}
}

func TestAdmit(t *testing.T) {
	structured := `{"specversion": "1.0", "id": "id-1", "source": "/test", "type": "` + events.Backup.RequestType() + `", "data": ` + allContainers + `}`
	cancel := headers("ce-type", events.Cancel.RequestType())
	cancelData := `{"job": "abcdefghijklmn27"}`
	cases := map[string]struct {
		subject string
		headers map[string][]string
		body    string
		now     time.Duration
		kind    events.Kind
		target  events.Target
	}{
		"to the host":             {events.HostSubject(events.Backup, testHost), headers(), allContainers, 0, events.Backup, events.TargetHost},
		"in structured mode":      {events.HostSubject(events.Backup, testHost), nil, structured, 0, events.Backup, events.TargetHost},
		"long ago, to the host":   {events.HostSubject(events.Backup, testHost), headers(), allContainers, 1000 * time.Hour, events.Backup, events.TargetHost},
		"just before it expires":  {events.HostSubject(events.Backup, testHost), headers("ce-expirytime", "2026-01-02T15:04:06Z"), allContainers, time.Second - 1, events.Backup, events.TargetHost},
		"to all":                  {events.AllSubject(events.Backup), headers(), allContainers, time.Hour - 1, events.Backup, events.TargetAll},
		"to all, and good longer": {events.AllSubject(events.Backup), headers("ce-expirytime", "2026-01-03T15:04:05Z"), allContainers, 5 * time.Hour, events.Backup, events.TargetAll},
		"a cancel":                {events.HostSubject(events.Cancel, testHost), cancel, cancelData, 0, events.Cancel, events.TargetHost},
		"a cancel to all":         {events.AllSubject(events.Cancel), cancel, cancelData, 0, events.Cancel, events.TargetAll},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			m := &consume.Message{Subject: c.subject, Time: stored, Headers: c.headers, Body: []byte(c.body)}
			r, rejection := admitAt(m, stored.Add(c.now))
			if rejection != nil {
				t.Fatalf("it was rejected: %s %v", rejection.reason, rejection.violations)
			}
			if r.kind != c.kind || r.Target != c.target || !r.Stored.Equal(stored) || r.Job != events.JobID("/test", "id-1", testHost) {
				t.Errorf("it was admitted as %s to %s, job %s, of %s", r.kind, r.Target, r.Job, r.Stored)
			}
			if (r.spec != nil) != (c.kind == events.Backup) || (r.cancels != nil) != (c.kind == events.Cancel) {
				t.Errorf("its data are %v and %v", r.spec, r.cancels)
			}
		})
	}
}

// The id of a job does not depend on the host that takes a request to any host.
func TestAdmitToAnyHost(t *testing.T) {
	m := &consume.Message{Subject: events.AnySubject(events.Prune), Time: stored, Headers: headers("ce-type", events.Prune.RequestType()), Body: []byte("{}")}
	_, rejection := admit(m, testHost, testKinds)
	if rejection == nil {
		t.Fatal("prune is supported by now: hold its job's id here")
	}
	if want := events.JobID("/test", "id-1", events.HostAny); rejection.job != want {
		t.Errorf("the job is %s, want %s", rejection.job, want)
	}
}
