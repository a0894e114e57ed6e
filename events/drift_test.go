package events_test

import (
	"slices"
	"strings"
	"testing"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/schemas"
	"holdfast.io/holdfast/schemas/schematest"
)

func TestSchemasTypesAndExamplesAgree(t *testing.T) {
	types := map[string]any{
		events.Backup.RequestType():                           events.BackupRequest{},
		events.Restore.RequestType():                          events.RestoreRequest{},
		events.Verify.RequestType():                           events.VerifyRequest{},
		events.Prune.RequestType():                            events.PruneRequest{},
		events.Copy.RequestType():                             events.CopyRequest{},
		events.Cancel.RequestType():                           events.CancelRequest{},
		events.TypeRequestRejected:                            events.RequestRejected{},
		events.TypeRequestUnserved:                            events.RequestUnserved{},
		events.Backup.ResultType(events.ResultItemCompleted):  events.BackupItemCompleted{},
		events.Restore.ResultType(events.ResultItemCompleted): events.RestoreItemCompleted{},
		events.Verify.ResultType(events.ResultItemCompleted):  events.VerifyItemCompleted{},
		events.Prune.ResultType(events.ResultItemCompleted):   events.PruneItemCompleted{},
		events.Copy.ResultType(events.ResultItemCompleted):    events.CopyItemCompleted{},
		"dead-letter": events.DeadLetter{},
		"host-status": events.HostStatus{},
	}
	for _, kind := range []events.Kind{events.Backup, events.Restore, events.Verify, events.Prune, events.Copy} {
		types[kind.ResultType(events.ResultAccepted)] = events.Accepted{}
		types[kind.ResultType(events.ResultProgress)] = events.Progress{}
		types[kind.ResultType(events.ResultItemFailed)] = events.ItemFailed{}
		types[kind.ResultType(events.ResultCompleted)] = events.Ended{}
		types[kind.ResultType(events.ResultFailed)] = events.Ended{}
		types[kind.ResultType(events.ResultPlanned)] = events.Planned{}
	}
	for name, goType := range types {
		t.Run(name, func(t *testing.T) { schematest.Drift(t, name, goType) })
	}
	// What lies in a sink has its types in other packages.
	others := slices.DeleteFunc(schemas.Names(), func(name string) bool {
		return types[name] != nil || !strings.HasPrefix(name, events.TypePrefix)
	})
	if len(others) > 0 {
		t.Errorf("schemas without a Go type: %q", others)
	}
}
