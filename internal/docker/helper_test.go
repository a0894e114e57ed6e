package docker_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/docker/docker/api/types/container"

	"holdfast.io/holdfast/internal/docker"
	"holdfast.io/holdfast/internal/docker/dockertest"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
)

// A volume that goes while its helper is made is made anew by the Engine, empty. It is
// not taken for the one that was there, and goes with the helper.
func TestHelperWhoseVolumeGoes(t *testing.T) {
	b := openBench(t)
	volume := fmt.Sprintf("hft%08x", rand.Uint32())
	b.MakeVolume(t, volume, nil)
	proxy := dockertest.NewProxy(t, b.api.DaemonHost())
	proxy.Treat(dockertest.Treatment{Before: func() {
		if err := b.api.VolumeRemove(context.Background(), volume, false); err != nil {
			t.Error(err)
		}
	}}, engine.CallCreate)
	e, err := docker.Connect(proxy.Host())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	spec := engine.HelperSpec{Name: engine.HelperName(fmt.Sprintf("20260102T150405Z-%08x", rand.Uint32()), 1, 0), Volume: volume,
		Command: []string{enginetest.Program}}
	if _, err := e.CreateHelper(t.Context(), spec); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("it reports %v, want ErrNotFound", err)
	}
	if _, err := b.InspectVolume(t.Context(), volume); err != nil {
		t.Fatalf("this Engine does not make a volume that is not there, so this shows nothing: %v", err)
	}
	if found, err := e.RemoveHelper(t.Context(), spec.Name); !found || err != nil {
		t.Errorf("to remove what was made reports %v, %v", found, err)
	}
	if _, err := b.InspectVolume(t.Context(), volume); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("the volume that was made is left: %v", err)
	}
}

// A helper is as little as it can be.
func TestHelperIsConfined(t *testing.T) {
	b := openBench(t)
	volume := fmt.Sprintf("hft%08x", rand.Uint32())
	b.MakeVolume(t, volume, nil)
	for writes, capabilities := range map[bool]int{false: 1, true: 7} {
		spec := engine.HelperSpec{Name: engine.HelperName(fmt.Sprintf("20260102T150405Z-%08x", rand.Uint32()), 1, 0), Volume: volume,
			Writes: writes, Command: []string{enginetest.Program}}
		id, err := b.CreateHelper(t.Context(), spec)
		t.Cleanup(func() {
			b.remove(t, func(ctx context.Context) error { _, err := b.RemoveHelper(ctx, spec.Name); return err })
		})
		if err != nil {
			t.Fatal(err)
		}
		c, err := b.api.ContainerInspect(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		h := c.HostConfig
		if h.NetworkMode != "none" || h.LogConfig.Type != "none" || h.Privileged || len(h.CapAdd) != capabilities || len(h.CapDrop) != 1 ||
			h.RestartPolicy.Name == container.RestartPolicyAlways || len(c.Mounts) != 1 || c.Mounts[0].RW != writes || c.Image != "" {
			t.Errorf("the helper is %+v, %+v", h, c.Mounts)
		}
	}
}
