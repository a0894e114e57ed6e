package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	mounttypes "github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/volume"

	"holdfast.io/holdfast/internal/engine"
)

// CreateHelper implements [engine.Helpers]. A container needs no image: the Engine makes
// it on an empty file system, as the first step of a build FROM scratch, with a graph
// driver as with containerd (moby, daemon/create.go and createLayer of
// daemon/containerd/image_snapshot.go). So nothing is imported, and nothing of ours is
// ever among the images. An Engine of another kind may want one (Podman does).
func (e *Engine) CreateHelper(ctx context.Context, s engine.HelperSpec) (string, error) {
	if s.Volume != "" {
		if _, err := e.api.VolumeInspect(ctx, s.Volume); err != nil {
			return "", e.volumeError(s.Volume, err)
		}
	}
	config, host := helperConfig(s)
	c, err := e.api.ContainerCreate(ctx, config, host, nil, nil, s.Name)
	if err != nil {
		return "", e.createError(ctx, s, e.translate(err))
	}
	if !fullID.MatchString(c.ID) {
		return "", badAnswer("it says that container %s is made, and that its id is %q", s.Name, brief(c.ID))
	}
	if s.Volume == "" {
		return c.ID, nil
	}
	// A volume that went since it was looked at was made anew, and carries the label.
	v, err := e.api.VolumeInspect(ctx, s.Volume)
	if err != nil {
		return "", e.volumeError(s.Volume, err)
	}
	if v.Labels[engine.HelperLabel] == s.Name {
		return "", fmt.Errorf("%w: volume %s was removed meanwhile", engine.ErrNotFound, s.Volume)
	}
	return c.ID, nil
}

// capabilities are what a helper's root may do beyond other users: read any file, and,
// if it writes, make files of any owner, mode, kind and attributes. To read or set
// trusted attributes would take CAP_SYS_ADMIN, which is root on the host.
func capabilities(writes bool) []string {
	if !writes {
		return []string{"DAC_READ_SEARCH"}
	}
	return []string{"DAC_READ_SEARCH", "DAC_OVERRIDE", "CHOWN", "FOWNER", "FSETID", "SETFCAP", "MKNOD"}
}

// helperConfig is how the container is made. Its root is not read-only: the Engine
// refuses to put files into one that is (moby, daemon/archive_unix.go).
func helperConfig(s engine.HelperSpec) (*container.Config, *container.HostConfig) {
	m := mounttypes.Mount{Target: engine.HelperPlace, ReadOnly: !s.Writes}
	labels := map[string]string{engine.HelperLabel: s.Name}
	if s.Volume != "" {
		// A mount of a volume that is not there makes it (moby#16072), with these labels;
		// one that is there keeps its own.
		m.Type, m.Source = mounttypes.TypeVolume, s.Volume
		m.VolumeOptions = &mounttypes.VolumeOptions{NoCopy: true, Labels: labels}
	} else {
		// In a bind's place of a HostConfig the path would be made.
		m.Type, m.Source = mounttypes.TypeBind, s.Bind
		m.BindOptions = &mounttypes.BindOptions{Propagation: mounttypes.PropagationPrivate, NonRecursive: true}
	}
	noInit := false
	return &container.Config{
			Image: s.Image, Cmd: s.Command, Env: s.Environment, Labels: labels, User: "0:0", WorkingDir: "/",
			AttachStdin: true, AttachStdout: true, AttachStderr: true,
			// When its client goes its input ends, so that a helper that writes does not wait.
			OpenStdin: true, StdinOnce: true,
		}, &container.HostConfig{
			NetworkMode: "none", IpcMode: container.IPCModeNone, LogConfig: container.LogConfig{Type: "none"},
			Mounts: []mounttypes.Mount{m}, CapDrop: []string{"ALL"}, CapAdd: capabilities(s.Writes), Init: &noInit,
			// Owners are read and written as they are on the disk, whatever the daemon remaps,
			// and files whatever SELinux calls them. Where neither is in use this means nothing.
			UsernsMode: "host", SecurityOpt: []string{"no-new-privileges", "label=disable"},
		}
}

func (e *Engine) volumeError(name string, err error) error {
	if err = e.translate(err); errors.Is(err, engine.ErrNotFound) {
		return fmt.Errorf("%w: volume %s", engine.ErrNotFound, name)
	}
	return fmt.Errorf("look at volume %s: %w", name, err)
}

func (e *Engine) createError(ctx context.Context, s engine.HelperSpec, err error) error {
	switch {
	case errors.Is(err, engine.ErrRefused), errors.Is(err, engine.ErrEngineUnavailable):
		return err
	case s.Bind != "" && strings.Contains(err.Error(), "bind source path does not exist"):
		return fmt.Errorf("%w: path %s", engine.ErrNotFound, s.Bind)
	case s.Image != "" && errors.Is(err, engine.ErrNotFound):
		return fmt.Errorf("%w: %s", engine.ErrNoHelperImage, s.Image)
	case s.Image == "":
		if kind, version := e.kind(ctx); kind != "" && kind != dockerEngine {
			return fmt.Errorf("%w: %s %s may not make a container without one: %w", engine.ErrNoHelperImage, kind, version, err)
		}
	}
	return err
}

// CopyToHelper implements [engine.Helpers]. The archive must be plain: the Engine runs
// programs to unpack others.
func (e *Engine) CopyToHelper(ctx context.Context, id string, files io.Reader) error {
	return e.translate(e.api.CopyToContainer(ctx, id, "/", files, container.CopyToContainerOptions{}))
}

// RemoveHelper implements [engine.Helpers].
func (e *Engine) RemoveHelper(ctx context.Context, name string) (found bool, err error) {
	ours := filters.NewArgs(filters.Arg("label", engine.HelperLabel+"="+name))
	list, err := e.api.ContainerList(ctx, container.ListOptions{All: true, Filters: ours})
	if err != nil {
		return false, e.translate(err)
	}
	for _, c := range list {
		if c.Labels[engine.HelperLabel] != name { // a proxy may drop the filter
			continue
		}
		found = true
		if err := e.RemoveContainer(ctx, c.ID); err != nil {
			return true, err
		}
	}
	volumes, err := e.api.VolumeList(ctx, volume.ListOptions{Filters: ours})
	if err != nil {
		return found, e.translate(err)
	}
	for _, v := range volumes.Volumes {
		if v == nil || v.Labels[engine.HelperLabel] != name {
			continue
		}
		found = true
		if err := e.RemoveVolume(ctx, v.Name); err != nil {
			return true, err
		}
	}
	return found, nil
}
