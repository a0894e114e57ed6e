package events

import "cmp"

// BackupRequest is the data of io.holdfast.backup.requested.v1.
//
// The items are: names ∪ ((match ∪ labels ∪ all) within states − exclude −
// those labelled holdfast.exclude=true), each once. At least one selector is
// required.
type BackupRequest struct {
	Containers *ContainerSelector `json:"containers,omitempty"`
	Images     *ImageSelector     `json:"images,omitempty"`
	// Volumes selects volumes as items of their own, and says which mounts of the
	// selected containers go into those containers' points.
	Volumes *VolumeSelector `json:"volumes,omitempty"`
	// Quiesce is what is done to a running container while it is committed.
	// Empty means pause.
	Quiesce Quiesce `json:"quiesce,omitempty"`
	// Together asks for one point in time over all containers of the request on a
	// host: all are quiesced, then all are committed, then all are let go.
	Together bool `json:"together,omitempty"`
	// AbortOnError ends the job at the first error: a missing name before
	// anything is touched, a failing item when it fails.
	AbortOnError bool `json:"abortOnError,omitempty"`
	// Timeout bounds the whole job, as a Go duration ("30m"). Empty means no
	// bound.
	Timeout string `json:"timeout,omitempty"`
	// Sink is the name of a configured sink. Empty means "default".
	Sink string `json:"sink,omitempty"`
	// Sinks are the names of configured sinks, each once, in the place of Sink: every item
	// goes to all of them.
	Sinks []string `json:"sinks,omitempty"`
	// DryRun asks for the plan and its reasons only.
	DryRun bool `json:"dryRun,omitempty"`
	// Tags are kept in the manifest of every point that the job stores.
	Tags map[string]string `json:"tags,omitempty"`
}

// AllSinks returns the names of the sinks that are meant, at least one.
func (r *BackupRequest) AllSinks() []string {
	if len(r.Sinks) > 0 {
		return r.Sinks
	}
	return []string{cmp.Or(r.Sink, DefaultSink)}
}

// ContainerSelector selects containers of one host.
type ContainerSelector struct {
	// Names are full ids, exact names or unambiguous prefixes of ids. They are
	// never narrowed by Exclude and States.
	Names []string `json:"names,omitempty"`
	// Match are unanchored RE2 expressions on names. They add up.
	Match []string `json:"match,omitempty"`
	// Labels are "K" or "K=V". All of them must hold.
	Labels []string `json:"labels,omitempty"`
	All    bool     `json:"all,omitempty"`
	// Exclude are unanchored RE2 expressions on names.
	Exclude []string `json:"exclude,omitempty"`
	// States narrows to containers in one of these states.
	States []State `json:"states,omitempty"`
}

// ImageSelector selects images of one host.
type ImageSelector struct {
	// Names are references (without a tag: ":latest"), full ids or unambiguous
	// prefixes of ids. They are never narrowed by Exclude.
	Names   []string `json:"names,omitempty"`
	Match   []string `json:"match,omitempty"`
	Exclude []string `json:"exclude,omitempty"`
	All     bool     `json:"all,omitempty"`
}

// VolumeSelector selects volumes of one host, and says what of the mounts of selected
// containers goes into the containers' points.
type VolumeSelector struct {
	// Names are exact names. They are never narrowed by Exclude.
	Names []string `json:"names,omitempty"`
	// Match are unanchored RE2 expressions on names. They add up.
	Match []string `json:"match,omitempty"`
	// Exclude are unanchored RE2 expressions on names.
	Exclude []string `json:"exclude,omitempty"`
	// Attached puts the volumes of each selected container into its point. The label
	// holdfast.volumes on a container overrides it.
	Attached bool `json:"attached,omitempty"`
	// Binds takes the bind mounts too, where volumes of a container are taken, as far
	// as the host's configuration allows their paths.
	Binds bool `json:"binds,omitempty"`
	// Hot reads the volumes of a container after it runs again. Otherwise it is
	// quiesced until they are read.
	Hot bool `json:"hot,omitempty"`
}

// CancelRequest is the data of io.holdfast.cancel.requested.v1.
type CancelRequest struct {
	// Job is the id of the job to cancel.
	Job string `json:"job"`
}

// Quiesce is what is done to a running container while it is committed.
type Quiesce string

// The quiesce modes.
const (
	QuiescePause Quiesce = "pause"
	QuiesceNone  Quiesce = "none"
	QuiesceStop  Quiesce = "stop"
)

// State is the state of a container as the Engine names it.
type State string

// The states of a container.
const (
	StateCreated    State = "created"
	StateRunning    State = "running"
	StatePaused     State = "paused"
	StateRestarting State = "restarting"
	StateExited     State = "exited"
	StateRemoving   State = "removing"
	StateDead       State = "dead"
)

// States are all states of a container.
var States = []State{StateCreated, StateRunning, StatePaused, StateRestarting, StateExited, StateRemoving, StateDead}

// DefaultSink is the name of the sink that a request means when it names none.
const DefaultSink = "default"
