package events_test

import (
	"slices"
	"testing"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/schemas"
	"holdfast.io/holdfast/schemas/schematest"
)

func TestSchemasTypesAndExamplesAgree(t *testing.T) {
	types := map[string]any{
		events.Backup.RequestType():                          events.BackupRequest{},
		events.Cancel.RequestType():                          events.CancelRequest{},
		events.TypeRequestRejected:                           events.RequestRejected{},
		events.TypeRequestUnserved:                           events.RequestUnserved{},
		events.Backup.ResultType(events.ResultAccepted):      events.Accepted{},
		events.Backup.ResultType(events.ResultProgress):      events.Progress{},
		events.Backup.ResultType(events.ResultItemCompleted): events.BackupItemCompleted{},
		events.Backup.ResultType(events.ResultItemFailed):    events.ItemFailed{},
		events.Backup.ResultType(events.ResultCompleted):     events.Ended{},
		events.Backup.ResultType(events.ResultFailed):        events.Ended{},
		events.Backup.ResultType(events.ResultPlanned):       events.Planned{},
		"dead-letter": events.DeadLetter{},
		"host-status": events.HostStatus{},
	}
	for name, goType := range types {
		t.Run(name, func(t *testing.T) { schematest.Drift(t, name, goType) })
	}
	// The manifest's type is in another package.
	others := slices.DeleteFunc(schemas.Names(), func(name string) bool { return types[name] != nil || name == "manifest" })
	if len(others) > 0 {
		t.Errorf("schemas without a Go type: %q", others)
	}
}
