// Package undo undoes what attempts at items leave behind on an Engine and in a
// sink: [Record] says what that may be and is durable before anything is touched,
// [Locks] keep a container from others meanwhile, and the [Sweeper] undoes the
// records of attempts that could not do so themselves.
package undo

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/hook"
)

// Version is the version of the records that this program writes. It reads all before
// it: version 2 came with Action.RemoveContainer and those of restores, version 3 with
// the dependants of a Restoration, and Image.Begun.
const Version = 3

// ErrNewer is reported for a record of a higher version: only a program that knows
// it can undo it, so it is left where it is.
var ErrNewer = errors.New("it was written by a newer version of Holdfast, and only that can undo it")

// Record says what one attempt at one item may leave behind. It is JSON on disk and
// in the job's ledger.
type Record struct {
	Version int `json:"version"`
	// ID identifies the record and can be the name of a file; see [ID].
	ID      string      `json:"id"`
	Job     string      `json:"job"`
	Attempt uint64      `json:"attempt"`
	Item    events.Item `json:"item"`
	// Time is when the record was written first.
	Time time.Time `json:"time"`
	// Actions are what is still to be undone, in the order in which it was planned.
	// None means that nothing is left.
	Actions []Action `json:"actions"`
	// Done is what came of the item, as JSON, once it is done for good: the next attempt
	// reports that and does nothing more. It is in the ledger before anybody hears of it.
	Done json.RawMessage `json:"done,omitempty"`
}

// Action is one thing to be undone. Exactly one member is set.
type Action struct {
	Resume          *Resume       `json:"resume,omitempty"`
	RunHook         *Hook         `json:"runHook,omitempty"`
	RemoveContainer *OwnContainer `json:"removeContainer,omitempty"`
	RemoveImage     *Image        `json:"removeImage,omitempty"`
	Unstage         *Staging      `json:"unstage,omitempty"`
	Restoration     *Restoration  `json:"restoration,omitempty"`
	// RemoveReplaced is a container in whose place another one has come for good.
	RemoveReplaced *ReplacedContainer `json:"removeReplaced,omitempty"`
}

// Resume is a container that may be paused or stopped because of the attempt.
type Resume struct {
	// Container is the full id.
	Container string `json:"container"`
	// Quiesce is what is done to it: pause or stop.
	Quiesce events.Quiesce `json:"quiesce"`
	// Before is the state that it was in, and StartedAt when it had been started: one
	// that was started since is paused or stopped for another reason.
	Before    events.State `json:"before"`
	StartedAt time.Time    `json:"startedAt,omitzero"`
	// Held is set if the container is paused by a call of its own. Otherwise its
	// commit pauses it, and ends that.
	Held bool `json:"held,omitempty"`
}

// Hook is a command that is to be run in a container once that has been resumed. It
// comes from the container's labels alone.
type Hook struct {
	// Container is the full id.
	Container string       `json:"container"`
	Command   hook.Command `json:"command"`
}

// OwnContainer is a container that the attempt makes for itself, with the label
// engine.HelperLabel.
type OwnContainer struct {
	// Name is the container's name, and the value of its label, by which it is found: a
	// name alone may be somebody else's.
	Name string `json:"name"`
	// ID is its full id once it is known, if it ever is.
	ID string `json:"id,omitempty"`
}

// Image is a temporary image that a commit makes.
type Image struct {
	// Reference is the image's name: repository:tag.
	Reference string `json:"reference"`
	// ID is the image's id once it is known. The image is gone when its id is.
	ID string `json:"imageId,omitempty"`
	// Committed is set when the commit has ended: no image comes after that.
	Committed bool `json:"committed,omitempty"`
	// Begun is when the commit was begun; zero for that it was with the record.
	Begun time.Time `json:"begun,omitzero"`
}

// hasCome reports whether no image comes any more, or it has been seen: an Engine makes
// one by each commit.
func (i *Image) hasCome() bool { return i.Committed || i.ID != "" }

// Staging is what the attempt may have written to a sink and not published.
type Staging struct {
	// Sink is the sink's name in the configuration.
	Sink string `json:"sink"`
	// Dir is the point's folder, and Name the attempt's name in it.
	Dir  string `json:"dir"`
	Name string `json:"name"`
}

// ID returns the id of the record of an attempt at a point.
func ID(point string, attempt uint64) string { return fmt.Sprintf("%s-%d", point, attempt) }

// Decode reads a record. It reports ErrNewer for one of a higher version, and
// refuses one with members or actions that it does not know.
func Decode(raw []byte) (Record, error) {
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return Record{}, fmt.Errorf("it is damaged: %w", err)
	}
	if head.Version > Version {
		return Record{}, fmt.Errorf("%w (it has version %d, and this program knows %d)", ErrNewer, head.Version, Version)
	}
	var r Record
	strict := json.NewDecoder(bytes.NewReader(raw))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&r); err != nil {
		return Record{}, fmt.Errorf("it is damaged: %w", err)
	}
	return r, r.check()
}

