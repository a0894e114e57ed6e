package events

// Condition is what a verification found of one thing that is stored.
type Condition string

// The conditions.
const (
	// ConditionGood: all that was looked at is as it was stored.
	ConditionGood Condition = "good"
	// ConditionDamaged: it is not what was stored.
	ConditionDamaged Condition = "damaged"
	// ConditionMissing: it is not there.
	ConditionMissing Condition = "missing"
	// ConditionNotRunning: its bytes are whole, but no container runs of it.
	ConditionNotRunning Condition = "not_running"
)

// Finding is what a verification found of one artifact of a point, or of the point
// itself.
type Finding struct {
	// Key is the artifact's place in the sink; empty for the point itself.
	Key       string `json:"key,omitempty"`
	MediaType string `json:"mediaType,omitempty"`
	// Name is what the artifact is of: the volume's name.
	Name      string    `json:"name,omitempty"`
	Condition Condition `json:"condition"`
	// Message says what is wrong, and what of it can still be saved; empty if nothing is.
	Message string `json:"message,omitempty"`
	// From and To are the first range of stored bytes that cannot be read, from From up
	// to but not including To; both 0 if that is not known.
	From int64 `json:"from,omitempty"`
	To   int64 `json:"to,omitempty"`
	// BadBytes is how many such bytes there are in all.
	BadBytes int64 `json:"badBytes,omitempty"`
	// Points are ids of points that have the artifact too, which then suffer from the same:
	// the newest, with this one; PointsOmitted is how many more there are. Both are of a
	// damaged artifact that points share.
	Points        []string `json:"points,omitempty"`
	PointsOmitted int      `json:"pointsOmitted,omitempty"`
}
