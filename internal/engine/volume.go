package engine

import (
	"context"
	"time"
)

// Volumes is what an Engine does with volumes. It may be used by several goroutines.
type Volumes interface {
	// Volumes lists all volumes, in any order.
	Volumes(ctx context.Context) ([]Volume, error)
	// InspectVolume returns the volume with this name.
	InspectVolume(ctx context.Context, name string) (*VolumeDetail, error)
	// VolumeSizes counts the bytes of volumes, by their names, and leaves out those that
	// it cannot count. An Engine reads all of its volumes for that, which can take
	// minutes.
	VolumeSizes(ctx context.Context) (map[string]int64, error)
	// CreateVolume makes a volume of this name, driver, options and labels. It reports
	// ErrNameTaken if there is one of the name, whose content is somebody's.
	CreateVolume(ctx context.Context, v Volume) error
	// RemoveVolume removes a volume with its content. It is no error if it is not there.
	// One that a container uses, whatever its state, stays, and that is ErrInUse.
	RemoveVolume(ctx context.Context, name string) error
}

// LocalDriver is the driver of volumes that lie on the Engine's host, or are mounted
// there by their options.
const LocalDriver = "local"

// Volume is a volume as it is listed.
type Volume struct {
	Name   string
	Driver string
	// Options are the driver's; they may hold secrets.
	Options map[string]string
	Labels  map[string]string
	// Scope is local, or global for one that all hosts of a cluster have.
	Scope string
	// CreatedAt is when it was made, to the second; zero if the Engine does not tell. A
	// volume of the same name that was made later is another one.
	CreatedAt time.Time
	// Mountpoint is its folder on the Engine's host; empty if it is not there.
	Mountpoint string
}

// InMemory reports whether the volume's content lies in memory only.
func (v *Volume) InMemory() bool { return v.Driver == LocalDriver && v.Options["type"] == "tmpfs" }

// VolumeDetail is a volume as it is inspected.
type VolumeDetail struct {
	Volume
	// Raw is the Engine's whole document of the volume.
	Raw []byte
}
