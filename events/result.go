package events

import "time"

// ItemKind is what kind of thing an item is.
type ItemKind string

// The kinds of item.
const (
	ItemContainer ItemKind = "container"
	ItemImage     ItemKind = "image"
	ItemVolume    ItemKind = "volume"
	// ItemPoint is what a request names by the id of a point, and is not there.
	ItemPoint ItemKind = "point"
)

// Item is one thing that a job works on.
type Item struct {
	Kind ItemKind `json:"kind"`
	// ID is the full id: of a container 64 hex digits, of an image
	// "sha256:" and 64 hex digits, of a volume its name.
	ID string `json:"id"`
	// Name is a container's name without its slash; an image's reference, or
	// its id if it has none; a volume's name.
	Name string `json:"name"`
}

// PlannedItem is an item of a plan.
type PlannedItem struct {
	Item
	// Point is the point that the item is; empty in a backup, where it will be stored.
	Point string `json:"point,omitempty"`
	// PointHost is the host that the point is of, if that is not the job's.
	PointHost string `json:"pointHost,omitempty"`
	// Sink is the name of the sink that the item goes to, if the request names several:
	// then there is one item for each of them.
	Sink string `json:"sink,omitempty"`
	// Reason says why the item is in the plan.
	Reason string `json:"reason"`
	// Actions say in words what will be done, in order; empty where the kind says it.
	Actions []string `json:"actions,omitempty"`
	// Quiesce is what will be done to the container; empty for an image.
	Quiesce Quiesce `json:"quiesce,omitempty"`
	// QuiesceReason says why Quiesce is not what the request asks for.
	QuiesceReason string `json:"quiesceReason,omitempty"`
	// Transport is how the image would be moved as things are, and TransportReason says why, in
	// the dry run of a backup; empty if that is not known.
	Transport       Transport `json:"transport,omitempty"`
	TransportReason string    `json:"transportReason,omitempty" cut:"1024"`
	// Code and Message say why the item will fail; empty if it can be backed up.
	Code    Code   `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	// Volumes are the volumes and bind mounts whose content will be in the point.
	Volumes        []PlannedVolume `json:"volumes,omitempty"`
	VolumesOmitted int             `json:"volumesOmitted,omitempty"`
	// NotIncluded are mounts of the container that are left out although volumes were
	// asked for.
	NotIncluded        []NotIncluded `json:"notIncluded,omitempty"`
	NotIncludedOmitted int           `json:"notIncludedOmitted,omitempty"`
	// Warnings are what somebody should look at.
	Warnings []Warning `json:"warnings,omitempty"`
}

// PlannedVolume is a volume or a bind mount whose content will be in a point.
type PlannedVolume struct {
	// Type is the Engine's word: volume or bind.
	Type string `json:"type"`
	// Name is the volume's name; empty for a bind mount.
	Name string `json:"name,omitempty"`
	// Source is the path on the host of a bind mount.
	Source string `json:"source,omitempty"`
	// Destination is the path inside the container; empty for a volume that is an item.
	Destination string `json:"destination,omitempty"`
	// Driver is the volume's driver.
	Driver string `json:"driver,omitempty"`
	// CreatedAt is when the volume was made; zero if the Engine does not tell.
	CreatedAt time.Time `json:"createdAt,omitzero"`
	// Size is the Engine's count of the volume's bytes, in a dry run; 0 if it is not
	// known.
	Size int64 `json:"size,omitempty"`
}

// ArtifactName is the name that the artifact of the volume or bind mount has in its
// point: the volume's name, or the path inside the container.
func (v PlannedVolume) ArtifactName() string {
	if v.Name != "" {
		return v.Name
	}
	return v.Destination
}

// Missing is a name in the request that leads to nothing on this host.
type Missing struct {
	Kind    ItemKind `json:"kind"`
	Name    string   `json:"name"`
	Code    Code     `json:"code"` // not_found or ambiguous
	Message string   `json:"message"`
}

// Skipped is a name in a request to all hosts that this host does not have.
type Skipped struct {
	Kind ItemKind `json:"kind"`
	Name string   `json:"name"` // as the request has it
}

// Excluded is a thing that is not in the plan, and why.
type Excluded struct {
	Item
	// Point is the point that is left out; empty in a backup.
	Point string `json:"point,omitempty"`
	// PointHost is the host that the point is of, if that is not the job's.
	PointHost string `json:"pointHost,omitempty"`
	Reason    string `json:"reason"`
}

// Plan is what a job will do. It is the common part of accepted and planned.
type Plan struct {
	Items           []PlannedItem `json:"items"`
	ItemsOmitted    int           `json:"itemsOmitted,omitempty"`
	Missing         []Missing     `json:"missing"`
	MissingOmitted  int           `json:"missingOmitted,omitempty"`
	Excluded        []Excluded    `json:"excluded"`
	ExcludedOmitted int           `json:"excludedOmitted,omitempty"`
	// Skipped are names that this host does not have, of a request to all hosts.
	Skipped        []Skipped `json:"skipped,omitempty"`
	SkippedOmitted int       `json:"skippedOmitted,omitempty"`
	// Warnings are about the host and the whole job.
	Warnings []Warning `json:"warnings,omitempty"`
}

// Accepted is the data of io.holdfast.<kind>.accepted.v1: the plan
// stands, and later changes on the Engine do not alter it.
type Accepted struct {
	Job  string `json:"job"`
	Host string `json:"host"`
	Sink string `json:"sink"`
	// Sinks are all sinks, if the request names several; Sink is the first of them.
	Sinks []string `json:"sinks,omitempty"`
	Plan
}

// Planned is the data of io.holdfast.<kind>.planned.v1: the job was a
// dry run, and ended. Excluded names everything that was left out.
type Planned struct {
	Job  string `json:"job"`
	Host string `json:"host"`
	Plan
}

// Progress is the data of io.holdfast.<kind>.progress.v1, published on
// core NATS at most twice a second for each item.
type Progress struct {
	Job  string `json:"job"`
	Host string `json:"host"`
	Item Item   `json:"item"`
	// Point is the point that is worked on; empty in a backup.
	Point string `json:"point,omitempty"`
	// Sink is the item's, if the request names several.
	Sink string `json:"sink,omitempty"`
	Step Step   `json:"step"`
	// Bytes is how much was read so far: of a backup the uncompressed archive, else of
	// what is stored.
	Bytes int64 `json:"bytes"`
	// TotalBytes is an estimate of the whole; 0 if it is not known.
	TotalBytes int64 `json:"totalBytes"`
	// StoredBytes is how much was written to the sink so far.
	StoredBytes int64 `json:"storedBytes"`
}

// Artifact is one stored object of a point.
type Artifact struct {
	// Key is the object's place in the sink.
	Key       string `json:"key"`
	MediaType string `json:"mediaType"`
	// Name is what it is of, where a point can have several of one media type: the
	// volume's name.
	Name string `json:"name,omitempty"`
	// Size is the number of bytes stored.
	Size int64 `json:"size"`
	// Digest is of the bytes stored: "sha256:" and 64 hex digits.
	Digest string `json:"digest"`
	// UncompressedSize is the number of bytes before compression.
	UncompressedSize int64 `json:"uncompressedSize"`
	// Encryption is the format that the object is encrypted in, "age"; empty for none.
	Encryption string `json:"encryption,omitempty"`
	// Reused is set for what lay in the sink already: other points have it too, and
	// nothing was stored.
	Reused bool `json:"reused,omitempty"`
}

// Added returns how many bytes of artifacts were stored, without those that lay in the
// sink already.
func Added(artifacts []Artifact) (bytes int64) {
	for _, a := range artifacts {
		if !a.Reused {
			bytes += a.Size
		}
	}
	return bytes
}

// NotIncluded is a mount whose content is not in the point.
type NotIncluded struct {
	// Type is the Engine's word: volume, bind, tmpfs, npipe, cluster, image.
	Type string `json:"type"`
	// Name is the volume's name; empty for other types.
	Name string `json:"name,omitempty"`
	// Source is the path on the host; empty for a tmpfs.
	Source string `json:"source,omitempty"`
	// Destination is the path inside the container.
	Destination string `json:"destination"`
	Reason      string `json:"reason"`
}

// Durations are the milliseconds that each step of an item took.
type Durations struct {
	Inspect int64 `json:"inspect"`
	Commit  int64 `json:"commit"`
	// Volumes is for reading volumes, hot or not.
	Volumes int64 `json:"volumes"`
	Save    int64 `json:"save"`
	Publish int64 `json:"publish"`
	Remove  int64 `json:"remove"`
}

// HookWhen says when a command was run.
type HookWhen string

// The times for a command.
const (
	// HookPre: before the container was paused or stopped.
	HookPre HookWhen = "pre"
	// HookPost: after it was let go.
	HookPost HookWhen = "post"
)

// HookResult is what came of a command that a container's label names.
type HookResult struct {
	When HookWhen `json:"when"`
	// ExitCode is the command's own; -1 if it was not run, or did not end in time.
	ExitCode int   `json:"exitCode"`
	Millis   int64 `json:"ms"`
	// OutputBytes is how much it wrote to its standard output and standard error. What
	// it wrote stays in the container, unless the host's policy lets it out.
	OutputBytes int64 `json:"outputBytes,omitempty"`
	// Error says why it failed; empty if it did not.
	Error string `json:"error,omitempty"`
}

// Transport is how an image comes from an Engine to a sink.
type Transport string

// Transports.
const (
	// TransportSave: all of the image, as docker save writes it.
	TransportSave Transport = "save"
	// TransportPush: the layers that the sink does not have, as docker push sends them.
	TransportPush Transport = "push"
)

// BackupItemCompleted is the data of io.holdfast.backup.item.completed.v1: the
// item is stored durably as the point.
type BackupItemCompleted struct {
	Job  string `json:"job"`
	Host string `json:"host"`
	Item Item   `json:"item"`
	// Point is the id of the recovery point.
	Point string `json:"point"`
	// Sink is the sink's name, Path the point's folder in it.
	Sink string `json:"sink"`
	Path string `json:"path"`
	// ImageID is the image in the archive, as docker load will name it on an
	// engine of the same kind; empty for an item without one.
	ImageID   string     `json:"imageId,omitempty"`
	Artifacts []Artifact `json:"artifacts"`
	// ArtifactsOmitted is how many more there are; all are in the manifest.
	ArtifactsOmitted int           `json:"artifactsOmitted,omitempty"`
	NotIncluded      []NotIncluded `json:"notIncluded"`
	// NotIncludedOmitted is how many more mounts there are; all are in the manifest.
	NotIncludedOmitted int `json:"notIncludedOmitted,omitempty"`
	// SnapshotTime is the moment that the point shows.
	SnapshotTime time.Time `json:"snapshotTime"`
	// Quiesce is what was done.
	Quiesce Quiesce `json:"quiesce,omitempty"`
	// NotRunningMillis is how long the container was paused or stopped.
	NotRunningMillis float64   `json:"notRunningMs"`
	DurationsMillis  Durations `json:"durationsMs"`
	// Transport is how the image was moved, and TransportReason says why; empty for an item
	// without one.
	Transport       Transport `json:"transport,omitempty"`
	TransportReason string    `json:"transportReason,omitempty" cut:"1024"`
	// Unchanged is set if the image has the layers of the item's point before this one in the
	// sink, and none of them was stored; it says nothing of configuration and volumes.
	Unchanged bool `json:"unchanged,omitempty"`
	// Hooks are the commands that were run inside the container, in order. One that
	// failed did not keep the item from being stored.
	Hooks        []HookResult `json:"hooks,omitempty"`
	HooksOmitted int          `json:"hooksOmitted,omitempty"`
	// Warnings are what somebody should look at, those of the plan among them.
	Warnings []Warning `json:"warnings,omitempty"`
}

// ItemFailed is the data of io.holdfast.<kind>.item.failed.v1.
type ItemFailed struct {
	Job  string `json:"job"`
	Host string `json:"host"`
	// Item has no ID if the name was not found.
	Item Item `json:"item"`
	// Point is the point that the item is; empty in a backup.
	Point string `json:"point,omitempty"`
	// Sink is the item's, if the request names several.
	Sink string `json:"sink,omitempty"`
	Step Step   `json:"step"`
	Code Code   `json:"code"`
	// Message says what failed and what to do about it.
	Message string `json:"message" cut:"4096"`
	// Retryable says whether the same request can succeed later.
	Retryable bool `json:"retryable"`
	// NotRunningMillis is how long the container did not run because of this job; if it
	// still does not, Message says so.
	NotRunningMillis float64 `json:"notRunningMs,omitempty"`
	// Findings are what was found of each artifact of a point that was verified.
	Findings        []Finding `json:"findings,omitempty"`
	FindingsOmitted int       `json:"findingsOmitted,omitempty"`
}

// Step is a step in the life of an item.
type Step string

// The steps of an item: those of a backup in order, then those of other kinds.
const (
	StepPlan    Step = "plan"
	StepInspect Step = "inspect"
	StepHook    Step = "hook"
	StepCommit  Step = "commit"
	StepVolumes Step = "volumes"
	StepSave    Step = "save"
	StepPublish Step = "publish"
	StepRemove  Step = "remove"

	// StepRead: what is stored of a point is read and checked.
	StepRead Step = "read"
	// StepLoad: an image is loaded into the Engine.
	StepLoad Step = "load"
	// StepCreate: networks, volumes and the container are created.
	StepCreate Step = "create"
	// StepStop: the container that is replaced is stopped.
	StepStop Step = "stop"
	// StepStart: the container is started.
	StepStart Step = "start"
	// StepGate: it is seen whether the container runs.
	StepGate Step = "gate"
	// StepHide: a point is marked as removed.
	StepHide Step = "hide"
)

// Status is how a job ended.
type Status string

// The ways for a job to end.
const (
	StatusSucceeded Status = "succeeded"
	StatusPartial   Status = "partial"
	StatusFailed    Status = "failed"
	StatusCancelled Status = "cancelled"
)

// ItemStatus is how an item ended.
type ItemStatus string

// The ways for an item to end.
const (
	OutcomeCompleted ItemStatus = "completed"
	OutcomeFailed    ItemStatus = "failed"
	OutcomeCancelled ItemStatus = "cancelled"
	// OutcomeSkipped is an item that was not begun because the job was aborted.
	OutcomeSkipped ItemStatus = "skipped"
)

// Counts counts the items of a job. Items = Completed + Failed + Cancelled +
// Skipped; Missing names are not items.
type Counts struct {
	Items     int `json:"items"`
	Completed int `json:"completed"`
	Failed    int `json:"failed"`
	Cancelled int `json:"cancelled"`
	Skipped   int `json:"skipped"`
	// Gone is how many of the skipped items were found, not named, and gone when their
	// turn came. That is no failure.
	Gone int `json:"gone,omitempty"`
	// Kept is how many of the skipped items are points that a prune keeps contrary to its
	// plan, because they were protected, used or taken back meanwhile. That is no failure.
	Kept     int `json:"kept,omitempty"`
	Missing  int `json:"missing"`
	Excluded int `json:"excluded"`
}

// ItemOutcome is one line of a job's end.
type ItemOutcome struct {
	Item   Item       `json:"item"`
	Status ItemStatus `json:"status"`
	Point  string     `json:"point,omitempty"`
	// Sink is the item's, if the request names several.
	Sink string `json:"sink,omitempty"`
	Code Code   `json:"code,omitempty"`
	// Size is the number of bytes that were stored, or read, or are removed.
	Size             int64 `json:"size,omitempty"`
	UncompressedSize int64 `json:"uncompressedSize,omitempty"`
	// GoneAfter is when the bytes of a point go that is hidden. Zero for any other.
	GoneAfter        time.Time `json:"goneAfter,omitzero"`
	NotRunningMillis float64   `json:"notRunningMs,omitempty"`
	Millis           int64     `json:"ms,omitempty"`
	// Unchanged is set if the image has the layers of the item's point before this one in the
	// sink, and none of them was stored.
	Unchanged bool `json:"unchanged,omitempty"`
	// Volumes is how many volumes and bind mounts the point holds.
	Volumes int `json:"volumes,omitempty"`
	// NotIncluded names the first eight mounts that are not in the point.
	NotIncluded        []NotIncluded `json:"notIncluded,omitempty"`
	NotIncludedOmitted int           `json:"notIncludedOmitted,omitempty"`
	// Warnings are the codes of the item's warnings, each once.
	Warnings []WarningCode `json:"warnings,omitempty"`
}

// Ended is the data of io.holdfast.<kind>.completed.v1 and
// io.holdfast.<kind>.failed.v1.
type Ended struct {
	Job  string `json:"job"`
	Host string `json:"host"`
	Sink string `json:"sink"`
	// Sinks are all sinks, if the request names several; Sink is the first of them.
	Sinks  []string `json:"sinks,omitempty"`
	Status Status   `json:"status"`
	// Message says why the job failed or was cancelled; empty if it was not.
	Message string `json:"message,omitempty" cut:"4096"`
	Counts  Counts `json:"counts"`
	// Bytes is the number of bytes that were stored, or read, or are removed;
	// UncompressedBytes the same before compression.
	Bytes             int64 `json:"bytes"`
	UncompressedBytes int64 `json:"uncompressedBytes"`
	// Hidden is how many points a prune has hidden; HiddenBytes, how much is stored of
	// them, is not in Bytes.
	Hidden         int           `json:"hidden,omitempty"`
	HiddenBytes    int64         `json:"hiddenBytes,omitempty"`
	Items          []ItemOutcome `json:"items"`
	ItemsOmitted   int           `json:"itemsOmitted,omitempty"`
	Missing        []Missing     `json:"missing"`
	MissingOmitted int           `json:"missingOmitted,omitempty"`
	// NotIncluded is the number of mounts that are in no point of this job.
	NotIncluded int `json:"notIncluded"`
	// Warnings are about the host and the whole job.
	Warnings []Warning `json:"warnings,omitempty"`
	Began    time.Time `json:"began"`
	Ended    time.Time `json:"ended"`
}

// RequestRejected is the data of io.holdfast.request.rejected.v1.
type RequestRejected struct {
	Host string `json:"host"`
	// Job is the id that the job would have had.
	Job string `json:"job"`
	// Type is the type of the request; empty if it could not be read.
	Type          string      `json:"type"`
	Reason        Reason      `json:"reason"`
	Errors        []Violation `json:"errors"`
	ErrorsOmitted int         `json:"errorsOmitted,omitempty"`
}

// RequestUnserved is the data of io.holdfast.request.unserved.v1: a request
// waits for a host that no worker serves. It is not the end of the request: a
// worker of the host takes it when one is there.
type RequestUnserved struct {
	// Host is the host that the request was sent to.
	Host string `json:"host"`
	// Job is the id that the job has.
	Job string `json:"job"`
	// Subject is where the request was published.
	Subject string `json:"subject"`
	// Since is when the request was stored.
	Since time.Time `json:"since"`
	// Reporter is the host whose worker saw it.
	Reporter string `json:"reporter"`
}

// Violation is one thing that is wrong with a request.
type Violation struct {
	// Pointer is the RFC 6901 JSON Pointer to the offending member, also to one
	// that is missing. Where an attribute is wrong it begins at the event: /id,
	// /type, /expirytime; otherwise at the event's data. It is empty for the
	// whole.
	Pointer string `json:"pointer"`
	// Message says what is wrong. It follows the pointer as a predicate follows
	// its subject.
	Message string `json:"message"`
}

// DeadLetter is a message in the dead-letter stream: a request that could not
// be carried out at all, and why. It is plain JSON, not a CloudEvent.
type DeadLetter struct {
	Reason        Reason      `json:"reason"`
	Errors        []Violation `json:"errors"`
	ErrorsOmitted int         `json:"errorsOmitted,omitempty"`
	// Stream and Sequence say where the message lay, Subject where it was sent.
	Stream   string    `json:"stream"`
	Sequence uint64    `json:"sequence"`
	Subject  string    `json:"subject"`
	Time     time.Time `json:"time"`
	// Headers are the message's own; left out if they are too large to be kept.
	Headers map[string][]string `json:"headers,omitempty"`
	// Size and Digest are of the whole body; Body is its first 64 KiB.
	Size   int64  `json:"size"`
	Digest string `json:"digest"`
	Body   []byte `json:"body,omitempty"`
}
