// Package engine is what Holdfast needs of a Docker Engine: its values, small
// ports, the errors that tell its failures apart, and the names of the temporary
// images that Holdfast makes on it. Package docker implements it, and package
// enginetest holds any implementation to it.
package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"holdfast.io/holdfast/events"
)

// Errors that an Engine reports, so that they can be told apart with
// [errors.Is].
var (
	// ErrNotFound: the container, image or volume is not there (any more).
	ErrNotFound = errors.New("not on this Engine")
	// ErrEngineFull: the Engine's disk is full.
	ErrEngineFull = errors.New("the Engine's disk is full")
	// ErrInUse: an image stays, as a container uses it or another image is based on it;
	// or a network or a volume does, as a container uses it.
	ErrInUse = errors.New("it is in use")
	// ErrEngineUnavailable: the Engine does not answer.
	ErrEngineUnavailable = errors.New("the Engine does not answer")
	// ErrUnsupported: whoever answers at the Engine's address is none that Holdfast
	// can work with.
	ErrUnsupported = errors.New("this is no Docker Engine that is supported")
	// ErrBadAnswer: the Engine's answer lacks what every Engine says.
	ErrBadAnswer = errors.New("the Engine's answer is incomplete")
	// ErrBaseMissing: the image that a container was made from was removed from the
	// Engine, which cannot commit the container without it.
	ErrBaseMissing = errors.New("the image that the container was made from is no longer on the Engine")
	// ErrUncommittable: something in a container cannot be put into an image.
	ErrUncommittable = errors.New("the container's files cannot be made an image")
	// ErrIncomplete: the Engine lists an image of which it does not have all content.
	ErrIncomplete = errors.New("the Engine does not have all of the image")
)

// BaseMissing is the ErrBaseMissing of a container that was made from this image.
func BaseMissing(imageID string) error {
	return fmt.Errorf("%w (%s): pull or load it again; 'docker export' can still write the container's files", ErrBaseMissing, imageID)
}

// IsLasting reports whether asking the Engine again does not help until somebody has
// changed something between it and us.
func IsLasting(err error) bool {
	return errors.Is(err, ErrRefused) || errors.Is(err, ErrUnsupported) || errors.Is(err, ErrBadAnswer)
}

// Inventory lists what could be backed up on a host. It may be used by several
// goroutines.
type Inventory interface {
	// Containers lists all containers, in any state and order.
	Containers(ctx context.Context) ([]Container, error)
	// Images lists all images but intermediate ones, in any order.
	Images(ctx context.Context) ([]Image, error)
}

// Containers is what an Engine does with containers. Ids are always full. It
// may be used by several goroutines.
type Containers interface {
	// Inspect returns the container as it is now. It reports ErrBadAnswer if the
	// Engine leaves out what must be known of it.
	Inspect(ctx context.Context, id string) (*ContainerDetail, error)
	// Commit makes an image of the container's file system and configuration, and
	// returns the image's id when it is done. The commit may go on when ctx ends. It
	// reports ErrBaseMissing and ErrUncommittable.
	Commit(ctx context.Context, id string, o CommitOptions) (imageID string, err error)
	// Stop stops the container with its own signal and grace period, and returns
	// when it stands. It is no error if it stood before.
	Stop(ctx context.Context, id string) error
	// Start starts a stopped container. It is no error if it ran before.
	Start(ctx context.Context, id string) error
	// Pause pauses a running container, and returns when nothing in it runs any
	// more. It is an error if it does not run, or is paused already.
	Pause(ctx context.Context, id string) error
	// Unpause lets a paused container go on. It is no error if it was not paused.
	Unpause(ctx context.Context, id string) error
	// RemoveContainer removes a container, whatever its state, and its anonymous
	// volumes. It is no error if it is not there.
	RemoveContainer(ctx context.Context, id string) error
}

