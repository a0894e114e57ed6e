package events

import "time"

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
	// TransportDirect: the layers that the registry in which the sink lies does not have, as
	// docker push sends them there. No byte of them passes through the worker.
	TransportDirect Transport = "direct"
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