func (r *Record) check() error {
	if r.Version < 1 || r.ID == "" {
		return errors.New("it is damaged: it has no version or no id")
	}
	for i, a := range r.Actions {
		if n := a.members(); n != 1 {
			return fmt.Errorf("it is damaged: action %d has %d members that this program knows, and must have one", i, n)
		}
		if a.RemoveContainer != nil && a.RemoveContainer.Name == "" {
			return fmt.Errorf("it is damaged: action %d removes a container without a name", i)
		}
	}
	return nil
}

func (a Action) members() int {
	n := 0
	for _, set := range []bool{a.Resume != nil, a.RunHook != nil, a.RemoveContainer != nil, a.RemoveImage != nil, a.Unstage != nil,
		a.Restoration != nil, a.RemoveReplaced != nil} {
		if set {
			n++
		}
	}
	return n
}

// clone returns a copy that shares nothing that is changed.
func (r *Record) clone() Record {
	c := *r
	c.Actions = make([]Action, len(r.Actions))
	for i, a := range r.Actions {
		switch {
		case a.RemoveImage != nil:
			img := *a.RemoveImage
			a.RemoveImage = &img
		case a.RemoveContainer != nil:
			own := *a.RemoveContainer
			a.RemoveContainer = &own
		case a.Restoration != nil:
			a.Restoration = a.Restoration.clone()
		}
		c.Actions[i] = a // the members of other kinds are not changed
	}
	return c
}

// same reports whether two actions undo the same thing of one record.
func (a Action) same(b Action) bool {
	switch {
	case a.RemoveImage != nil && b.RemoveImage != nil:
		return a.RemoveImage.Reference == b.RemoveImage.Reference
	case a.RemoveContainer != nil && b.RemoveContainer != nil:
		return a.RemoveContainer.Name == b.RemoveContainer.Name
	case a.Restoration != nil && b.Restoration != nil:
		return true // a record has one
	}
	return a == b
}

// IsResume reports whether the action resumes a container.
func IsResume(a Action) bool { return a.Resume != nil }

// IsHook reports whether the action runs a command in a container.
func IsHook(a Action) bool { return a.RunHook != nil }

// IsContainer reports whether the action removes a container.
func IsContainer(a Action) bool { return a.RemoveContainer != nil }

// IsImage reports whether the action removes an image.
func IsImage(a Action) bool { return a.RemoveImage != nil }

// Drop removes the actions for which done returns true.
func (r *Record) Drop(done func(Action) bool) {
	r.Actions = slices.DeleteFunc(r.Actions, done)
}

func (r *Record) has(is func(Action) bool) bool { return slices.ContainsFunc(r.Actions, is) }

// Holds reports whether a container may still be paused, stopped or out of its place
// because of the attempt, or a command be still to be run in it.
func (r *Record) Holds() bool { return r.has(Holding) }

// Holding reports whether the action does something to a container of a user.
func Holding(a Action) bool { return IsResume(a) || IsHook(a) || IsRestoration(a) || IsReplaced(a) }

// EndCommit says that the commit with this reference has ended, and which image it
// made; an empty id stands for none that is known.
func (r *Record) EndCommit(reference, id string) {
	r.changeImage(reference, func(img *Image) { img.Committed, img.ID = true, cmp.Or(id, img.ID) })
}

func (r *Record) changeImage(reference string, change func(img *Image)) {
	for _, a := range r.Actions {
		if a.RemoveImage != nil && a.RemoveImage.Reference == reference {
			change(a.RemoveImage)
		}
	}
}

// ContainerMade says which id the attempt's own container of this name has.
func (r *Record) ContainerMade(name, id string) {
	for _, a := range r.Actions {
		if a.RemoveContainer != nil && a.RemoveContainer.Name == name {
			a.RemoveContainer.ID = id
		}
	}
}

// DropContainer removes the action for the attempt's own container of this name, which
// is gone.
func (r *Record) DropContainer(name string) {
	r.Drop(func(a Action) bool { return IsContainer(a) && a.RemoveContainer.Name == name })
}

// resources are what nobody else may work on before the record is undone: the user's
// container that is to be resumed, or put back in its place, or removed, and what a
// restore has made or filled.
func (r *Record) resources() (all []Resource) {
	for _, a := range r.Actions {
		switch {
		case a.Resume != nil:
			all = append(all, Container(a.Resume.Container))
		case a.RemoveReplaced != nil:
			all = append(all, Container(a.RemoveReplaced.ID))
		case a.Restoration != nil:
			all = append(all, a.Restoration.resources()...)
		}
	}
	return all
}

// committed reports whether the attempt's commits are known to have ended.
func (r *Record) committed() bool {
	return r.has(IsImage) && !r.has(func(a Action) bool { return IsImage(a) && !a.RemoveImage.Committed })
}
