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
