package events_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/schemas/examples"
)

func TestABackupRequestIsReadMemberForMember(t *testing.T) {
	got, err := events.ParseBackupRequest([]byte(`{
		"containers": {"names": ["/web-1"], "match": ["^api-"], "labels": ["tier=web", "critical"], "all": true, "exclude": ["-test$"], "states": ["running"]},
		"images": {"names": ["app:v1"], "match": ["app"], "exclude": ["old"], "all": true},
		"volumes": {"names": ["pgdata"], "match": ["^web"], "exclude": ["cache"], "attached": true, "binds": true, "hot": true},
		"quiesce": "none", "abortOnError": true, "timeout": "1h30m", "sink": "offsite", "dryRun": true, "tags": {"reason": "pre-deploy"}}`))
	want := &events.BackupRequest{
		Containers: &events.ContainerSelector{Names: []string{"/web-1"}, Match: []string{"^api-"}, Labels: []string{"tier=web", "critical"},
			All: true, Exclude: []string{"-test$"}, States: []events.State{events.StateRunning}},
		Images: &events.ImageSelector{Names: []string{"app:v1"}, Match: []string{"app"}, Exclude: []string{"old"}, All: true},
		Volumes: &events.VolumeSelector{Names: []string{"pgdata"}, Match: []string{"^web"}, Exclude: []string{"cache"},
			Attached: true, Binds: true, Hot: true},
		Quiesce: events.QuiesceNone, AbortOnError: true, Timeout: "1h30m", Sink: "offsite", DryRun: true, Tags: map[string]string{"reason": "pre-deploy"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestWhatIsWrongWithABackupRequest(t *testing.T) {
	const all = `{"containers":{"all":true},`
	tests := map[string]struct {
		data   string
		reason events.Reason
		want   string
	}{
		"no data":          {``, events.ReasonInvalid, "is empty; a JSON value is expected"},
		"a sink and sinks": {all + `"sink":"a","sinks":["b"]}`, events.ReasonInvalid, "/sinks must be left out where there is a member sink, and the other way round"},
		"a bad volume":     {`{"volumes":{"match":["ok","("]}}`, events.ReasonInvalid, "/volumes/match/1 is not an RE2 expression: missing closing ): `(`"},
		"a bad expression": {`{"containers":{"match":["ok","("]}}`, events.ReasonInvalid, "/containers/match/1 is not an RE2 expression: missing closing ): `(`"},
		"a lookahead":      {`{"containers":{"all":true,"exclude":["(?!x)"]}}`, events.ReasonInvalid, "/containers/exclude/0 is not an RE2 expression: invalid or unsupported Perl syntax: `(?!`"},
		"a bad repetition": {`{"images":{"match":["x{1001}"]}}`, events.ReasonInvalid, "/images/match/0 is not an RE2 expression: invalid repeat count: `{1001}`"},
		"a bad exclusion":  {`{"images":{"all":true,"exclude":["["]}}`, events.ReasonInvalid, "/images/exclude/0 is not an RE2 expression: missing closing ]: `[`"},
		"an overflow":      {all + `"timeout":"9223372037s"}`, events.ReasonInvalid, "/timeout must be a duration above zero and below 292 years"},
		"less than a ns":   {all + `"timeout":"0.1ns"}`, events.ReasonInvalid, "/timeout must be a duration above zero and below 292 years"},
		"two faults":       {`{"containers":{"match":["("]},"timeout":"9223372037s"}`, events.ReasonInvalid, "/containers/match/0 is not an RE2 expression: missing closing ): `(`; /timeout must be a duration above zero and below 292 years"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := events.ParseBackupRequest([]byte(test.data))
			bad, ok := errors.AsType[*events.InvalidError](err)
			if !ok || r != nil {
				t.Fatalf("got %+v, %v", r, err)
			}
			if bad.Reason != test.reason || bad.Error() != test.want {
				t.Errorf("\n got %s: %s\nwant %s: %s", bad.Reason, bad, test.reason, test.want)
			}
		})
	}
}

func TestInvalidExamplesAreRefusedWithTheirPointer(t *testing.T) {
	for kind, parse := range parsers {
		invalid, err := examples.Invalid(kind.RequestType())
		if err != nil {
			t.Fatal(err)
		}
		for name, fault := range invalid {
			reason := events.ReasonInvalid
			if fault.Unsupported {
				reason = events.ReasonUnsupported
			}
			_, err := parse(fault.Data)
			bad, ok := errors.AsType[*events.InvalidError](err)
			if !ok || bad.Reason != reason || len(bad.Violations) != 1 || bad.Violations[0] != (events.Violation{Pointer: fault.Pointer, Message: fault.Message}) {
				t.Errorf("%s, %s (%s): got %+v", kind, name, fault.Why, bad)
			}
		}
	}
}

// What the schema cannot say.
func TestOtherRequestsAreChecked(t *testing.T) {
	const one, two = `"points":["20260302T141503Z-441e7818"]`, `"points":["20260302T141503Z-441e7818","20260302T141503Z-441e7819"]`
	for _, test := range []struct {
		kind events.Kind
		data string
		want string
	}{
		{events.Restore, `{` + two + `,"name":"web-2"}`, "/name is for one point: name exactly one, or leave it out"},
		{events.Restore, `{` + one + `,"containers":{"names":["a"]},"name":"web-2"}`, "/name is for one point: name exactly one, or leave it out"},
		{events.Restore, `{"containers":{"names":["a"],"at":"2026-02-31T00:00:00Z"}}`, `/containers/at must be "latest" or a date-time of RFC 3339`},
		{events.Restore, `{` + one + `,"gate":"9223372037s"}`, "/gate must be a duration above zero and below 292 years"},
		{events.Restore, `{` + one + `,"as":"image","replace":true,"networks":"create","gate":"1s"}`,
			`/gate has a meaning only with "as": "start"; /networks has a meaning only with "as": "create" or "start"; ` +
				`/replace has a meaning only with "as": "create" or "start"`},
		{events.Restore, `{` + one + `,"dependants":"recreate"}`, `/dependants has a meaning only with "replace": true`},
		{events.Verify, `{"images":{"match":["("]}}`, "/images/match/0 is not an RE2 expression: missing closing ): `(`"},
		{events.Verify, `{` + one + `,"olderThan":"9223372037s"}`, "/olderThan must be a duration above zero and below 292 years"},
		{events.Prune, `{"keep":{"within":"9223372037s"}}`, "/keep/within must be a duration above zero and below 292 years"},
		{events.Prune, `{"keep":{"last":1},"volumes":{"match":["["]}}`, "/volumes/match/0 is not an RE2 expression: missing closing ]: `[`"},
		{events.Copy, `{` + one + `,"to":"default"}`, "/to must be another sink than the one that is copied from"},
		{events.Copy, `{"to":"offsite","containers":{"match":["("]}}`, "/containers/match/0 is not an RE2 expression: missing closing ): `(`"},
	} {
		if _, err := parsers[test.kind]([]byte(test.data)); err == nil || err.Error() != test.want {
			t.Errorf("%s %s\n got %v\nwant %s", test.kind, test.data, err, test.want)
		}
	}
}

func TestExpressionsTogetherMayNotBeTooLarge(t *testing.T) {
	request := func(n int) string {
		return `{"containers":{"match":[` + strings.TrimSuffix(strings.Repeat(`"x{1000}",`, n), ",") + `]}}`
	}
	if _, err := events.ParseBackupRequest([]byte(request(50))); err != nil {
		t.Error(err)
	}
	_, err := events.ParseBackupRequest([]byte(request(500)))
	if err == nil || !strings.Contains(err.Error(), "makes the expressions of the request too large") {
		t.Errorf("got %.200v", err)
	}
}

func TestManyFaultsOfDataAreCounted(t *testing.T) {
	_, err := events.ParseBackupRequest([]byte(`{"containers":{"match":[` + strings.TrimSuffix(strings.Repeat(`"(",`, 1000), ",") + `]}}`))
	bad, ok := errors.AsType[*events.InvalidError](err)
	if !ok || len(bad.Violations) != 50 || bad.Violations[49].Message != "and 951 more" {
		t.Errorf("got %.200v", fmt.Sprint(err))
	}
}

func TestACancelRequestIsRead(t *testing.T) {
	got, err := events.ParseCancelRequest([]byte(`{"job":"3624yaafujenezfs"}`))
	if err != nil || got.Job != "3624yaafujenezfs" {
		t.Errorf("got %+v, %v", got, err)
	}
}
