package events

import "cmp"

// CopyRequest is the data of io.holdfast.copy.requested.v1. At least one selector is
// required; Hosts only narrows. Points that lie in both sinks are left out.
type CopyRequest struct {
	// Points are ids of points. They are never narrowed.
	Points     []string      `json:"points,omitempty"`
	Containers *ItemSelector `json:"containers,omitempty"`
	Images     *ItemSelector `json:"images,omitempty"`
	Volumes    *ItemSelector `json:"volumes,omitempty"`
	// Hosts narrows to the points of these hosts. Empty means all.
	Hosts []string `json:"hosts,omitempty"`
	// From is the name of the configured sink that is copied from. Empty means "default".
	From string `json:"from,omitempty"`
	// To is the name of the configured sink that is copied to. It is another one.
	To           string `json:"to"`
	AbortOnError bool   `json:"abortOnError,omitempty"`
	// Timeout bounds the whole job, as a Go duration. Empty means no bound.
	Timeout string `json:"timeout,omitempty"`
	DryRun  bool   `json:"dryRun,omitempty"`
}

// CopyItemCompleted is the data of io.holdfast.copy.item.completed.v1: the point lies in
// the other sink too.
type CopyItemCompleted struct {
	Job  string `json:"job"`
	Host string `json:"host"`
	// Item is what the point is of.
	Item  Item   `json:"item"`
	Point string `json:"point"`
	// PointHost is the host that the point is of, if that is not Host.
	PointHost string `json:"pointHost,omitempty"`
	// From is the name of the sink that it was copied from, Sink of the one that it was
	// copied to.
	From string `json:"from"`
	Sink string `json:"sink"`
	// Path is the point's folder, in both sinks.
	Path string `json:"path"`
	// AlreadyThere is set if the point was there when its turn came: an earlier attempt
	// had copied it, or somebody else.
	AlreadyThere bool `json:"alreadyThere,omitempty"`
	// Protected is set if the point is protected in Sink, as it is in From.
	Protected bool `json:"protected,omitempty"`
	// Bytes is how much is stored of it in Sink.
	Bytes int64 `json:"bytes"`
	// Artifacts are those in Sink.
	Artifacts        []Artifact    `json:"artifacts"`
	ArtifactsOmitted int           `json:"artifactsOmitted,omitempty"`
	DurationsMillis  CopyDurations `json:"durationsMs"`
	Warnings         []Warning     `json:"warnings,omitempty"`
}

// CopyDurations are the milliseconds that each part of a copy took.
type CopyDurations struct {
	// Copy is for reading and writing the artifacts.
	Copy int64 `json:"copy"`
	// Publish is for making the point appear.
	Publish int64 `json:"publish"`
}

// ParseCopyRequest reads the data of a copy request. What it accepts can be acted on as
// it is. An error is an *[InvalidError].
func ParseCopyRequest(raw []byte) (*CopyRequest, error) {
	var r CopyRequest
	if err := parse(Copy, raw, &r); err != nil {
		return nil, err
	}
	var bad violations
	bad.duration("/timeout", r.Timeout)
	bad.selectors(map[string]*ItemSelector{"containers": r.Containers, "images": r.Images, "volumes": r.Volumes})
	if r.To == cmp.Or(r.From, DefaultSink) {
		bad.add("/to", "must be another sink than the one that is copied from")
	}
	return result(&r, bad)
}
