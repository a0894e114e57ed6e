package docker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/versions"
	"github.com/docker/docker/api/types/volume"

	"holdfast.io/holdfast/internal/engine"
)

// Volumes implements [engine.Volumes].
func (e *Engine) Volumes(ctx context.Context) ([]engine.Volume, error) {
	list, err := e.api.VolumeList(ctx, volume.ListOptions{})
	if err != nil {
		return nil, e.translate(err)
	}
	volumes := make([]engine.Volume, 0, len(list.Volumes))
	for _, v := range list.Volumes {
		if v == nil || v.Name == "" {
			return nil, badAnswer("its list has a volume without a name")
		}
		volumes = append(volumes, e.volume(v))
	}
	return volumes, nil
}

// InspectVolume implements [engine.Volumes].
func (e *Engine) InspectVolume(ctx context.Context, name string) (*engine.VolumeDetail, error) {
	v, raw, err := e.api.VolumeInspectWithRaw(ctx, name)
	if err != nil {
		return nil, e.translate(err)
	}
	if v.Name != name {
		return nil, badAnswer("its document of volume %s has the name %q", brief(name), brief(v.Name))
	}
	return &engine.VolumeDetail{Volume: e.volume(&v), Raw: raw}, nil
}

// createdAtSince is the version of the API from which on an Engine tells when a volume
// was made. Before it told when something was last added to the volume's own folder or
// removed from it (moby#44719).
const createdAtSince = "1.42"

func (e *Engine) volume(v *volume.Volume) engine.Volume {
	converted := engine.Volume{Name: v.Name, Driver: v.Driver, Options: v.Options, Labels: v.Labels, Scope: v.Scope, Mountpoint: v.Mountpoint}
	if versions.GreaterThanOrEqualTo(e.api.ClientVersion(), createdAtSince) {
		// A driver that does not say leaves it out, or says something of its own.
		converted.CreatedAt, _ = time.Parse(time.RFC3339, v.CreatedAt)
	}
	return converted
}

// VolumeSizes implements [engine.Volumes].
func (e *Engine) VolumeSizes(ctx context.Context) (map[string]int64, error) {
	usage, err := e.api.DiskUsage(ctx, types.DiskUsageOptions{Types: []types.DiskUsageObject{types.VolumeObject}})
	if err != nil {
		return nil, e.translate(err)
	}
	sizes := map[string]int64{}
	for _, v := range usage.Volumes {
		if v != nil && v.UsageData != nil && v.UsageData.Size >= 0 {
			sizes[v.Name] = v.UsageData.Size
		}
	}
	return sizes, nil
}

// CreateVolume implements [engine.Volumes]. An Engine that is told to make a volume
// which is there says that it has made it.
func (e *Engine) CreateVolume(ctx context.Context, v engine.Volume) error {
	switch _, err := e.api.VolumeInspect(ctx, v.Name); {
	case err == nil:
		return fmt.Errorf("%w: there is a volume %s", engine.ErrNameTaken, v.Name)
	case !errdefs.IsNotFound(err) || errors.Is(e.translate(err), engine.ErrRefused):
		return e.translate(err)
	}
	made, err := e.api.VolumeCreate(ctx, volume.CreateOptions{Name: v.Name, Driver: v.Driver, DriverOpts: v.Options, Labels: v.Labels})
	if errdefs.IsConflict(err) {
		return fmt.Errorf("%w: %w", engine.ErrNameTaken, e.translate(err))
	}
	if err != nil {
		return e.translate(err)
	}
	if made.Name != v.Name || !maps.Equal(made.Labels, v.Labels) && len(made.Labels)+len(v.Labels) > 0 {
		return fmt.Errorf("%w: somebody else has made volume %s meanwhile", engine.ErrNameTaken, v.Name)
	}
	return nil
}

// RemoveVolume implements [engine.Volumes].
func (e *Engine) RemoveVolume(ctx context.Context, name string) error {
	err := e.api.VolumeRemove(ctx, name, false)
	conflict := errdefs.IsConflict(err)
	err = e.translate(err)
	switch {
	case errors.Is(err, engine.ErrNotFound):
		return nil
	case conflict:
		return fmt.Errorf("%w: %w", engine.ErrInUse, err)
	}
	return err
}
