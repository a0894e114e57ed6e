package docker

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"

	"holdfast.io/holdfast/internal/engine"
)

// Networks implements [engine.Networks].
func (e *Engine) Networks(ctx context.Context) ([]engine.Network, error) {
	list, err := e.api.NetworkList(ctx, network.ListOptions{})
	if err != nil {
		return nil, e.translate(err)
	}
	spoken := engine.Platform{APIVersion: e.api.ClientVersion()}
	networks := make([]engine.Network, 0, len(list))
	for _, n := range list {
		if n.ID == "" || n.Name == "" {
			return nil, badAnswer("its list has a network with the id %q and the name %q", brief(n.ID), brief(n.Name))
		}
		networks = append(networks, networkOf(&n, spoken.Speaks("1.48")))
	}
	return networks, nil
}

// networkOf is a network of the Engine's list. Up to API 1.47 Engines do not say
// whether it has IPv4 addresses, as all have.
func networkOf(n *network.Inspect, knowsIPv4 bool) engine.Network {
	out := engine.Network{
		ID: n.ID, Name: n.Name, Driver: n.Driver, Scope: n.Scope, Internal: n.Internal, Attachable: n.Attachable, Ingress: n.Ingress,
		NoIPv4: knowsIPv4 && !n.EnableIPv4, IPv6: n.EnableIPv6, ConfigOnly: n.ConfigOnly, ConfigFrom: n.ConfigFrom.Network,
		IPAM:    engine.IPAM{Driver: n.IPAM.Driver, Options: n.IPAM.Options, Subnets: []engine.Subnet{}},
		Options: n.Options, Labels: n.Labels,
	}
	for _, c := range n.IPAM.Config {
		out.IPAM.Subnets = append(out.IPAM.Subnets, engine.Subnet{Subnet: c.Subnet, Range: c.IPRange, Gateway: c.Gateway, Reserved: c.AuxAddress})
	}
	return out
}

// CreateNetwork implements [engine.Networks].
func (e *Engine) CreateNetwork(ctx context.Context, n engine.Network) (string, error) {
	o := network.CreateOptions{
		Driver: n.Driver, Scope: n.Scope, EnableIPv6: &n.IPv6, Internal: n.Internal, Attachable: n.Attachable, Ingress: n.Ingress,
		ConfigOnly: n.ConfigOnly, Options: n.Options, Labels: n.Labels,
	}
	if n.NoIPv4 {
		o.EnableIPv4 = new(bool)
	}
	if n.ConfigFrom != "" {
		o.ConfigFrom = &network.ConfigReference{Network: n.ConfigFrom}
	} else {
		o.IPAM = &network.IPAM{Driver: n.IPAM.Driver, Options: n.IPAM.Options}
		for _, s := range n.IPAM.Subnets {
			o.IPAM.Config = append(o.IPAM.Config, network.IPAMConfig{Subnet: s.Subnet, IPRange: s.Range, Gateway: s.Gateway, AuxAddress: s.Reserved})
		}
	}
	r, err := e.api.NetworkCreate(ctx, n.Name, o)
	taken := errdefs.IsConflict(err)
	// Engines answer 403 for addresses that are taken, as who refuses a call does.
	overlaps := err != nil && strings.Contains(err.Error(), "overlaps")
	switch err = e.translate(err); {
	case err == nil && r.ID == "":
		return "", badAnswer("it says that network %s is made, and not which it is", n.Name)
	case err == nil:
		return r.ID, nil
	case taken:
		return "", fmt.Errorf("%w: %w", engine.ErrNameTaken, err)
	case overlaps:
		return "", fmt.Errorf("%w: %v", engine.ErrOverlap, err) //nolint:errorlint // hides ErrRefused
	}
	return "", err
}

// RemoveNetwork implements [engine.Networks].
func (e *Engine) RemoveNetwork(ctx context.Context, id string) error {
	err := e.api.NetworkRemove(ctx, id)
	// Engine 20.10 answers 403 for one that is in use, and so do socket proxies.
	inUse := err != nil && (errdefs.IsConflict(err) || strings.Contains(err.Error(), "has active endpoints"))
	missing := errdefs.IsNotFound(err)
	err = e.translate(err)
	switch {
	case missing:
		return nil
	case inUse:
		return fmt.Errorf("%w: %v", engine.ErrInUse, err) //nolint:errorlint // hides ErrRefused
	}
	return err
}

// Connect implements [engine.Networks]. Engine 20.10 connects a container that does not
// run to a network that is not there, and cannot start it afterwards.
func (e *Engine) Connect(ctx context.Context, name, containerID string, endpoint []byte) error {
	all, err := e.Networks(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(all, func(n engine.Network) bool { return n.Name == name || n.ID == name }) {
		return fmt.Errorf("%w: network %s", engine.ErrNotFound, name)
	}
	body := struct {
		Container      string
		EndpointConfig rawJSON `json:",omitempty"`
	}{containerID, endpoint}
	return e.post(ctx, "/networks/"+url.PathEscape(name)+"/connect", nil, body, nil)
}

// Disconnect implements [engine.Networks].
func (e *Engine) Disconnect(ctx context.Context, name, containerID string) error {
	return e.translate(e.api.NetworkDisconnect(ctx, name, containerID, false))
}
