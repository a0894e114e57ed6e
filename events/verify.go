package events

import "time"

// ItemSelector selects points by the things that they are of.
type ItemSelector struct {
	// Names are exact names, as manifests have them.
	Names []string `json:"names,omitempty"`
	// Match are unanchored RE2 expressions on names. They add up.
	Match []string `json:"match,omitempty"`
	All   bool     `json:"all,omitempty"`
}

// VerifyRequest is the data of io.holdfast.verify.requested.v1. At least one selector
// is required; Hosts, Sample and OlderThan only narrow.
type VerifyRequest struct {
	// Points are ids of points. They are never narrowed.
	Points     []string      `json:"points,omitempty"`
	Containers *ItemSelector `json:"containers,omitempty"`
	Images     *ItemSelector `json:"images,omitempty"`
	Volumes    *ItemSelector `json:"volumes,omitempty"`
	// Hosts narrows to the points of these hosts. Empty means all.
	Hosts []string `json:"hosts,omitempty"`
	// Sink is the name of a configured sink. Empty means "default".
	Sink string `json:"sink,omitempty"`
	// Level is how much is looked at. Empty means full.
	Level VerifyLevel `json:"level,omitempty"`
	// Sample is the part of the selected points that is verified, such as "10%": those
	// that were not verified for longest. Empty means all.
	Sample string `json:"sample,omitempty"`
	// OlderThan narrows to points that were not verified for this long, as a Go duration.
	OlderThan    string `json:"olderThan,omitempty"`
	AbortOnError bool   `json:"abortOnError,omitempty"`
	// Timeout bounds the whole job, as a Go duration. Empty means no bound.
	Timeout string `json:"timeout,omitempty"`
	DryRun  bool   `json:"dryRun,omitempty"`
}

// VerifyLevel is how much of a point is looked at.
type VerifyLevel string

// The levels of verification.
const (
	// VerifyQuick: its manifest, and that its objects are there in their sizes.
	VerifyQuick VerifyLevel = "quick"
	// VerifyFull: every byte.
	VerifyFull VerifyLevel = "full"
	// VerifyDrill: it is restored and started, without network, and removed.
	VerifyDrill VerifyLevel = "drill"
)

// VerifyItemCompleted is the data of io.holdfast.verify.item.completed.v1: the point
// passed. One that did not is an item that failed.
type VerifyItemCompleted struct {
	Job  string `json:"job"`
	Host string `json:"host"`
	// Item is what the point is of.
	Item  Item   `json:"item"`
	Point string `json:"point"`
	Sink  string `json:"sink"`
	// Path is the point's folder in the sink.
	Path    string      `json:"path"`
	Level   VerifyLevel `json:"level"`
	Checked Checked     `json:"checked"`
	// Previous is what is known of the last time; left out if it is the first.
	Previous        Verification    `json:"previous,omitzero"`
	DurationsMillis VerifyDurations `json:"durationsMs"`
	Warnings        []Warning       `json:"warnings,omitempty"`
}

// Checked is what of a point was looked at.
type Checked struct {
	Objects int `json:"objects"`
	// Bytes is how much was read from the sink.
	Bytes int64 `json:"bytes"`
	// Layers is how many layers of the image match their digests.
	Layers int `json:"layers"`
}

// Verification is what came of verifying a point.
type Verification struct {
	Time   time.Time   `json:"time"`
	Level  VerifyLevel `json:"level"`
	Passed bool        `json:"passed"`
	// Message says what is wrong with the point; empty if it passed.
	Message string `json:"message,omitempty"`
}

// VerifyDurations are the milliseconds that each part of a verification took.
type VerifyDurations struct {
	// Read is for looking at what is stored.
	Read int64 `json:"read"`
	// Drill is for restoring, starting and removing.
	Drill int64 `json:"drill"`
}

// ParseVerifyRequest reads the data of a verify request. What it accepts can be acted
// on as it is. An error is an *[InvalidError].
func ParseVerifyRequest(raw []byte) (*VerifyRequest, error) {
	var r VerifyRequest
	if err := parse(Verify, raw, &r); err != nil {
		return nil, err
	}
	var bad violations
	bad.duration("/timeout", r.Timeout)
	bad.duration("/olderThan", r.OlderThan)
	bad.selectors(map[string]*ItemSelector{"containers": r.Containers, "images": r.Images, "volumes": r.Volumes})
	return result(&r, bad)
}
