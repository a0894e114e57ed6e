package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// ErrNoHelperImage: the image that helpers are to be made from is not on the Engine.
var ErrNoHelperImage = errors.New("the image for helpers is not on this Engine")

// HelperLabel marks what is made for a helper: its container, and a volume that the
// Engine made along with it. The value is the helper's name.
const HelperLabel = "holdfast.helper"

// HelperName is the name of the nth helper that an attempt at a point makes.
func HelperName(pointID string, attempt uint64, n int) string {
	return fmt.Sprintf("holdfast-helper-%s-%d-%d", pointID, attempt, n)
}

// IsHelper reports whether the container is a helper. No request selects those, and
// they count for no user of a volume.
func (c *Container) IsHelper() bool { return c.Labels[HelperLabel] != "" }

// HelperPlace is where a helper finds the one volume or folder that it is made for.
const HelperPlace = "/v"

// HelperSpec says how a helper is made.
type HelperSpec struct {
	// Name is the container's name, and the value of its label.
	Name string
	// Volume is a volume's name, Bind an absolute path on the Engine's host; exactly one
	// is set. What is mounted below a Bind is left out.
	Volume, Bind string
	// Writes is set if the helper changes what is in it. It is mounted read-only
	// otherwise.
	Writes bool
	// Image is a reference of the image whose own entrypoint is run; empty for none: the
	// container has nothing but what CopyToHelper puts into it, and Command begins with
	// a program.
	Image       string
	Command     []string
	Environment []string // NAME=value
}

// Helpers makes containers of ours, each of which runs a program on one volume or
// folder. They have no network, no log, and no rights but those that reading or
// writing any file takes. They may be used by several goroutines.
type Helpers interface {
	// CreateHelper makes the container, and returns its id. It reports ErrNotFound if
	// the volume or the path is not there, and leaves none behind that was not there, and
	// ErrNoHelperImage. It may go on when ctx ends; after an error RemoveHelper removes
	// what was made.
	CreateHelper(ctx context.Context, s HelperSpec) (id string, err error)
	// CopyToHelper puts the files of a plain tar archive below the root of a helper that
	// was not started. It may be repeated.
	CopyToHelper(ctx context.Context, id string, files io.Reader) error
	// RunHelper starts the helper, and returns its exit code when it has ended and all
	// that it wrote is passed on. What it does not read of stdin is dropped; a nil stdin
	// is empty. An error of stdin or of a writer is returned as it is. When ctx ends
	// RunHelper returns its cause as soon as stdin and the writers do, and leaves the
	// helper running.
	RunHelper(ctx context.Context, id string, stdin io.Reader, stdout, stderr io.Writer) (exitCode int, err error)
	// RemoveHelper kills and removes the helper of this name, and a volume that the Engine
	// made along with it, and reports whether anything was there. Only what carries the
	// label is touched.
	RemoveHelper(ctx context.Context, name string) (found bool, err error)
}
