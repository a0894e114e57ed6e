package backup

import (
	"fmt"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/hook"
)

// Note says what one attempt at one item may leave behind. It is written before
// the first intrusion, and goes when nothing is left. It is JSON on disk and in
// the ledger.
type Note struct {
	Job     string      `json:"job"`
	Attempt uint64      `json:"attempt"`
	Point   string      `json:"point"`
	Item    events.Item `json:"item"`
	// Sink is the sink's name, Dir the point's folder in it, where the attempt
	// stages.
	Sink string `json:"sink"`
	Dir  string `json:"dir"`
	// Snapshot is the reference of the snapshot; empty for an image.
	Snapshot string `json:"snapshot,omitempty"`
	// Quiesce is what is done to the container, Before the state that it was in,
	// and StartedAt when it had been started: one that was started since stands
	// for another reason than ours.
	Quiesce   events.Quiesce `json:"quiesce,omitempty"`
	Before    events.State   `json:"before,omitempty"`
	StartedAt time.Time      `json:"startedAt,omitzero"`
	// Held is set if the container is paused for itself, and not by its commit.
	Held bool `json:"held,omitempty"`
	// Committed is set when the commit has ended and the container runs as before:
	// what happens to it from then on is not our doing.
	Committed bool `json:"committed,omitempty"`
	// Post is the command that is owed to the container because a hook was begun in
	// it; nil if none is. It comes from the container's labels alone.
	Post *hook.Command `json:"post,omitempty"`
	// Time is when the note was written.
	Time time.Time `json:"time"`
}

// ID identifies the note; it can be the name of a file.
func (n *Note) ID() string { return noteID(n.Point, n.Attempt) }

func noteID(point string, attempt uint64) string { return fmt.Sprintf("%s-%d", point, attempt) }

// stagingName is the name of an attempt in a sink.
func stagingName(attempt uint64) string { return fmt.Sprint(attempt) }

// stands reports whether the container may still stand for our sake. What did not
// run before is left as it was.
func (n *Note) stands() bool {
	switch {
	case n.Committed:
		return false
	case n.Quiesce == events.QuiescePause:
		return n.Before == events.StateRunning
	case n.Quiesce == events.QuiesceStop:
		return n.Before == events.StateRunning || n.Before == events.StateRestarting
	}
	return false
}

// Notes keeps notes on disk, so that they outlive the process. It may be used by
// several goroutines.
type Notes interface {
	// Write returns when the note is durable. It replaces one of the same id.
	Write(n *Note) error
	// Remove returns when the note is gone for good. It is no error if it is not
	// there.
	Remove(id string) error
	// List returns all notes that can be read, in any order, and an error that
	// names those that cannot.
	List() ([]Note, error)
}
