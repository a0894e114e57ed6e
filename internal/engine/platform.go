package engine

import (
	"context"
	"slices"
	"strconv"
	"strings"
)

// Platform is what of an Engine and its host the configuration of containers depends
// on: what the Engine fills in where nothing was asked for, and what it can do at all.
// As JSON it is part of a point's context.
type Platform struct {
	// Kind and Version are as in About.
	Kind    string `json:"kind"`
	Version string `json:"version"`
	// APIVersion is the version of the API that is spoken with the Engine, such as
	// "1.41": the highest that both know. It says which members documents have.
	APIVersion   string `json:"apiVersion"`
	OS           string `json:"os"`
	Architecture string `json:"architecture"` // as Go names it
	// HostName is the name of the Engine's host, which containers in the host's network
	// have as theirs.
	HostName string `json:"hostName"`
	// Rootless is set if the Engine runs without root. UserNamespaceBase is the
	// "uid.gid" on the host that root in containers has; empty if it is root there too.
	Rootless          bool   `json:"rootless"`
	UserNamespaceBase string `json:"userNamespaceBase,omitempty"`
	// CgroupVersion is "1" or "2", CgroupDriver "cgroupfs", "systemd" or "none".
	CgroupVersion string `json:"cgroupVersion"`
	CgroupDriver  string `json:"cgroupDriver"`
	// PrivateCgroups is set if containers have a cgroup namespace of their own unless
	// they ask for the host's.
	PrivateCgroups bool `json:"privateCgroups"`
	// SwapLimit is set if the kernel can limit swap.
	SwapLimit bool `json:"swapLimit"`
	// Runtimes and LogDrivers are the names of those that there are, sorted.
	Runtimes       []string `json:"runtimes"`
	DefaultRuntime string   `json:"defaultRuntime"`
	LogDrivers     []string `json:"logDrivers"`
	// DefaultLogDriver is what containers log to that do not choose.
	DefaultLogDriver string `json:"defaultLogDriver"`
	// SecurityOptions are those that the Engine uses, as it writes them.
	SecurityOptions []string `json:"securityOptions"`
}

// Speaks reports whether at least this version of the API is spoken with the Engine.
// A version that cannot be read is taken for none.
func (p *Platform) Speaks(version string) bool {
	have, ok := apiVersion(p.APIVersion)
	want, _ := apiVersion(version)
	return ok && slices.Compare(have, want) >= 0
}

// apiVersion reads "1.41".
func apiVersion(text string) (numbers []int, ok bool) {
	major, minor, _ := strings.Cut(text, ".")
	for _, part := range []string{major, minor} {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil, false
		}
		numbers = append(numbers, n)
	}
	return numbers, true
}

// Platforms tells what containers can expect of an Engine. It may be used by several
// goroutines.
type Platforms interface {
	// Platform returns what the Engine says of itself; it may have said so a minute ago.
	// It reports ErrBadAnswer if the Engine leaves out what must be known.
	Platform(ctx context.Context) (Platform, error)
}
