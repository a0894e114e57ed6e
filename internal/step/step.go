// Package step names the steps of a job, and tells those who observe a job when it
// has passed one: logs, traces, metrics. With the build tag crash a test can also
// have a worker die or freeze right after any of them.
package step

import "slices"

// Name is the name of a step.
type Name string

// The steps, in the order in which a job passes them. What follows the name has
// been done when the step is passed.
const (
	Claimed      Name = "claimed"       // the job is in the ledger as this worker's
	Planned      Name = "planned"       // its plan is in the ledger
	Accepted     Name = "accepted"      // the accepted event is published
	ItemBegun    Name = "item-begun"    // the ledger knows that the item is begun
	Recorded     Name = "recorded"      // the undo record is on disk
	Staged       Name = "staged"        // the attempt's folder is in the sink
	HookRun      Name = "hook-run"      // the command before the snapshot has run
	Paused       Name = "paused"        // a container that is captured with others is paused
	Stopped      Name = "stopped"       // the container is stopped
	Committed    Name = "committed"     // the snapshot is there
	Resumed      Name = "resumed"       // the container runs as before
	Saved        Name = "saved"         // all artifacts are in it
	Published    Name = "published"     // the point is there
	Removed      Name = "removed"       // the snapshot is gone
	RecordGone   Name = "record-gone"   // the undo record is gone
	ItemEnded    Name = "item-ended"    // the item's outcome is in the ledger
	ItemReported Name = "item-reported" // the item's event is published
	Ended        Name = "ended"         // the terminal event is in the ledger
	EndReported  Name = "end-reported"  // the terminal event is published
	Acknowledged Name = "acknowledged"  // the request is acknowledged
)

var all = []Name{
	Claimed, Planned, Accepted, ItemBegun, Recorded, Staged, HookRun, Paused, Stopped, Committed, Resumed, Saved,
	Published, Removed, RecordGone, ItemEnded, ItemReported, Ended, EndReported, Acknowledged,
}

// All returns the names of all steps.
func All() []Name { return slices.Clone(all) }
