package docker

import (
	"context"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/system"

	"holdfast.io/holdfast/internal/engine"
)

// Platform implements [engine.Platforms]. The answer is at most a minute old.
func (e *Engine) Platform(ctx context.Context) (engine.Platform, error) {
	a, err := e.ask(ctx)
	if err != nil {
		return engine.Platform{}, err
	}
	if p := a.platform; p.OS == "" || p.Architecture == "" {
		return p, badAnswer("it does not say of which system and architecture its host is (%q, %q)", brief(p.OS), brief(p.Architecture))
	}
	return a.platform, nil
}

// mappedRoot is the end of the data root of an Engine whose containers are in user
// namespaces: the ids on the host that root in containers has.
var mappedRoot = regexp.MustCompile(`^[0-9]+\.[0-9]+$`)

// platform is what an Engine says of what containers can expect of it.
func platform(info system.Info, kind, version string) engine.Platform {
	p := engine.Platform{
		Kind: kind, Version: info.ServerVersion, APIVersion: version, OS: info.OSType, Architecture: architecture(info.Architecture),
		HostName: info.Name, CgroupVersion: info.CgroupVersion, CgroupDriver: info.CgroupDriver, SwapLimit: info.SwapLimit,
		Runtimes: slices.Sorted(maps.Keys(info.Runtimes)), DefaultRuntime: info.DefaultRuntime,
		LogDrivers: slices.Sorted(slices.Values(info.Plugins.Log)), DefaultLogDriver: info.LoggingDriver,
		SecurityOptions: slices.Clone(info.SecurityOptions),
	}
	if p.CgroupVersion == "" { // Engines before 20.10 do not say, and know no other
		p.CgroupVersion = "1"
	}
	for _, option := range info.SecurityOptions {
		switch name, _, _ := strings.Cut(option, ","); name {
		case "name=rootless":
			p.Rootless = true
		case "name=cgroupns":
			p.PrivateCgroups = true
		case "name=userns":
			if base := path.Base(info.DockerRootDir); mappedRoot.MatchString(base) {
				p.UserNamespaceBase = base
			}
		}
	}
	return p
}
