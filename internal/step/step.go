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
	Claimed        Name = "claimed"         // the job is in the ledger as this worker's
	Planned        Name = "planned"         // its plan is in the ledger
	Accepted       Name = "accepted"        // the accepted event is published
	ItemBegun      Name = "item-begun"      // the ledger knows that the item is begun
	Recorded       Name = "recorded"        // the undo record is on disk
	Staged         Name = "staged"          // the attempt's folder is in the sink
	HelpersMade    Name = "helpers-made"    // the containers are there that will read volumes
	HookRun        Name = "hook-run"        // the command before the snapshot has run
	Paused         Name = "paused"          // a container that is captured with others is paused
	Stopped        Name = "stopped"         // the container is stopped
	Committed      Name = "committed"       // the snapshot is there
	VolumeRead     Name = "volume-read"     // a volume is in it, and the container that read it is gone
	Resumed        Name = "resumed"         // the container runs as before
	PushedDirect   Name = "pushed-direct"   // the Engine has pushed the image to the registry of the sink
	LayerStored    Name = "layer-stored"    // a layer of the image is in the sink, for all points that have it
	Saved          Name = "saved"           // all artifacts are in it
	Published      Name = "published"       // the point is there
	Checked        Name = "checked"         // what is stored of a point was read
	Loaded         Name = "loaded"          // the image of a point is on the Engine
	Created        Name = "created"         // a container is made of a point, by a name that it does not keep
	Connected      Name = "connected"       // it is in all of its networks
	Kept           Name = "volume-kept"     // what a volume holds is a point
	Cleared        Name = "volume-cleared"  // it is empty
	Filled         Name = "volume-filled"   // it holds what the point does
	Renamed        Name = "renamed"         // the container that is replaced has given up its name
	Named          Name = "named"           // the new one has its name
	Started        Name = "started"         // it is started
	GatePassed     Name = "gate-passed"     // it runs as it should
	DependantMade  Name = "dependant-made"  // a container that shares its namespaces is made again of what it had
	DependantNamed Name = "dependant-named" // that one has the name of the one in whose place it comes
	DependantsRun  Name = "dependants-run"  // all of them run as they should
	Restored       Name = "restored"        // the ledger has that the item is restored
	ReplacedGone   Name = "replaced-gone"   // the container that was replaced is gone
	Removed        Name = "removed"         // what was made for the item is gone from the Engine
	Hidden         Name = "hidden"          // the mark that hides a point is beside it
	Erased         Name = "erased"          // the bytes of a point are gone
	RecordGone     Name = "record-gone"     // the undo record is gone
	Marked         Name = "marked"          // what came of a point, or that it is protected, lies beside it
	ItemEnded      Name = "item-ended"      // the item's outcome is in the ledger
	ItemReported   Name = "item-reported"   // the item's event is published
	Ended          Name = "ended"           // the terminal event is in the ledger
	EndReported    Name = "end-reported"    // the terminal event is published
	Acknowledged   Name = "acknowledged"    // the request is acknowledged
	Primed         Name = "primed"          // an idle worker's Engine has pulled the layers of a base, as an image that is removed next
)

var all = []Name{
	Claimed, Planned, Accepted, ItemBegun, Recorded, Staged, HelpersMade, HookRun, Paused, Stopped, Committed, VolumeRead, Resumed,
	PushedDirect, LayerStored, Saved, Published, Checked, Loaded, Created, Connected, Renamed, Kept, Cleared, Filled, Named, Started,
	GatePassed,
	DependantMade, DependantNamed, DependantsRun, Restored, ReplacedGone,
	Removed, Hidden, Erased, RecordGone, Marked, ItemEnded, ItemReported, Ended, EndReported, Acknowledged, Primed,
}

// All returns the names of all steps.
func All() []Name { return slices.Clone(all) }