// Images is what an Engine does with images. It may be used by several
// goroutines.
type Images interface {
	// InspectImage returns the image with this full id or reference.
	InspectImage(ctx context.Context, name string) (*ImageDetail, error)
	// Dangling lists the images that have no reference, and on which no other is
	// based, in any order.
	Dangling(ctx context.Context) ([]DanglingImage, error)
	// Save streams the image as docker save does. An image saved by its id carries
	// no reference. The reader ends with an error when ctx ends. It reports
	// ErrIncomplete.
	Save(ctx context.Context, id string) (io.ReadCloser, error)
	// RemoveImage removes the reference, and the image with it if it was its last,
	// but no parent. An image without a reference is removed by its full id. It is
	// no error if it is not there. RemoveImage reports ErrInUse, and changes nothing,
	// if a container, whatever its state, was made from an image that would lose its
	// last reference. An image on which another is based loses its reference and
	// stays; to remove that by its id is ErrInUse, if the Engine needs it ([About]).
	RemoveImage(ctx context.Context, name string) error
}

// Watcher is an Engine's own account of what happened to a container.
type Watcher interface {
	// Watch follows a container. Every change that comes after Watch has returned
	// is sent, in order; the channel is closed when ctx ends or the stream breaks.
	Watch(ctx context.Context, containerID string) (<-chan Change, error)
}

// Engine is all that Holdfast needs of a Docker Engine.
type Engine interface {
	Inventory
	Containers
	Images
	Volumes
	Loader
	Registries
	Watcher
	Execer
	Helpers
	Prober
	Platforms
	Networks
	Creator
	// About returns what the Engine says of itself. It may have said so a minute
	// ago.
	About(ctx context.Context) (About, error)
	// Time returns the Engine's own time, which its events have too.
	Time(ctx context.Context) (time.Time, error)
	// Ping asks whether the Engine answers at this moment. It reports
	// ErrEngineUnavailable if it does not, or ErrRefused.
	Ping(ctx context.Context) error
}

// About is what an Engine says of itself.
type About struct {
	// Kind is what it calls itself: "Docker Engine", "Podman Engine"; empty if it does
	// not tell.
	Kind string
	// ID is the Engine's own id, Name its host's name.
	ID, Name string
	Version  string
	// OS and Architecture are those of its host, as Go names them.
	OS, Architecture string
	// Store is the name of the storage driver or snapshotter that keeps images.
	Store string
	// DataRoot is the Engine's folder on its own host.
	DataRoot string
	// Stages is set if the Engine writes a whole image to DataRoot before the first
	// byte of its archive is sent.
	Stages bool
	// CommitNeedsBase is set if the Engine cannot commit a container whose image is no
	// longer there.
	CommitNeedsBase bool
	// NaiveDiff is set if a commit takes a file for unchanged whose size, time, mode
	// and owner are those that it has in the image (moby#8242).
	NaiveDiff bool
	// HidesCommits is set if the Engine's events do not show that a commit pauses its
	// container, nor which image it makes.
	HidesCommits bool
	// Leaves is what an archive can leave out that the Engine loads.
	Leaves Leaves
	// NeedsImage is set if the Engine makes no container without an image.
	NeedsImage bool
}

// Container is a container as it is listed.
type Container struct {
	ID    string
	Name  string // without the slash
	State events.State
	// Labels are the container's own and those of its image, which the Engine does
	// not tell apart.
	Labels map[string]string
	// ImageID is the full id of the image that it was made from. The image may be
	// gone.
	ImageID string
	// Network is the Engine's word for the network that it uses: a network's name,
	// "default", "none", "host", or "container:" and the full id of another container.
	Network string
	// Addresses and Ports are where the container can be reached from the host:
	// its addresses on the Engine's networks, and the host's addresses and ports that
	// lead to it, where an unspecified address stands for all.
	Addresses []string
	Ports     []netip.AddrPort
	// Mounts are its volumes, bind mounts and the like. Those in memory may be missing.
	Mounts []Mount
	// Lacks is what the Engine leaves out of it that must be known; empty if nothing.
	Lacks string
}

// NetworkOf returns the id of the other container whose network this one uses, if
// it does.
func (c *Container) NetworkOf() (id string, shares bool) {
	return strings.CutPrefix(c.Network, "container:")
}

// Uses reports whether the container runs and has this volume. A helper is nobody's.
func (c *Container) Uses(volume string) bool {
	runs := c.State == events.StateRunning || c.State == events.StatePaused || c.State == events.StateRestarting
	_, helper := c.Labels[HelperLabel]
	return runs && !helper && slices.ContainsFunc(c.Mounts, func(m Mount) bool { return m.Type == "volume" && m.Name == volume })
}

