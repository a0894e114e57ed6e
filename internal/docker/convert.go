package docker

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

var fullID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// badAnswer says what an answer of the Engine lacks. Proxies and Engines of other
// kinds leave members out; to go on without them would be to guess.
func badAnswer(format string, args ...any) error {
	return fmt.Errorf("%w: %s; see what answers in its place (holdfast doctor)", engine.ErrBadAnswer, fmt.Sprintf(format, args...))
}

// listed is a container of the Engine's list.
func listed(c container.Summary) (engine.Container, error) {
	if !fullID.MatchString(c.ID) {
		return engine.Container{}, badAnswer("its list has a container with %q for an id, and the names %q", brief(c.ID),
			brief(strings.Join(c.Names, " ")))
	}
	l := engine.Container{ID: c.ID, Name: ownName(c.Names, c.ID), State: events.State(c.State), Labels: c.Labels, ImageID: c.ImageID,
		Network: c.HostConfig.NetworkMode}
	switch {
	case !slices.Contains(events.States, l.State):
		l.Lacks = fmt.Sprintf("its state (%q)", brief(c.State))
	case len(c.Names) == 0:
		l.Lacks = "its name"
	case c.NetworkSettings == nil:
		l.Lacks = "its networks"
	}
	if c.NetworkSettings != nil {
		for _, n := range c.NetworkSettings.Networks {
			if n != nil {
				l.Addresses = append(l.Addresses, n.IPAddress, n.GlobalIPv6Address)
			}
		}
	}
	for _, p := range c.Ports {
		if p.PublicPort != 0 {
			addr, err := netip.ParseAddr(p.IP)
			if err != nil { // an Engine that does not say publishes on all
				addr = netip.IPv4Unspecified()
			}
			l.Ports = append(l.Ports, netip.AddrPortFrom(addr.Unmap(), p.PublicPort))
		}
	}
	for _, m := range c.Mounts {
		l.Mounts = append(l.Mounts, mount(m))
	}
	return l, nil
}

// ownName picks the container's own name: others ("/db/alias") come from links.
func ownName(names []string, id string) string {
	for _, n := range names {
		if n = strings.TrimPrefix(n, "/"); !strings.Contains(n, "/") {
			return n
		}
	}
	return id
}

// detail is the container that an inspect document is about, which was asked for
// by its full id.
func detail(id string, raw []byte) (*engine.ContainerDetail, error) {
	var c container.InspectResponse
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, badAnswer("its document of container %s cannot be read: %v", id, brief(err.Error()))
	}
	if lacks := lacking(id, &c); lacks != "" {
		return nil, badAnswer("its document of container %s lacks %s", id, lacks)
	}
	d := &engine.ContainerDetail{
		ID: c.ID, Name: strings.TrimPrefix(c.Name, "/"), State: events.State(c.State.Status), Image: c.Config.Image,
		ImageID: c.Image, ConfigSize: configSize(c.Config),
		Labels: c.Config.Labels, AutoRemove: c.HostConfig.AutoRemove, Runtime: c.HostConfig.Runtime, Raw: raw,
		StopGrace: stopGrace(c.Config.StopTimeout),
		ExitCode:  c.State.ExitCode, RestartCount: c.RestartCount,
		RestartPolicy: engine.RestartPolicy{Name: string(c.HostConfig.RestartPolicy.Name),
			MaximumRetries: c.HostConfig.RestartPolicy.MaximumRetryCount},
	}
	if h := c.State.Health; h != nil && h.Status != container.NoHealthcheck {
		d.Health, d.HealthBound = engine.Health(h.Status), healthBound(c.Config.Healthcheck)
	}
	if !slices.Contains(events.States, d.State) {
		return nil, badAnswer("its document of container %s has the state %q, which is none", id, brief(string(d.State)))
	}
	var err error
	if d.StartedAt, err = time.Parse(time.RFC3339Nano, c.State.StartedAt); err != nil {
		return nil, badAnswer("its document of container %s says that it was started %q, which is no time", id, brief(c.State.StartedAt))
	}
	for _, mode := range []string{string(c.HostConfig.NetworkMode), string(c.HostConfig.PidMode), string(c.HostConfig.IpcMode)} {
		if owner, shares := strings.CutPrefix(mode, "container:"); shares && !slices.Contains(d.Shares, owner) {
			d.Shares = append(d.Shares, owner)
		}
	}
	d.Mounts = mounts(&c)
	return d, nil
}

// configSize is the length of what a commit takes over as it is; encoded it is
// longer.
func configSize(c *container.Config) (size int64) {
	for _, variable := range c.Env {
		size += int64(len(variable))
	}
	for name, value := range c.Labels {
		size += int64(len(name) + len(value))
	}
	return size
}

// lacking names the first member that the inspect document of the container id
// needs and does not have; empty if it has all.
func lacking(id string, c *container.InspectResponse) string {
	switch {
	case c.ContainerJSONBase == nil || c.ID != id:
		return "Id"
	case c.State == nil:
		return "State"
	case c.Config == nil:
		return "Config"
	case c.HostConfig == nil:
		return "HostConfig"
	case c.Mounts == nil:
		return "Mounts"
	case slices.ContainsFunc(c.Mounts, func(m container.MountPoint) bool { return m.Destination == "" }):
		return "the destination of a mount"
	}
	return ""
}

// mounts returns all mounts of a container by their places in it, those in memory
// too.
func mounts(c *container.InspectResponse) []engine.Mount {
	var all []engine.Mount
	for _, dst := range slices.Sorted(maps.Keys(c.HostConfig.Tmpfs)) {
		all = append(all, engine.Mount{Type: "tmpfs", Destination: dst})
	}
	if size := c.HostConfig.ShmSize; size > 0 && size != defaultShmSize && size != podmanShmSize {
		all = append(all, engine.Mount{Type: "tmpfs", Destination: "/dev/shm"})
	}
	for _, m := range c.Mounts {
		all = append(all, mount(m))
	}
	slices.SortFunc(all, func(a, b engine.Mount) int { return strings.Compare(a.Destination, b.Destination) })
	return all
}

func mount(m container.MountPoint) engine.Mount {
	return engine.Mount{Type: string(m.Type), Name: m.Name, Source: m.Source, Destination: m.Destination, ReadOnly: !m.RW}
}

// defaultShmSize is the size of /dev/shm, in bytes, of a container for which nobody
// chose one. All containers have it; one of another size is there to be used.
const (
	defaultShmSize = 64 << 20
	podmanShmSize  = 64000 << 10
)

// healthBound is how long after a container's start its health check can take to say
// something: failures count after the start period, and so many in a row are needed.
// What is not configured is the Engine's default.
func healthBound(h *container.HealthConfig) time.Duration {
	const standard, most = 30 * time.Second, 365 * 24 * time.Hour
	if h == nil {
		h = &container.HealthConfig{}
	}
	once := min(cmp.Or(h.Interval, standard), most) + min(cmp.Or(h.Timeout, standard), most)
	retries := min(time.Duration(cmp.Or(h.Retries, 3)), most/once+1)
	return min(h.StartPeriod, most) + retries*once
}

// stopGrace is how long an Engine waits for a container to stop before it kills
// it. The configuration has seconds; without any it is the Engine's default, and
// a negative number means for ever.
func stopGrace(seconds *int) time.Duration {
	const most = int(time.Hour * 24 * 365 / time.Second)
	switch {
	case seconds == nil:
		return 10 * time.Second
	case *seconds < 0:
		return 0
	}
	return max(time.Duration(min(*seconds, most))*time.Second, time.Millisecond)
}
