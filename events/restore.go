package events

import (
	"encoding/json"
	"time"
)

// RestoreRequest is the data of io.holdfast.restore.requested.v1.
//
// The items are points: those in Points, and the newest one of each thing that is
// named. At least one selector is required.
type RestoreRequest struct {
	// Points are ids of points.
	Points     []string       `json:"points,omitempty"`
	Containers *PointSelector `json:"containers,omitempty"`
	Images     *PointSelector `json:"images,omitempty"`
	// Volumes is what becomes of the volumes of a container, and the volumes that are
	// restored by themselves.
	Volumes *RestoreVolumes `json:"volumes,omitempty"`
	// Sink is the name of a configured sink. Empty means "default".
	Sink string `json:"sink,omitempty"`
	// As is how far a container is brought back. Empty means start.
	As RestoreAs `json:"as,omitempty"`
	// Name is the name that the restored container gets. Empty means its own. Only
	// one item can have one.
	Name string `json:"name,omitempty"`
	// Replace puts the restored container in the place of the one that has its name.
	Replace bool `json:"replace,omitempty"`
	// Networks is what is done about networks that are not there. Empty means existing.
	Networks RestoreNetworks `json:"networks,omitempty"`
	// Dependants is what becomes of containers that share the namespaces of one that
	// is replaced. Empty means refuse.
	Dependants Dependants `json:"dependants,omitempty"`
	// Gate is how long a started container without a health check must run, and one
	// with a health check may take to be healthy beyond the check's own times, as a Go
	// duration. Empty means 10s.
	Gate         string `json:"gate,omitempty"`
	AbortOnError bool   `json:"abortOnError,omitempty"`
	// Timeout bounds the whole job, as a Go duration. Empty means no bound.
	Timeout string `json:"timeout,omitempty"`
	DryRun  bool   `json:"dryRun,omitempty"`
	// Tags are kept in the manifest of every point that the job stores: of the old
	// content of volumes.
	Tags map[string]string `json:"tags,omitempty"`
}

// PointSelector selects points by the names of what they are of.
type PointSelector struct {
	// Names are exact names, as manifests have them.
	Names []string `json:"names,omitempty"`
	// At is "latest", or an RFC 3339 time: the newest point that is not later. Empty
	// means latest.
	At string `json:"at,omitempty"`
	// From is the id of the host whose points they are. Empty means the host that
	// restores.
	From string `json:"from,omitempty"`
}

// AtLatest asks for the newest point.
const AtLatest = "latest"

// RestoreVolumes is what becomes of volumes. In JSON it is a mode, or an object.
type RestoreVolumes struct {
	Mode VolumeMode `json:"mode,omitempty"`
	// PointSelector selects points of volumes, which are restored by themselves.
	PointSelector
}

// MarshalJSON implements [json.Marshaler].
func (v RestoreVolumes) MarshalJSON() ([]byte, error) {
	if v.Names == nil && v.At == "" && v.From == "" {
		return json.Marshal(v.Mode)
	}
	type object RestoreVolumes
	return json.Marshal(object(v))
}

// UnmarshalJSON implements [json.Unmarshaler].
func (v *RestoreVolumes) UnmarshalJSON(raw []byte) error {
	if len(raw) > 0 && raw[0] == '"' {
		return json.Unmarshal(raw, &v.Mode)
	}
	type object RestoreVolumes
	return json.Unmarshal(raw, (*object)(v))
}

// RestoreAs is how far a container is brought back.
type RestoreAs string

// The ways to restore a container.
const (
	// RestoreImage: its image is loaded and tagged.
	RestoreImage RestoreAs = "image"
	// RestoreCreate: a container is created of it.
	RestoreCreate RestoreAs = "create"
	// RestoreStart: and started.
	RestoreStart RestoreAs = "start"
)

// VolumeMode is what becomes of the volumes of a restored container.
type VolumeMode string

