package events

import "time"

// PruneRequest is the data of io.holdfast.prune.requested.v1. What it does not keep
// goes: of each group, which are the points of one thing on one host.
type PruneRequest struct {
	// Sink is the name of a configured sink. Empty means "default".
	Sink string `json:"sink,omitempty"`
	// Hosts narrows to the points of these hosts. Empty means all.
	Hosts []string `json:"hosts,omitempty"`
	// Containers, Images and Volumes narrow to what they select, and one that is empty
	// to all of its kind. Without any of them all points are looked at.
	Containers *ItemSelector `json:"containers,omitempty"`
	Images     *ItemSelector `json:"images,omitempty"`
	Volumes    *ItemSelector `json:"volumes,omitempty"`
	Keep       Keep          `json:"keep"`
	// Grace is how long a removed point can be taken back before its bytes go, as a Go
	// duration; with 0s they go at once. Empty means 24h.
	Grace        string `json:"grace,omitempty"`
	AbortOnError bool   `json:"abortOnError,omitempty"`
	// Timeout bounds the whole job, as a Go duration. Empty means no bound.
	Timeout string `json:"timeout,omitempty"`
	DryRun  bool   `json:"dryRun,omitempty"`
}

// Keep says which points of a group stay. What one of its members keeps stays.
type Keep struct {
	// Last keeps that many of the newest.
	Last int `json:"last,omitempty"`
	// Hourly to Yearly keep the newest of each of the last hours, days, …, that have
	// any.
	Hourly  int `json:"hourly,omitempty"`
	Daily   int `json:"daily,omitempty"`
	Weekly  int `json:"weekly,omitempty"`
	Monthly int `json:"monthly,omitempty"`
	Yearly  int `json:"yearly,omitempty"`
	// Within keeps what is not older, as a Go duration.
	Within string `json:"within,omitempty"`
	// Tags keeps points with one of these tags, "K" or "K=V".
	Tags []string `json:"tags,omitempty"`
}

// PruneItemCompleted is the data of io.holdfast.prune.item.completed.v1: the point is
// hidden, or its bytes are gone.
type PruneItemCompleted struct {
	Job  string `json:"job"`
	Host string `json:"host"`
	// Item is what the point is of.
	Item  Item   `json:"item"`
	Point string `json:"point"`
	// PointHost is the host that the point is of, if that is not Host.
	PointHost string `json:"pointHost,omitempty"`
	Sink      string `json:"sink"`
	// Path is the point's folder in the sink.
	Path string `json:"path"`
	// Reason says why it is not kept.
	Reason string `json:"reason"`
	// Bytes is how much is stored of it.
	Bytes int64 `json:"bytes"`
	// GoneAfter is when its bytes go; until then it can be taken back. Zero if they are
	// gone.
	GoneAfter time.Time `json:"goneAfter,omitzero"`
}

// ParsePruneRequest reads the data of a prune request. What it accepts can be acted on
// as it is. An error is an *[InvalidError].
func ParsePruneRequest(raw []byte) (*PruneRequest, error) {
	var r PruneRequest
	if err := parse(Prune, raw, &r); err != nil {
		return nil, err
	}
	var bad violations
	bad.duration("/timeout", r.Timeout)
	if r.Grace != "" {
		if d, err := time.ParseDuration(r.Grace); err != nil || d < 0 {
			bad.add("/grace", "must be a duration below 292 years")
		}
	}
	bad.duration("/keep/within", r.Keep.Within)
	bad.selectors(map[string]*ItemSelector{"containers": r.Containers, "images": r.Images, "volumes": r.Volumes})
	return result(&r, bad)
}
