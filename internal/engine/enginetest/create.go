package enginetest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// The calls of [engine.Creator] and [engine.Platforms]. A fault of CreateContainer is on
// the name, others on the id.
const (
	CreateContainer  Op = "CreateContainer"
	RenameContainer  Op = "RenameContainer"
	SetRestartPolicy Op = "SetRestartPolicy"
	RemoveStopped    Op = "RemoveStopped"
	Platform         Op = "Platform"
)

// SetPlatform says what containers can expect of the Engine.
func (f *Fake) SetPlatform(p engine.Platform) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expect = &p
}

// SetHealth says what the container's health check says. By its own times it can take a
// minute to say healthy or unhealthy.
func (f *Fake) SetHealth(id string, h engine.Health) {
	f.do(id, func(c *container) { c.health, c.healthBound = h, time.Minute })
}

// SetRestarts says how often the Engine started the container again by itself.
func (f *Fake) SetRestarts(id string, n int) {
	f.do(id, func(c *container) { c.restarts = n })
}

// Platform implements [engine.Platforms].
func (f *Fake) Platform(ctx context.Context) (engine.Platform, error) {
	if _, err := f.begin(ctx, Platform, ""); err != nil {
		return engine.Platform{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.expect != nil {
		return *f.expect, nil
	}
	return engine.Platform{
		Kind: "Docker Engine", Version: "0.0", APIVersion: "1.44", OS: "linux", Architecture: "amd64", HostName: f.name,
		CgroupVersion: "2", CgroupDriver: "cgroupfs", PrivateCgroups: true, SwapLimit: true, Runtimes: []string{"runc"}, DefaultRuntime: "runc",
		LogDrivers: []string{"json-file"}, DefaultLogDriver: "json-file", SecurityOptions: []string{"name=cgroupns"},
	}, nil
}

// createBody is what a Fake understands of the body of a create call.
type createBody struct {
	Image      string
	Labels     map[string]string
	Volumes    map[string]struct{}
	HostConfig struct {
		AutoRemove                    bool
		Runtime, NetworkMode, PidMode string
		Binds                         []string
		VolumesFrom                   []string
		Mounts                        []struct {
			Type, Source, Target string
			ReadOnly             bool
		}
		RestartPolicy struct {
			Name              string
			MaximumRetryCount int
		}
	}
	NetworkingConfig struct{ EndpointsConfig map[string]any }
}

// CreateContainer implements [engine.Creator].
func (f *Fake) CreateContainer(ctx context.Context, name string, raw []byte) (engine.Created, error) {
	fault, err := f.begin(ctx, CreateContainer, name)
	if err != nil {
		return engine.Created{}, err
	}
	var body createBody
	var config map[string]any
	for _, into := range []any{&body, &config} {
		if err := json.Unmarshal(raw, into); err != nil {
			return engine.Created{}, fmt.Errorf("%w: %w", engine.ErrRefusedConfig, err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	img := f.findImage(body.Image)
	if img == nil {
		return engine.Created{}, noImage(body.Image)
	}
	if f.named(name) != nil {
		return engine.Created{}, fmt.Errorf("%w: %s", engine.ErrNameTaken, name)
	}
	if body.HostConfig.AutoRemove && !slices.Contains([]string{"", "no"}, body.HostConfig.RestartPolicy.Name) {
		return engine.Created{}, fmt.Errorf("%w: it would be removed and restarted", engine.ErrRefusedConfig)
	}
	host, _ := config["HostConfig"].(map[string]any)
	delete(config, "HostConfig")
	delete(config, "NetworkingConfig")
	c := &container{
		Spec: Spec{
			Name: name, Image: body.Image, Labels: merged(img.labels, body.Labels),
			AutoRemove: body.HostConfig.AutoRemove, Runtime: body.HostConfig.Runtime,
		},
		id: f.newID("container"), image: img.id, layers: img.layers, state: events.StateCreated, files: map[string][]byte{},
		config: config, host: host, endpoints: body.NetworkingConfig.EndpointsConfig,
		policy: engine.RestartPolicy{Name: body.HostConfig.RestartPolicy.Name, MaximumRetries: body.HostConfig.RestartPolicy.MaximumRetryCount},
	}
	if err := f.share(c, &body); err != nil {
		return engine.Created{}, err
	}
	f.mount(c, &body)
	f.containers[c.id] = c
	return engine.Created{ID: c.id}, fault.late()
}

// share enters whose namespaces and volumes a container uses.
func (f *Fake) share(c *container, body *createBody) error {
	for _, mode := range []struct {
		value string
		of    *string
	}{{body.HostConfig.NetworkMode, &c.Network}, {body.HostConfig.PidMode, &c.Processes}} {
		if ref, ok := strings.CutPrefix(mode.value, "container:"); ok {
			other := f.named(ref)
			if other == nil {
				return fmt.Errorf("%w: container %s", engine.ErrNotFound, ref)
			}
			*mode.of = other.id
		}
	}
	for _, from := range body.HostConfig.VolumesFrom {
		ref, _, _ := strings.Cut(from, ":")
		other := f.named(ref)
		if other == nil {
			return fmt.Errorf("%w: container %s", engine.ErrNotFound, ref)
		}
		c.Mounts = append(c.Mounts, other.mounts()...)
	}
	return nil
}

// mount attaches a container's mounts, and makes volumes that are not there.
func (f *Fake) mount(c *container, body *createBody) {
	taken := map[string]bool{}
	add := func(m engine.Mount) {
		taken[m.Destination] = true
		if m.Type == "volume" {
			if m.Name == "" {
				m.Name = f.newID("volume")
			}
			if _, there := f.volumes[m.Name]; !there {
				f.addVolume(engine.Volume{Name: m.Name})
			}
			m.Source = f.volumes[m.Name].Mountpoint
		}
		c.Mounts = append(c.Mounts, m)
	}
	for _, bind := range body.HostConfig.Binds {
		parts := strings.SplitN(bind, ":", 3)
		m := engine.Mount{Type: "bind", Source: parts[0], Destination: parts[1], ReadOnly: len(parts) == 3 && strings.Contains(parts[2], "ro")}
		if !strings.HasPrefix(parts[0], "/") {
			m.Type, m.Name = "volume", parts[0]
		}
		add(m)
	}
	for _, spec := range body.HostConfig.Mounts {
		m := engine.Mount{Type: spec.Type, Source: spec.Source, Destination: spec.Target, ReadOnly: spec.ReadOnly}
		if spec.Type == "volume" {
			m.Name = spec.Source
		}
		add(m)
	}
	for _, place := range slices.Sorted(maps.Keys(body.Volumes)) {
		if !taken[place] {
			add(engine.Mount{Type: "volume", Destination: place})
		}
	}
}

// RenameContainer implements [engine.Creator].
func (f *Fake) RenameContainer(ctx context.Context, id, name string) error {
	return f.change(ctx, RenameContainer, id, func(c *container) error {
		if other := f.named(name); other != nil && other != c {
			return fmt.Errorf("%w: %s", engine.ErrNameTaken, name)
		}
		c.Name = name
		return nil
	})
}

// SetRestartPolicy implements [engine.Creator].
func (f *Fake) SetRestartPolicy(ctx context.Context, id string, p engine.RestartPolicy) error {
	return f.change(ctx, SetRestartPolicy, id, func(c *container) error {
		c.policy = p
		return nil
	})
}

// RemoveStopped implements [engine.Creator].
func (f *Fake) RemoveStopped(ctx context.Context, id string) error {
	fault, err := f.begin(ctx, RemoveStopped, id)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.containers[id]; c != nil {
		if c.state == events.StateRunning || c.state == events.StatePaused {
			return fmt.Errorf("%w: it is %s", engine.ErrRunning, c.state)
		}
		delete(f.containers, id)
	}
	return fault.late()
}

// The methods below are called with the lock held.

// named returns the container of this name or id.
func (f *Fake) named(ref string) *container {
	if c := f.containers[ref]; c != nil {
		return c
	}
	for _, c := range f.containers {
		if c.Name == ref {
			return c
		}
	}
	return nil
}

// document is a container's inspect document.
func document(c *container) ([]byte, error) {
	config, host := maps.Clone(c.config), maps.Clone(c.host)
	if config == nil {
		config, host = map[string]any{}, map[string]any{}
		if c.Volume != "" {
			config["Volumes"] = map[string]any{c.Volume: map[string]any{}}
		}
		host["AutoRemove"], host["Runtime"] = c.AutoRemove, c.Runtime
		for _, m := range c.Mounts {
			host["Mounts"] = append(anyList(host["Mounts"]), map[string]any{
				"Type": m.Type, "Source": cmp.Or(m.Name, m.Source), "Target": m.Destination, "ReadOnly": m.ReadOnly})
		}
	}
	config["Image"], config["Labels"] = c.Image, c.Labels
	if config["Hostname"] == nil {
		config["Hostname"] = c.id[:12]
	}
	if host == nil {
		host = map[string]any{}
	}
	if c.Network != "" || host["NetworkMode"] == nil {
		host["NetworkMode"] = c.network()
	}
	if c.Processes != "" {
		host["PidMode"] = "container:" + c.Processes
	}
	host["RestartPolicy"] = map[string]any{"Name": c.policy.Name, "MaximumRetryCount": c.policy.MaximumRetries}
	mounts := []any{}
	for _, m := range c.mounts() {
		mounts = append(mounts, map[string]any{
			"Type": m.Type, "Name": m.Name, "Source": m.Source, "Destination": m.Destination, "RW": !m.ReadOnly,
		})
	}
	endpoints := c.endpoints
	if endpoints == nil {
		endpoints = map[string]any{}
	}
	return json.Marshal(map[string]any{
		"Id": c.id, "Name": "/" + c.Name, "Image": c.image, "Platform": "linux", "State": map[string]any{"Status": c.state},
		"Config": config, "HostConfig": host, "Mounts": mounts, "NetworkSettings": map[string]any{"Networks": endpoints},
	})
}

func anyList(v any) []any {
	l, _ := v.([]any)
	return l
}