// The modes for volumes.
const (
	// VolumesNone: volumes are left alone; the Engine makes those that are missing, empty.
	VolumesNone VolumeMode = "none"
	// VolumesEmpty: missing ones are made, empty ones filled; one that holds data is an
	// error.
	VolumesEmpty VolumeMode = "empty"
	// VolumesKeep: existing ones stay as they are; missing ones are made and filled.
	VolumesKeep VolumeMode = "keep"
	// VolumesNew: all come back in new volumes.
	VolumesNew VolumeMode = "new"
	// VolumesReplace: their content is replaced, after it was stored as a point.
	VolumesReplace VolumeMode = "replace"
)

// RestoreNetworks is what is done about networks that are not there.
type RestoreNetworks string

// The modes for networks.
const (
	// NetworksExisting: a missing one is an error.
	NetworksExisting RestoreNetworks = "existing"
	// NetworksCreate: a missing one is created.
	NetworksCreate RestoreNetworks = "create"
)

// Dependants is what becomes of containers that share the namespaces of one that is
// replaced.
type Dependants string

// The modes for dependants.
const (
	DependantsRefuse   Dependants = "refuse"
	DependantsRecreate Dependants = "recreate"
)

// RestoreItemCompleted is the data of io.holdfast.restore.item.completed.v1: the
// point is restored.
type RestoreItemCompleted struct {
	Job  string `json:"job"`
	Host string `json:"host"`
	// Item is what the point is of.
	Item  Item   `json:"item"`
	Point string `json:"point"`
	Sink  string `json:"sink"`
	// As is what was done: image, create or start; empty for a volume.
	As RestoreAs `json:"as,omitempty"`
	// Container is the restored container; empty if none was made.
	Container RestoredContainer `json:"container,omitzero"`
	// Bytes is how much of the point was read.
	Bytes int64 `json:"bytes"`
	// ImageID is the id that the image has on this Engine, ImageReference its tag.
	ImageID         string            `json:"imageId,omitempty"`
	ImageReference  string            `json:"imageReference,omitempty"`
	Volumes         []RestoredVolume  `json:"volumes,omitempty"`
	VolumesOmitted  int               `json:"volumesOmitted,omitempty"`
	Networks        []RestoredNetwork `json:"networks,omitempty"`
	NetworksOmitted int               `json:"networksOmitted,omitempty"`
	// Differences are the members of the configuration that are not as they were.
	Differences        []Difference `json:"differences"`
	DifferencesOmitted int          `json:"differencesOmitted,omitempty"`
	// Replaced is the full id of the container that was in its place and is removed.
	Replaced string `json:"replaced,omitempty"`
	// Dependants are the containers that were made again, as they used namespaces of the
	// one that is replaced.
	Dependants        []RecreatedDependant `json:"dependants,omitempty"`
	DependantsOmitted int                  `json:"dependantsOmitted,omitempty"`
	// NotRunningMillis is how long neither the old nor the new container ran.
	NotRunningMillis float64          `json:"notRunningMs"`
	DurationsMillis  RestoreDurations `json:"durationsMs"`
	Warnings         []Warning        `json:"warnings,omitempty"`
}

// RestoredContainer is a container that was made.
type RestoredContainer struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// RecreatedDependant is a container that was made again of what it held.
type RecreatedDependant struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Replaced is the full id of the container that was in its place and is removed.
	Replaced string `json:"replaced"`
	// ImageReference is the tag of the image that it is made from, which holds what it had
	// written.
	ImageReference string `json:"imageReference"`
	// NotRunningMillis is how long neither the old nor the new container ran.
	NotRunningMillis float64 `json:"notRunningMs"`
}

// RestoredVolume is what became of a volume.
type RestoredVolume struct {
	// Name is the volume's name on this Engine.
	Name string `json:"name"`
	// Was is the name that it had in the point, if that is another one.
	Was    string       `json:"was,omitempty"`
	Action VolumeAction `json:"action"`
	// Safety is the id of the point that has what it held before its content was
	// replaced.
	Safety string `json:"safety,omitempty"`
}

