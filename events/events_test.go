package events_test

import (
	"testing"

	"holdfast.io/holdfast/events"
)

func TestTheEventsThatEndAJobAreTerminal(t *testing.T) {
	for eventType, want := range map[string]bool{
		events.TypeRequestRejected:                           true,
		events.Backup.ResultType(events.ResultCompleted):     true,
		events.Backup.ResultType(events.ResultFailed):        true,
		events.Backup.ResultType(events.ResultPlanned):       true,
		events.TypeRequestUnserved:                           false,
		events.Backup.ResultType(events.ResultAccepted):      false,
		events.Backup.ResultType(events.ResultProgress):      false,
		events.Backup.ResultType(events.ResultItemCompleted): false,
		events.Backup.ResultType(events.ResultItemFailed):    false,
		events.Backup.RequestType():                          false,
	} {
		if got := events.Terminal(eventType); got != want {
			t.Errorf("%s: got %v", eventType, got)
		}
	}
}

func TestShortIsTheEndOfASubject(t *testing.T) {
	for eventType, want := range map[string]string{
		events.Backup.ResultType(events.ResultItemCompleted): "backup.item.completed",
		events.TypeRequestRejected:                           "request.rejected",
		events.TypeRequestUnserved:                           "request.unserved",
		events.Cancel.RequestType():                          "cancel.requested",
	} {
		if got := events.Short(eventType); got != want {
			t.Errorf("%s: got %s", eventType, got)
		}
	}
}

func TestResultsOfJobs(t *testing.T) {
	for eventType, want := range map[string]events.Result{
		"io.holdfast.backup.item.completed.v1": events.ResultItemCompleted,
		"io.holdfast.restore.failed.v1":        events.ResultFailed,
		"io.holdfast.backup.requested.v1":      "",
		"io.holdfast.request.rejected.v1":      "",
		"io.holdfast.backup.completed.v2":      "",
		"io.holdfast.other.completed.v1":       "",
		"backup.completed":                     "",
	} {
		if got := events.ResultOf(eventType); got != want {
			t.Errorf("%s: %q, want %q", eventType, got, want)
		}
	}
}
