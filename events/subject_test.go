package events_test

import (
	"testing"

	"holdfast.io/holdfast/events"
)

func TestRequestSubjectsAreReadAsTheyAreMade(t *testing.T) {
	for _, kind := range events.Kinds {
		for subject, want := range map[string]events.Target{
			events.HostSubject(kind, "web01"): events.TargetHost,
			events.AllSubject(kind):           events.TargetAll,
			events.AnySubject(kind):           events.TargetAny,
		} {
			gotKind, target, err := events.ParseRequestSubject(subject)
			if err != nil || gotKind != kind || target != want {
				t.Errorf("%s: got %q, %q, %v", subject, gotKind, target, err)
			}
		}
	}
}

func TestOtherSubjectsAreNoRequests(t *testing.T) {
	for _, subject := range []string{
		"", "holdfast", "holdfast.req", "holdfast.req.", "holdfast.req.backup", "holdfast.req.backup.", "holdfast.req.backup.host",
		"holdfast.req.backup.host.", "holdfast.req.backup.host.web01.x", "holdfast.req.backup.all.x", "holdfast.req.backup.some",
		"holdfast.req.BACKUP.all", "holdfast.req.frobnicate.all", "Holdfast.req.backup.all", "backup.all", "x.holdfast.req.backup.all",
		"holdfast.evt.web01.job.backup.completed", "holdfast.req.holdfast.req.backup.all",
	} {
		if kind, target, err := events.ParseRequestSubject(subject); err == nil {
			t.Errorf("%q: got %q to %q", subject, kind, target)
		}
	}
}

func TestWhichKindMayGoWhere(t *testing.T) {
	allowed := map[events.Target][]bool{ // in the order of events.Kinds
		events.TargetHost: {true, true, true, true, true, true},
		events.TargetAll:  {true, false, false, false, false, true},
		events.TargetAny:  {false, false, true, true, true, false},
		"elsewhere":       {false, false, false, false, false, false},
	}
	for target, want := range allowed {
		for i, kind := range events.Kinds {
			if got := events.MayGo(kind, target); got != want[i] {
				t.Errorf("%s to %s: got %v", kind, target, got)
			}
		}
	}
	if events.MayGo("frobnicate", events.TargetHost) {
		t.Error("an unknown kind may go to a host")
	}
}