// UsesHostNetwork reports whether the container uses the host's own network.
func (c *Container) UsesHostNetwork() bool { return c.Network == "host" }

// Image is an image as it is listed.
type Image struct {
	ID         string   // sha256:…
	References []string // repository:tag
	Digests    []string // repository@sha256:…
}

// ContainerDetail is a container as it is inspected.
type ContainerDetail struct {
	ID     string
	Name   string
	State  events.State
	Labels map[string]string
	// StartedAt is when it was last started; zero if it never was. It stays when
	// the container is paused, unpaused or stopped.
	StartedAt time.Time
	// ExitCode is that with which its process ended; 0 if it runs or never ran.
	ExitCode int
	// Health is what its health check says. RestartCount is how often the Engine has
	// started it again by itself since somebody else did.
	Health        Health
	RestartCount  int
	RestartPolicy RestartPolicy
	// HealthBound is how long after its start its health check, by its own times, can
	// take to say healthy or unhealthy; 0 without one.
	HealthBound time.Duration
	// StopGrace is how long its process has to end when it is told to; 0 for as
	// long as it takes.
	StopGrace time.Duration
	// Image is the reference that the container was created from, ImageID the full id
	// of that image, which may be gone; empty if the container was made from none.
	Image, ImageID string
	// ConfigSize is the length in bytes of the container's environment and labels, all
	// of which a commit writes into the image's configuration.
	ConfigSize int64
	// AutoRemove is set if the Engine removes the container when it stops.
	AutoRemove bool
	// Runtime is the name of the OCI runtime that it runs in: runc, runsc, …
	Runtime string
	// Shares are the ids of the other containers whose network, process or IPC
	// namespace it uses.
	Shares []string
	// Mounts are all mounts, those in memory too.
	Mounts []Mount
	// Raw is the Engine's whole inspect document.
	Raw []byte
}

// Mount is one mount of a container.
type Mount struct {
	// Type is the Engine's word: volume, bind, tmpfs, npipe, cluster, image.
	Type string
	// Name is the volume's name; empty for other types.
	Name string
	// Source is the path on the host; empty for a tmpfs.
	Source string
	// Destination is the path inside the container.
	Destination string
	// ReadOnly is set if the container cannot write there.
	ReadOnly bool
}

// ImageDetail is an image as it is inspected.
type ImageDetail struct {
	ID         string
	References []string // repository:tag
	Digests    []string // repository@sha256:…
	// Size is about the size of the image's archive, in bytes.
	Size int64
	// Labels are what containers that are made from it inherit.
	Labels map[string]string
	// Config is its configuration, of which containers inherit, as the Engine's API has
	// it; nil if the Engine shows none.
	Config []byte
	// DiffIDs are the digests of its layers' plain bytes, "sha256:<hex>", the lowest first.
	DiffIDs []string
}

// Lowest returns how many of the lowest of these layers the image has, by their diff ids.
func (d *ImageDetail) Lowest(diffIDs []string) (n int) {
	for n < min(len(diffIDs), len(d.DiffIDs)) && diffIDs[n] == d.DiffIDs[n] {
		n++
	}
	return n
}

// DanglingImage is an image without a reference.
type DanglingImage struct {
	ID string
	// Comment is what the image was committed with; empty if it was made in another
	// way.
	Comment string
}

// CommitOptions say how a container is committed.
type CommitOptions struct {
	// Reference is the snapshot's name: repository:tag.
	Reference string
	// Comment is kept in the image; it finds an image that lost its name.
	Comment string
	// Pause has the Engine pause the container during the commit.
	Pause bool
}

// Action is what happened to a container.
type Action string

// The actions that matter to a backup.
const (
	ActionPause   Action = "pause"
	ActionUnpause Action = "unpause"
	ActionStart   Action = "start"
	// ActionDie: its process ended. ActionStop: it ended because it was told to.
	ActionDie    Action = "die"
	ActionStop   Action = "stop"
	ActionCommit Action = "commit"
)

// Change is one thing that happened to a container, by the Engine's own clock.
type Change struct {
	Action Action
	Time   time.Time
	// ImageID is the image that an ActionCommit made.
	ImageID string
}

// Committable reports whether an Engine can commit a container in this state.
func Committable(s events.State) bool {
	return s != events.StateDead && s != events.StateRemoving
}
