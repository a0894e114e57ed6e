package docker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// Containers implements [engine.Inventory].
func (e *Engine) Containers(ctx context.Context) ([]engine.Container, error) {
	list, err := e.api.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return nil, e.translate(err)
	}
	containers := make([]engine.Container, 0, len(list))
	for _, c := range list {
		listed := engine.Container{
			ID:     c.ID,
			Name:   ownName(c.Names, c.ID),
			State:  events.State(c.State),
			Labels: c.Labels, ImageID: c.ImageID,
		}
		if c.NetworkSettings != nil {
			for _, n := range c.NetworkSettings.Networks {
				if n != nil {
					listed.Addresses = append(listed.Addresses, n.IPAddress, n.GlobalIPv6Address)
				}
			}
		}
		for _, p := range c.Ports {
			if p.PublicPort != 0 {
				listed.Ports = append(listed.Ports, p.PublicPort)
			}
		}
		containers = append(containers, listed)
	}
	return containers, nil
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

// Inspect implements [engine.Containers].
func (e *Engine) Inspect(ctx context.Context, id string) (*engine.ContainerDetail, error) {
	c, raw, err := e.api.ContainerInspectWithRaw(ctx, id, false)
	if err != nil {
		return nil, e.translate(err)
	}
	d := &engine.ContainerDetail{
		ID:     c.ID,
		Name:   strings.TrimPrefix(c.Name, "/"),
		State:  events.State(c.State.Status),
		Image:  c.Config.Image,
		Labels: c.Config.Labels,
		Raw:    raw,

		StopGrace: stopGrace(c.Config.StopTimeout),
	}
	if d.StartedAt, err = time.Parse(time.RFC3339Nano, c.State.StartedAt); err != nil {
		return nil, fmt.Errorf("read when container %s was started: %w", id, err)
	}
	if c.HostConfig != nil {
		d.AutoRemove = c.HostConfig.AutoRemove
		for _, dst := range slices.Sorted(maps.Keys(c.HostConfig.Tmpfs)) {
			d.Mounts = append(d.Mounts, engine.Mount{Type: "tmpfs", Destination: dst})
		}
	}
	for _, m := range c.Mounts {
		d.Mounts = append(d.Mounts, engine.Mount{
			Type: string(m.Type), Name: m.Name, Source: m.Source, Destination: m.Destination,
		})
	}
	slices.SortFunc(d.Mounts, func(a, b engine.Mount) int { return strings.Compare(a.Destination, b.Destination) })
	return d, nil
}

// stopGrace is how long an Engine waits for a container to stop before it kills
// it. The configuration has seconds; without any it is the Engine's default, and
// a negative number means for ever.
func stopGrace(seconds *int) time.Duration {
	switch {
	case seconds == nil:
		return 10 * time.Second
	case *seconds < 0:
		return 0
	}
	return max(time.Duration(*seconds)*time.Second, time.Millisecond)
}

// Commit implements [engine.Containers].
func (e *Engine) Commit(ctx context.Context, id string, o engine.CommitOptions) (string, error) {
	r, err := e.api.ContainerCommit(ctx, id, container.CommitOptions{
		Reference: o.Reference, Comment: o.Comment, Pause: o.Pause,
	})
	return r.ID, e.translate(err)
}

// Stop implements [engine.Containers].
func (e *Engine) Stop(ctx context.Context, id string) error {
	return e.translate(e.api.ContainerStop(ctx, id, container.StopOptions{}))
}

// Start implements [engine.Containers].
func (e *Engine) Start(ctx context.Context, id string) error {
	return e.translate(e.api.ContainerStart(ctx, id, container.StartOptions{}))
}

// Pause implements [engine.Containers].
func (e *Engine) Pause(ctx context.Context, id string) error {
	return e.translate(e.api.ContainerPause(ctx, id))
}

// Unpause implements [engine.Containers].
func (e *Engine) Unpause(ctx context.Context, id string) error {
	err := e.translate(e.api.ContainerUnpause(ctx, id))
	if err != nil && strings.Contains(err.Error(), "is not paused") {
		return nil
	}
	return err
}