// VolumeAction is what was done to a volume.
type VolumeAction string

// What is done to a volume.
const (
	// VolumeCreated: it was made, and holds what the point does.
	VolumeCreated VolumeAction = "created"
	// VolumeFilled: it was there, empty, and was filled.
	VolumeFilled VolumeAction = "filled"
	// VolumeKept: it was there and stays as it is.
	VolumeKept VolumeAction = "kept"
	// VolumeReplaced: its content was replaced.
	VolumeReplaced VolumeAction = "replaced"
	// VolumeMadeEmpty: it was made, and is empty: the point does not hold its content.
	VolumeMadeEmpty VolumeAction = "made_empty"
)

// RestoredNetwork is what became of a network.
type RestoredNetwork struct {
	Name   string        `json:"name"`
	Action NetworkAction `json:"action"`
}

// NetworkAction is what was done about a network.
type NetworkAction string

// What is done about a network.
const (
	NetworkUsed    NetworkAction = "used"
	NetworkCreated NetworkAction = "created"
)

// Difference is a member of a container's configuration that is not as it was.
type Difference struct {
	// Member is its place in the inspect document, such as HostConfig.ShmSize.
	Member string `json:"member"`
	// Was and Now are its values, in JSON; empty if it was or is not there.
	Was string `json:"was,omitempty"`
	Now string `json:"now,omitempty"`
	// Reason says why it differs.
	Reason string `json:"reason"`
}

// RestoreDurations are the milliseconds that each part of a restore took.
type RestoreDurations struct {
	Load    int64 `json:"load"`
	Create  int64 `json:"create"`
	Volumes int64 `json:"volumes"`
	Stop    int64 `json:"stop"`
	Start   int64 `json:"start"`
	Gate    int64 `json:"gate"`
}

// ParseRestoreRequest reads the data of a restore request. What it accepts can be
// acted on as it is. An error is an *[InvalidError].
func ParseRestoreRequest(raw []byte) (*RestoreRequest, error) {
	var r RestoreRequest
	if err := parse(Restore, raw, &r); err != nil {
		return nil, err
	}
	var bad violations
	bad.duration("/timeout", r.Timeout)
	bad.duration("/gate", r.Gate)
	for pointer, s := range r.selectors() {
		if s != nil && s.At != "" && s.At != AtLatest {
			if _, err := time.Parse(time.RFC3339, s.At); err != nil {
				bad.add(pointer+"/at", "must be \"latest\" or a date-time of RFC 3339")
			}
		}
	}
	if r.Name != "" && r.selected() != 1 {
		bad.add("/name", "is for one point: name exactly one, or leave it out")
	}
	r.checkTogether(&bad)
	return result(&r, bad)
}

// selectors returns the selectors by their pointers; nil for one that is not there.
func (r *RestoreRequest) selectors() map[string]*PointSelector {
	all := map[string]*PointSelector{"/containers": r.Containers, "/images": r.Images}
	if r.Volumes != nil {
		all["/volumes"] = &r.Volumes.PointSelector
	}
	return all
}

// selected counts the names and ids in the request.
func (r *RestoreRequest) selected() int {
	n := len(r.Points)
	for _, s := range r.selectors() {
		if s != nil {
			n += len(s.Names)
		}
	}
	return n
}

// checkTogether finds the members that have no meaning beside each other: an option
// must not be passed over in silence.
func (r *RestoreRequest) checkTogether(bad *violations) {
	only := func(set bool, pointer, what string) {
		if set {
			bad.add(pointer, "has a meaning only with "+what)
		}
	}
	made := r.As != RestoreImage
	only(!made && r.Replace, "/replace", `"as": "create" or "start"`)
	only(!made && r.Networks != "", "/networks", `"as": "create" or "start"`)
	only(r.Gate != "" && r.As != "" && r.As != RestoreStart, "/gate", `"as": "start"`)
	only(r.Dependants != "" && !r.Replace, "/dependants", `"replace": true`)
}
