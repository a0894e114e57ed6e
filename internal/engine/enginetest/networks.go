package enginetest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// The calls of [engine.Networks]. A fault of CreateNetwork is on the network's name,
// those of Connect and Disconnect on the container's id.
const (
	Networks      Op = "Networks"
	CreateNetwork Op = "CreateNetwork"
	RemoveNetwork Op = "RemoveNetwork"
	Connect       Op = "Connect"
	Disconnect    Op = "Disconnect"
)

// Networks implements [engine.Networks].
func (f *Fake) Networks(ctx context.Context) ([]engine.Network, error) {
	if _, err := f.begin(ctx, Networks, ""); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Values(f.networks)), nil
}

// CreateNetwork implements [engine.Networks].
func (f *Fake) CreateNetwork(ctx context.Context, n engine.Network) (string, error) {
	fault, err := f.begin(ctx, CreateNetwork, n.Name)
	if err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, other := range f.networks {
		if other.Name == n.Name {
			return "", fmt.Errorf("%w: %s", engine.ErrNameTaken, n.Name)
		}
		for _, s := range n.IPAM.Subnets {
			if slices.ContainsFunc(other.IPAM.Subnets, func(o engine.Subnet) bool { return o.Subnet == s.Subnet }) {
				return "", fmt.Errorf("%w: %s", engine.ErrOverlap, s.Subnet)
			}
		}
	}
	n.ID = f.newID("network")
	if len(n.IPAM.Subnets) == 0 {
		n.IPAM.Subnets = []engine.Subnet{{Subnet: fmt.Sprintf("10.%d.0.0/16", f.made%256), Gateway: fmt.Sprintf("10.%d.0.1", f.made%256)}}
	}
	if n.Scope == "" {
		n.Scope = "local"
	}
	f.networks[n.ID] = n
	return n.ID, fault.late()
}

// RemoveNetwork implements [engine.Networks].
func (f *Fake) RemoveNetwork(ctx context.Context, id string) error {
	fault, err := f.begin(ctx, RemoveNetwork, id)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.containers {
		if _, connected := c.endpoints[f.networks[id].Name]; connected && (c.state == events.StateRunning || c.state == events.StatePaused) {
			return fmt.Errorf("%w: container %s is connected to it", engine.ErrInUse, c.Name)
		}
	}
	delete(f.networks, id)
	return fault.late()
}

// Connect implements [engine.Networks].
func (f *Fake) Connect(ctx context.Context, network, containerID string, endpoint []byte) error {
	return f.change(ctx, Connect, containerID, func(c *container) error {
		name := f.networkNamed(network)
		if name == "" {
			return fmt.Errorf("%w: network %s", engine.ErrNotFound, network)
		}
		var settings map[string]any
		if err := json.Unmarshal(endpoint, &settings); err != nil {
			return fmt.Errorf("%w: %w", engine.ErrRefusedConfig, err)
		}
		if c.endpoints == nil {
			c.endpoints = map[string]any{}
		}
		c.endpoints[name] = settings
		return nil
	})
}

// Disconnect implements [engine.Networks].
func (f *Fake) Disconnect(ctx context.Context, network, containerID string) error {
	return f.change(ctx, Disconnect, containerID, func(c *container) error {
		name := f.networkNamed(network)
		if name == "" {
			return fmt.Errorf("%w: network %s", engine.ErrNotFound, network)
		}
		if _, connected := c.endpoints[name]; !connected {
			return fmt.Errorf("container %s is not connected to network %s", containerID, network)
		}
		delete(c.endpoints, name)
		return nil
	})
}

// networkNamed returns the name of the network of this name or id; empty if there is
// none. It is called with the lock held.
func (f *Fake) networkNamed(ref string) string {
	for id, n := range f.networks {
		if id == ref || n.Name == ref {
			return n.Name
		}
	}
	return ""
}
