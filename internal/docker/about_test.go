package docker

import (
	"testing"

	"github.com/docker/docker/api/types/system"
)

func TestNaiveDiff(t *testing.T) {
	for name, c := range map[string]struct {
		info system.Info
		want bool
	}{
		"overlay2": {system.Info{Driver: "overlay2",
			DriverStatus: [][2]string{{"Backing Filesystem", "extfs"}, {"Native Overlay Diff", "true"}}}, false},
		"overlay2 without its own":    {system.Info{Driver: "overlay2", DriverStatus: [][2]string{{"Native Overlay Diff", "false"}}}, true},
		"overlay2 that does not tell": {system.Info{Driver: "overlay2"}, false},
		"fuse-overlayfs":              {system.Info{Driver: "fuse-overlayfs"}, true},
		"vfs":                         {system.Info{Driver: "vfs"}, true},
		"btrfs":                       {system.Info{Driver: "btrfs"}, true},
		"zfs":                         {system.Info{Driver: "zfs"}, true},
		"aufs":                        {system.Info{Driver: "aufs"}, false},
		"containerd, with a namesake": {system.Info{Driver: "btrfs",
			DriverStatus: [][2]string{{"driver-type", "io.containerd.snapshotter.v1"}}}, false},
		"containerd": {system.Info{Driver: "overlayfs",
			DriverStatus: [][2]string{{"driver-type", "io.containerd.snapshotter.v1"}}}, false},
		"podman, with its own overlay": {system.Info{Driver: "overlay", DriverStatus: [][2]string{{"Native Overlay Diff", "true"}}}, false},
	} {
		if got := naiveDiff(c.info); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
