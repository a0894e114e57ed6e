package events_test

import (
	"testing"

	"holdfast.io/holdfast/events"
)

func TestTheEventsThatEndAJobAreTerminal(t *testing.T) {
	for eventType, want := range map[string]bool{
		events.TypeRequestRejected:     true,
		events.TypeBackupCompleted:     true,
		events.TypeBackupFailed:        true,
		events.TypeBackupPlanned:       true,
		events.TypeRequestUnserved:     false,
		events.TypeBackupAccepted:      false,
		events.TypeBackupProgress:      false,
		events.TypeBackupItemCompleted: false,
		events.TypeBackupItemFailed:    false,
		events.Backup.RequestType():    false,
	} {
		if got := events.Terminal(eventType); got != want {
			t.Errorf("%s: got %v", eventType, got)
		}
	}
}

func TestShortIsTheEndOfASubject(t *testing.T) {
	for eventType, want := range map[string]string{
		events.TypeBackupItemCompleted: "backup.item.completed",
		events.TypeRequestRejected:     "request.rejected",
		events.TypeRequestUnserved:     "request.unserved",
		events.Cancel.RequestType():    "cancel.requested",
	} {
		if got := events.Short(eventType); got != want {
			t.Errorf("%s: got %s", eventType, got)
		}
	}
}
